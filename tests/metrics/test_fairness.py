"""Rates of calls in groups, against loops and closed forms."""

import numpy as np
import pytest
from sklearn.metrics import recall_score
from statsmodels.stats.proportion import proportion_confint

from kontrast.metrics.fairness import call_rates, compare_rates


def cohort(n: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 2)) < 0.4).astype(float)
    p = np.clip(0.3 + 0.4 * y + 0.2 * rng.normal(size=y.shape), 0, 1)
    y[rng.random(y.shape) < 0.1] = np.nan
    return y, p, {"F": rng.random(n) < 0.5, "old": rng.random(n) < 0.3}


def test_sensitivity_and_false_alarms_are_scikit_learns_in_each_group() -> None:
    y, p, groups = cohort()
    found = call_rates(y, p, ["A", "B"], {"A": 0.5, "B": 0.4}, groups, replicates=10)
    for f, (name, limit) in enumerate((("A", 0.5), ("B", 0.4))):
        for group, rows in groups.items():
            known = rows & ~np.isnan(y[:, f])
            called = p[known, f] >= limit
            tpr = recall_score(y[known, f], called)
            fpr = 1 - recall_score(y[known, f], called, pos_label=0)
            assert found["tpr"][name]["groups"][group]["value"] == pytest.approx(tpr, abs=1e-12)
            assert found["fpr"][name]["groups"][group]["value"] == pytest.approx(fpr, abs=1e-12)
            assert found["tpr"][name]["groups"][group]["n"] == int((y[known, f] == 1).sum())


def test_illness_that_is_called_healthy() -> None:
    y, p, groups = cohort()
    healthy = call_rates(y, p, ["No Finding", "B"], {"No Finding": 0.5, "B": 0.4}, groups, replicates=0)
    missed = [p[i, 0] >= 0.5 for i in range(len(y)) if groups["F"][i] and y[i, 0] == 0]
    assert healthy["underdiagnosis"]["groups"]["F"]["value"] == pytest.approx(np.mean(missed), abs=1e-12)
    none = call_rates(y, p, ["A", "B"], {"A": 0.5, "B": 0.4}, groups, replicates=0)
    silent = [
        p[i, 0] < 0.5 and p[i, 1] < 0.4
        for i in range(len(y))
        if groups["F"][i] and (y[i] == 1).any()
    ]  # fmt: skip
    assert none["underdiagnosis"]["groups"]["F"]["value"] == pytest.approx(np.mean(silent), abs=1e-12)
    assert "none is called" in none["underdiagnosis"]["means"]
    assert "reason" in call_rates(y, p, ["A", "B"], {"A": None, "B": None}, groups)["underdiagnosis"]


def test_intervals_are_those_of_a_proportion_and_of_a_difference() -> None:
    rng = np.random.default_rng(1)
    groups = {"a": np.arange(1200) < 600, "b": np.arange(1200) >= 600}
    events = rng.random(1200) < np.where(groups["a"], 0.3, 0.5)
    found = compare_rates(events, np.ones(1200, bool), groups, replicates=2000)
    for name, rows in groups.items():
        low, high = proportion_confint(events[rows].sum(), 600, method="wilson")
        entry = found["groups"][name]
        assert entry["low"] == pytest.approx(low, abs=0.008) and entry["high"] == pytest.approx(high, abs=0.008)
    a, b = (events[rows].mean() for rows in groups.values())
    half = 1.96 * np.sqrt(a * (1 - a) / 600 + b * (1 - b) / 600)
    gap = found["gap"]
    assert gap["between"] == ["b", "a"] and gap["value"] == pytest.approx(b - a, abs=1e-12)
    assert gap["low"] == pytest.approx(b - a - half, abs=0.01) and gap["high"] == pytest.approx(b - a + half, abs=0.01)


def test_images_of_one_patient_are_drawn_together() -> None:
    rng = np.random.default_rng(2)
    people = np.repeat(np.arange(60), 10)
    events = np.repeat(rng.random(60) < 0.5, 10)
    groups = {"all": np.ones(600, bool)}
    alone, together = (
        compare_rates(events, np.ones(600, bool), groups, patients=who, replicates=500)["groups"]["all"]
        for who in (None, people)
    )
    ratio = (together["high"] - together["low"]) / (alone["high"] - alone["low"])
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_what_cannot_be_told_is_null_with_a_reason() -> None:
    groups = {"a": np.array([True, True, False]), "b": np.array([False, False, True])}
    found = compare_rates([1, 0, 1], [1, 1, 0], groups, replicates=20)
    assert found["groups"]["b"]["value"] is None and "no case counts" in found["groups"]["b"]["reason"]
    assert found["gap"]["value"] is None and "two groups" in found["gap"]["reason"]


def test_a_group_with_few_positives_is_listed_but_in_no_gap() -> None:
    # Three positives, all called: their rate has no width, and with the lowest group it made a gap clear of 0.
    rng = np.random.default_rng(3)
    groups = {name: np.arange(800) // 200 == i for i, name in enumerate("abcd")}
    positive, called = rng.random(800) < 0.5, rng.random(800) < 0.8
    positive[groups["c"]] = False
    positive[400:403] = called[400:403] = True
    found = compare_rates(called, positive, groups, replicates=200)
    assert found["groups"]["c"]["value"] == 1 and found["groups"]["c"]["patients"] == 3
    assert found["groups"]["c"]["apart"] == "counts fewer than 30 cases: not in the gap"
    rest = {name: rows for name, rows in groups.items() if name != "c"}
    assert found["gap"] == compare_rates(called, positive, rest, replicates=200)["gap"]
    assert "c" not in found["gap"]["between"] and found["gap"]["low"] is not None


def test_images_of_few_patients_are_few() -> None:
    groups = {"a": np.arange(200) < 100, "b": np.arange(200) >= 100}
    events = np.random.default_rng(0).random(200) < 0.5
    ones = np.ones(200, bool)
    assert compare_rates(events, ones, groups, replicates=20)["gap"]["value"] is not None
    found = compare_rates(events, ones, groups, patients=np.arange(200) // 5, replicates=20)
    assert found["groups"]["a"]["patients"] == 20 and found["gap"]["value"] is None
    assert found["gap"]["reason"] == "fewer than two groups in which 30 patients count"


def test_a_gap_from_a_group_without_spread_has_no_interval() -> None:
    groups = {"a": np.arange(300) < 40, "b": np.arange(300) >= 40}
    events = np.random.default_rng(0).random(300) < 0.1
    events[:40] = False
    gap = compare_rates(events, np.ones(300, bool), groups, replicates=50)["gap"]
    assert gap["value"] == events[40:].mean() and gap["low"] is None and "every case of a" in gap["reason"]
