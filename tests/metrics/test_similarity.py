"""Rank correlation against SciPy, SSIM against a naive loop over windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kontrast.metrics.similarity import rank_correlation, ssim


def maps(seed, n=3, height=11, width=9):
    return np.random.default_rng(seed).integers(0, 9, (2, n, height, width)) / 8  # few values, so that ties happen


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_rank_correlation_is_scipys(seed):
    a, b = maps(seed)
    expected = [stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(rank_correlation(a, b), expected, atol=1e-12)


def test_ssim_is_the_mean_over_windows():
    a, b = maps(0)
    b = 0.6 * a + 0.4 * b
    for x, y, actual in zip(a, b, ssim(a, b), strict=True):
        each = []
        for i in range(x.shape[0] - 6):
            for j in range(x.shape[1] - 6):
                p, q = x[i : i + 7, j : j + 7].ravel(), y[i : i + 7, j : j + 7].ravel()
                cov = np.cov(p, q)
                top = (2 * p.mean() * q.mean() + 1e-4) * (2 * cov[0, 1] + 9e-4)
                each.append(top / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (cov[0, 0] + cov[1, 1] + 9e-4)))
        assert actual == pytest.approx(np.mean(each), abs=1e-12)
    np.testing.assert_allclose(ssim(a, a), 1)


def test_what_a_flat_map_and_a_wrong_shape_give():
    a, b = maps(1)
    a[0] = 0.5
    found = rank_correlation(a, b)
    assert np.isnan(found[0]) and np.isfinite(found[1:]).all()
    with pytest.raises(ValueError, match="one shape"):
        rank_correlation(a, b[:2])
    with pytest.raises(ValueError, match="at least 7"):
        ssim(a[:, :5], b[:, :5])
