"""Where a curve over label fractions reaches its goal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontrast.metrics.efficiency import band, labels_saved, reached

FRACTIONS = [0.01, 0.1, 0.5, 1.0]


@given(st.lists(st.floats(0.5, 0.95), min_size=4, max_size=4, unique=True), st.floats(0.0, 1.0))
def test_a_rising_curve_is_numpys_interpolation_on_the_logarithm(values, share) -> None:
    curve = np.sort(values)
    if np.diff(curve).min() < 1e-6:
        return
    goal = curve[0] + share * (curve[-1] - curve[0])
    found = reached(FRACTIONS, curve[:, None], np.array([goal]))[0]
    assert found == pytest.approx(np.exp(np.interp(goal, curve, np.log(FRACTIONS))), rel=1e-9)


def test_a_falling_curve_counts_where_it_first_reaches_and_ends_are_said() -> None:
    curves = np.array([[0.6, 0.8, 0.5, 0.9], [0.7, 0.7, 0.7, 0.7], [0.9, 0.9, 0.9, 0.9], [0.6, np.nan, 0.8, 0.9]]).T
    found = reached(FRACTIONS, curves, np.array([0.7, 0.75, 0.8, 0.7]))
    assert found[0] == pytest.approx(np.sqrt(0.01 * 0.1)), "half way up, half way on the logarithm"
    assert found[1] == np.inf and found[2] == 0.01 and np.isnan(found[3])


def test_labels_saved_with_the_interval_of_its_replicates() -> None:
    rng = np.random.default_rng(0)
    curve = np.array([0.6, 0.7, 0.8, 0.85])
    noise = 0.01 * rng.normal(size=999)
    drawn, goals = curve[:, None] + noise + 0.002 * rng.normal(size=(4, 999)), 0.75 + noise  # paired: noise cancels
    found = labels_saved(FRACTIONS, curve, drawn, 0.75, goals)
    assert found["fraction"] == pytest.approx(np.sqrt(0.1 * 0.5)) and found["saved"] == pytest.approx(1 - np.sqrt(0.05))
    each = np.sort(reached(FRACTIONS, drawn, goals))
    assert (found["low"], found["high"]) == (each[24], each[973])
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


def test_bands_are_percentiles_of_what_is_defined() -> None:
    drawn = np.append(np.random.default_rng(0).normal(size=500), np.nan)
    low, high = np.percentile(drawn[:-1], [2.5, 97.5])
    assert band(drawn) == {"low": low, "high": high}
    assert band(np.array([np.nan])) == {"low": None, "high": None}
