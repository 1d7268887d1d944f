"""Oracles: double loops over pairs, and the bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kontrast.metrics.delong import Z, components, delong, standard_error


def clustered(seed: int, patients: int = 40, rows: int = 3) -> tuple[np.ndarray, ...]:
    """Patients with rows of both classes, ties among the scores."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rows)
    y = (rng.random(len(patient)) < 0.4).astype(float)
    s = np.round(y + np.repeat(rng.normal(size=patients), rows) + 0.5 * rng.normal(size=len(patient)), 1)
    return y, s, patient


def test_placements_are_shares_of_pairs() -> None:
    y, s, _ = clustered(0)
    value, placed = components(y, s)
    assert value == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    for i in range(len(y)):
        others = s[y != y[i]]
        wins = (s[i] > others) if y[i] else (s[i] < others)
        assert placed[i] == pytest.approx((wins + 0.5 * (s[i] == others)).mean(), abs=1e-12)


def test_without_clusters_it_is_delong() -> None:
    y, s, _ = clustered(1)
    _, placed = components(y, s)
    variance = placed[y == 1].var(ddof=1) / y.sum() + placed[y == 0].var(ddof=1) / (1 - y).sum()
    rows = np.arange(len(y))
    assert standard_error(y, placed, rows) == standard_error(y, placed)
    assert standard_error(y, placed) == pytest.approx(np.sqrt(variance), abs=1e-12)


def test_with_clusters_it_is_the_formula_of_obuchowski_written_out() -> None:
    y, s, patient = clustered(2)
    theta, placed = components(y, s)
    m, n, total = y.sum(), (1 - y).sum(), len(set(patient))
    s10 = s01 = s11 = 0.0
    for one in set(patient):
        positive = [placed[i] for i in np.flatnonzero((patient == one) & (y == 1))]
        negative = [placed[i] for i in np.flatnonzero((patient == one) & (y == 0))]
        a, b = sum(positive) - len(positive) * theta, sum(negative) - len(negative) * theta
        s10, s01, s11 = s10 + a * a, s01 + b * b, s11 + a * b
    i10, i01 = len(set(patient[y == 1])), len(set(patient[y == 0]))
    s10, s01, s11 = s10 * i10 / ((i10 - 1) * m), s01 * i01 / ((i01 - 1) * n), s11 * total / (total - 1)
    expected = np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))
    assert standard_error(y, placed, patient) == pytest.approx(expected, abs=1e-12)


def test_the_interval_is_symmetric_on_the_logit_and_leaves_ignored_rows_out() -> None:
    y, s, patient = clustered(3)
    found = delong(y, s, patient)
    logits = [np.log(v / (1 - v)) for v in (found["low"], found["value"], found["high"])]
    assert logits[1] - logits[0] == pytest.approx(logits[2] - logits[1], abs=1e-12)
    reach = Z * found["se"] / (found["value"] * (1 - found["value"]))
    assert logits[2] - logits[1] == pytest.approx(reach, abs=1e-12)
    more = [np.append(a, extra) for a, extra in ((y, np.nan), (s, 9.0), (patient, 0))]
    assert delong(*more) == found


def test_a_difference_is_as_uncertain_as_the_bootstrap_says() -> None:
    y, s, patient = clustered(4, patients=80)
    other = s + np.random.default_rng(1).normal(size=len(s))
    placed = components(y, s)[1] - components(y, other)[1]
    draws, found = np.random.default_rng(0), []
    for _ in range(400):
        rows = np.concatenate([np.arange(3 * p, 3 * p + 3) for p in draws.integers(0, 80, size=80)])
        found.append(roc_auc_score(y[rows], s[rows]) - roc_auc_score(y[rows], other[rows]))
    assert standard_error(y, placed, patient) == pytest.approx(np.std(found), rel=0.15)


def test_what_is_undefined_is_none() -> None:
    assert delong([1, 1], [0.1, 0.2])["value"] is None
    perfect = delong([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert perfect["value"] == 1 and perfect["low"] is None
    lonely = delong([0, 0, 1], [0.1, 0.8, 0.5])
    assert lonely["value"] == 0.5 and lonely["se"] is None
