"""Where a curve over label fractions reaches its goal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from kontrast.metrics.efficiency import RUNS, band, labels_saved, reached, resample_runs, rising

FRACTIONS = [0.01, 0.1, 0.5, 1.0]


@given(st.lists(st.floats(0.5, 0.95), min_size=4, max_size=4, unique=True), st.floats(0.0, 1.0))
def test_a_rising_curve_is_numpys_interpolation_on_the_logarithm(values, share) -> None:
    curve = np.sort(values)
    if np.diff(curve).min() < 1e-6:
        return
    goal = curve[0] + share * (curve[-1] - curve[0])
    found = reached(FRACTIONS, curve[:, None], np.array([goal]))[0]
    assert found == pytest.approx(np.exp(np.interp(goal, curve, np.log(FRACTIONS))), rel=1e-9)


def test_a_dip_is_levelled_first_and_ends_are_said() -> None:
    curves = np.array([[0.6, 0.8, 0.5, 0.9], [0.7, 0.7, 0.7, 0.7], [0.9, 0.9, 0.9, 0.9], [0.6, np.nan, 0.8, 0.9]]).T
    found = reached(FRACTIONS, curves, np.array([0.7, 0.75, 0.8, 0.7]))
    level = np.exp(np.interp(0.7, [0.65, 0.9], np.log([0.5, 1.0])))
    assert found[0] == pytest.approx(level), ".6, .65, .65, .9: the peak of .8 before a dip counts for nothing alone"
    assert found[1] == np.inf and found[2] == 0.01 and np.isnan(found[3])


def test_labels_saved_with_the_interval_of_its_replicates() -> None:
    rng = np.random.default_rng(0)
    curve = np.array([0.6, 0.7, 0.8, 0.85])
    noise = 0.01 * rng.normal(size=999)
    drawn, goals = curve[:, None] + noise + 0.002 * rng.normal(size=(4, 999)), 0.75 + noise  # paired: noise cancels
    found = labels_saved(FRACTIONS, curve, drawn, 0.75, goals)
    assert found["fraction"] == pytest.approx(np.sqrt(0.1 * 0.5)) and found["saved"] == pytest.approx(1 - np.sqrt(0.05))
    each = np.sort(reached(FRACTIONS, drawn, goals))
    assert (found["low"], found["high"]) == (each[24], each[974])
    assert found["saved_low"] == 1 - found["high"] and found["saved_high"] == 1 - found["low"]
    assert found["censored"] == "" and found["never"] == 0
    loose = labels_saved(FRACTIONS, curve, curve[:, None] + 0.01 * rng.normal(size=(4, 999)), 0.75, goals)
    assert loose["high"] - loose["low"] > 3 * (found["high"] - found["low"])


def test_what_is_never_reached_is_no_number() -> None:
    curve = np.array([0.6, 0.7, 0.8, 0.85])
    drawn = np.repeat(curve[:, None], 100, 1)
    none = labels_saved(FRACTIONS, curve, drawn, 0.9, np.full(100, 0.9))
    assert (none["fraction"], none["low"], none["high"], none["saved"]) == (None,) * 4
    assert none["censored"] == "above" and none["never"] == 1
    some = labels_saved(FRACTIONS, curve, drawn, 0.8, np.where(np.arange(100) < 90, 0.8, 0.9))
    assert some["fraction"] == pytest.approx(0.5) and some["high"] is None and some["saved_low"] is None
    assert some["never"] == pytest.approx(0.1)
    least = labels_saved(FRACTIONS, curve, drawn, 0.5, np.full(100, 0.5))
    assert least["fraction"] == 0.01 and least["censored"] == "below"


def test_a_rising_curve_is_scikit_learns_isotonic_regression() -> None:
    curves = np.random.default_rng(0).normal(size=(5, 20))
    expected = [IsotonicRegression().fit_transform(np.arange(5), one) for one in curves.T]
    assert rising(curves) == pytest.approx(np.array(expected).T, abs=1e-12)


def test_runs_are_resampled_together_and_with_the_spread_of_a_mean() -> None:
    low, high = [(d, s) for d in range(4) for s in range(5)], list(range(5))
    first, second, again = resample_runs([low, high, high], 4000)
    assert (second == again).all() and first.sum(axis=0) == pytest.approx(1) and first.shape == (20, 4000)
    assert first.reshape(4, 5, -1).sum(axis=0) == pytest.approx(second), "a seed weighs the same at every fraction"
    values = np.random.default_rng(1).normal(size=5)
    assert (values @ second).std() == pytest.approx(values.std(ddof=1) / np.sqrt(5), rel=0.05)


def test_equal_arms_are_rarely_said_to_save_labels() -> None:
    # Arms of one curve, runs that differ: with the runs held fixed twice as many studies are clear of 0.
    curve, wrong, fixed = np.array([0.6, 0.68, 0.73, 0.76]), 0, 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        arm, base = curve[:, None] + 0.015 * rng.normal(size=(4, RUNS)), curve[-1] + 0.015 * rng.normal(size=RUNS)
        noise, goals = 0.004 * rng.normal(size=(4, 200)), 0.004 * rng.normal(size=200)
        (w,) = resample_runs([range(RUNS)], 200, seed)
        points = (FRACTIONS, arm.mean(axis=1)), base.mean()
        found = labels_saved(*points[0], arm @ w + noise, points[1], base @ w + goals)
        held = labels_saved(*points[0], points[0][1][:, None] + noise, points[1], points[1] + goals)
        wrong, fixed = wrong + ((found["saved_low"] or 0) > 0), fixed + ((held["saved_low"] or 0) > 0)
    assert wrong <= 9 and fixed > 2 * wrong, (wrong, fixed)


def test_bands_are_percentiles_of_what_is_defined() -> None:
    drawn = np.append(np.random.default_rng(0).normal(size=500), np.nan)
    low, high = np.percentile(drawn[:-1], [2.5, 97.5])
    assert band(drawn) == {"low": low, "high": high}
    assert band(np.array([np.nan])) == {"low": None, "high": None}
