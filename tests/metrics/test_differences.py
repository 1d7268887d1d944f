import numpy as np
import pytest

from kontrast.metrics.differences import holm, paired_table
from kontrast.metrics.intervals import paired_difference


def test_holm_equals_statsmodels_and_leaves_out_what_is_undefined() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 14):
        p = list(rng.random(size) ** 3)
        assert holm(p) == pytest.approx(list(multitest.multipletests(p, method="holm")[1]), abs=1e-12)
    assert holm([0.01, None, 0.04, 0.02]) == [pytest.approx(0.03), None, 0.04, 0.04]
    assert holm([]) == [] and holm([0.6, 0.6]) == [1, 1]


def test_the_table_is_the_paired_differences_of_each_finding() -> None:
    rng = np.random.default_rng(0)
    patient = np.arange(120) // 2
    y = (rng.random((120, 3)) < 0.4).astype(float)
    y[:, 2] = 0
    one, two = y + rng.normal(size=y.shape), 0.2 * y + rng.normal(size=y.shape)
    found = paired_table(y, one, two, ["A", "B", "None"], patients=patient, replicates=99, seed=1)
    for f, name in enumerate("AB"):
        for metric in ("auroc", "ap"):
            alone = paired_difference(y[:, f], one[:, f], two[:, f], patient, metric, replicates=99, seed=1)
            entry = found["findings"][name][metric]
            assert {k: entry[k] for k in alone} == alone
            assert entry["p_holm"] == pytest.approx(min(1, 2 * entry["p"])) or entry["p_holm"] >= entry["p"]
        assert found["findings"][name]["auroc"]["p_delong"] < 0.05
    assert found["findings"]["None"]["auroc"]["p_holm"] is None
    assert found["findings"]["None"]["auroc"]["p_delong"] is None
    assert found["macro"]["auroc"] == paired_difference(y, one, two, patient, replicates=99, seed=1)


def test_equal_models_differ_by_chance_alone() -> None:
    """P-values of DeLong and of the bootstrap below .05 in about one of twenty studies without a difference."""
    rng, low = np.random.default_rng(2), np.zeros(2)
    patient = np.repeat(np.arange(60), 2)
    for _ in range(200):
        y = np.repeat(rng.permutation(60) % 2, 2).astype(float)
        shared = y + np.repeat(rng.normal(size=60), 2)
        one, two = (shared + rng.normal(size=120) for _ in range(2))
        entry = paired_table(y[:, None], one[:, None], two[:, None], ["A"], patients=patient, replicates=100)
        found = entry["findings"]["A"]["auroc"]
        low += [found["p"] < 0.05, found["p_delong"] < 0.05]
    assert (low / 200 >= 0.01).all() and (low / 200 <= 0.1).all()
