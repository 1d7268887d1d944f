"""Curves against scikit-learn, bands against a naive bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from kontrast.metrics.curves import GRID, curves
from kontrast.metrics.intervals import resamples


def cases(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(float)
    return y, np.round(y * 0.7 + rng.standard_normal(n), 1), rng.integers(0, n // 2, n)  # ties happen


def sklearns(y, s, weights=None):
    fpr, tpr, _ = roc_curve(y, s, sample_weight=weights, drop_intermediate=False)
    roc = []
    for g in GRID:  # the highest sensitivity at this rate; between two rates the line from threshold to threshold
        last = np.flatnonzero(fpr <= g)[-1]
        after = min(last + 1, len(fpr) - 1)
        share = (g - fpr[last]) / (fpr[after] - fpr[last]) if after > last else 0.0
        roc.append(tpr[last] + share * (tpr[after] - tpr[last]))
    precision, recall, _ = precision_recall_curve(y, s, sample_weight=weights)
    pr = [precision[np.flatnonzero(recall >= g - 1e-9)[-1]] for g in GRID]
    return np.array(roc), np.array(pr)


def test_the_curves_are_scikit_learns():
    y, s, _ = cases()
    found = curves(y, s, replicates=0)
    roc, pr = sklearns(y, s)
    np.testing.assert_allclose(found["roc"]["value"], roc, atol=1e-12)
    np.testing.assert_allclose(found["pr"]["value"][1:], pr[1:], atol=1e-12)  # at recall 0 scikit-learn puts a 1
    first = s == s[y == 1].max()  # ours is that of the first threshold that finds anything
    assert found["pr"]["value"][0] == pytest.approx(y[s >= s[first][0]].mean())
    assert found["prevalence"] == y.mean() and found["roc"]["low"] is None
    # Half a step of the grid for each step of the curve is all that the area may lose.
    assert np.trapezoid(found["roc"]["value"], GRID) == pytest.approx(roc_auc_score(y, s), abs=0.006)
    assert found["pr"]["value"].mean() == pytest.approx(average_precision_score(y, s), abs=0.03)


def test_bands_are_those_of_patients_drawn_with_their_rows():
    y, s, patients = cases()
    found = curves(y, s, patients, replicates=50, seed=3)
    names, first = np.unique(patients, return_index=True)
    names = names[np.argsort(first)]
    (weights,) = resamples(len(names), 50, 3)
    drawn = [sklearns(y, s, w[np.searchsorted(np.sort(names), patients)]) for w in _by_name(weights.T, names)]
    for place, name in enumerate(("roc", "pr")):
        low, high = np.quantile([one[place] for one in drawn], [0.025, 0.975], axis=0)
        np.testing.assert_allclose(found[name]["low"][1:], low[1:], atol=1e-9)
        np.testing.assert_allclose(found[name]["high"][1:], high[1:], atol=1e-9)
        assert (found[name]["low"] <= found[name]["value"] + 1e-9).mean() > 0.95


def _by_name(rows, names):
    """Weights in the order of sorted names."""
    return rows[:, np.argsort(names)]


def test_ignored_rows_do_not_count_and_one_class_has_no_curve():
    y, s, patients = cases()
    some = np.where(np.arange(60) % 5, y, np.nan)
    kept = ~np.isnan(some)
    one, other = curves(some, s, patients, replicates=20), curves(y[kept], s[kept], patients[kept], replicates=20)
    np.testing.assert_array_equal(one["pr"]["high"], other["pr"]["high"])
    assert curves(np.zeros(9), np.arange(9.0)) is None and curves([np.nan], [0.3]) is None
    y = np.zeros(30)
    y[3] = 1  # a replicate in three lacks it
    assert curves(y, np.arange(30.0), replicates=60)["roc"]["low"] is None


def test_a_curve_of_few_cases_goes_in_steps():
    y, s = np.array([1.0, 0, 1, 0]), np.array([4.0, 3, 2, 1])
    found = curves(y, s, replicates=0)["roc"]["value"]
    np.testing.assert_array_equal(found[[0, 25, 49, 50, 100]], [0.5, 0.5, 0.5, 1, 1])  # no slope between the steps
    tied = curves(y, np.array([2.0, 2, 1, 1]), replicates=0)["roc"]["value"]
    np.testing.assert_allclose(tied, GRID, atol=1e-12)  # two to a threshold: chance can reach what lies between
