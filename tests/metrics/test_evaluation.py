"""The table is checked against scikit-learn and a loop; its JSON against the promises of the design."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from kontrast.metrics.evaluation import SCORES, mixed, repeated_auroc, score_table
from kontrast.metrics.intervals import paired_difference
from kontrast.metrics.scores import auroc_within, ranks_within
from kontrast.types import COMPETITION_FINDINGS


def data(n: int = 120, findings: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, n // 3, n)
    y = (rng.random((n, findings)) < 0.4).astype(float)
    return y, np.round(1 / (1 + np.exp(-(rng.normal(size=(n, findings)) + y))), 2), patient


def fixed(*names: str, value: float = 0.6) -> dict:
    return {name: {"value": value, "rule": "f1", "reason": None} for name in names}


def test_points_equal_scikit_learn_where_labels_are_known() -> None:
    y, p, patient = data()
    y[::7, 1] = np.nan
    table = score_table(y, p, ["A", "B", "C"], patients=patient, thresholds=fixed("A", "B", "C"), replicates=20)
    for f, name in enumerate("ABC"):
        known = ~np.isnan(y[:, f])
        truth, score, called = y[known, f], p[known, f], p[known, f] >= 0.6
        entry = table["findings"][name]
        assert entry["n"] == known.sum() and entry["positives"] == truth.sum() and entry["threshold"] == 0.6
        expected = {
            "auroc": sk.roc_auc_score(truth, score),
            "ap": sk.average_precision_score(truth, score),
            "f1": sk.f1_score(truth, called),
            "kappa": sk.cohen_kappa_score(truth, called),
            "sensitivity": sk.recall_score(truth, called),
            "specificity": sk.recall_score(truth, called, pos_label=0),
            "brier": sk.brier_score_loss(truth, score),
        }
        for score_name, value in expected.items():
            assert entry[score_name]["value"] == pytest.approx(value, abs=1e-12)
            assert entry[score_name]["low"] <= value <= entry[score_name]["high"]
    mean = np.mean([table["findings"][name]["auroc"]["value"] for name in "ABC"])
    assert table["macro"]["auroc"]["value"] == pytest.approx(mean, abs=1e-12)
    assert table["interval"]["resampled"] == "patients" and table["patients"] == len(np.unique(patient))


def test_intervals_equal_a_loop_over_patients_macro_included() -> None:
    y, p, patient = data(60, 2)
    table = score_table(
        y, p, ["A", "B"], patients=patient, thresholds=fixed("A", "B"), replicates=50, seed=9, method="percentile"
    )
    names = list(dict.fromkeys(patient.tolist()))
    draws, found = np.random.default_rng(9), []
    for _ in range(50):
        drawn = draws.integers(0, len(names), size=len(names))
        rows = np.concatenate([np.flatnonzero(patient == names[u]) for u in drawn])
        found.append(
            [[sk.roc_auc_score(y[rows, f], p[rows, f]), sk.f1_score(y[rows, f], p[rows, f] >= 0.6)] for f in (0, 1)]
        )
    found = np.array(found)
    for s, score in enumerate(("auroc", "f1")):
        for f, name in enumerate("AB"):
            entry = table["findings"][name][score]
            assert (entry["low"], entry["high"]) == pytest.approx(np.quantile(found[:, f, s], [0.025, 0.975]))
        entry = table["macro"][score]
        assert (entry["low"], entry["high"]) == pytest.approx(np.quantile(found[:, :, s].mean(1), [0.025, 0.975]))


def test_what_is_undefined_is_null_with_a_reason_and_out_of_the_mean() -> None:
    y, p, _ = data(40)
    y[:, 1], y[:, 2] = 0, np.nan
    table = score_table(y, p, ["A", "None", "Unlabelled"], thresholds=fixed("A", "None"), replicates=30)
    text = json.dumps(table, allow_nan=False)
    assert "NaN" not in text
    lone, blank = table["findings"]["None"], table["findings"]["Unlabelled"]
    for name in ("auroc", "ap", "f1", "kappa", "sensitivity"):
        assert lone[name]["value"] is None and "no positive among 40" in lone[name]["reason"]
        assert blank[name]["value"] is None and blank[name]["reason"] == "no labelled image"
    assert lone["specificity"]["value"] is not None and lone["positives"] == 0
    assert table["macro"]["auroc"]["value"] == table["findings"]["A"]["auroc"]["value"]
    assert table["macro"]["auroc"]["findings"] == ["A"]
    assert set(SCORES) <= set(table["macro"])


def test_nothing_at_all_is_null_too() -> None:
    table = score_table(np.empty((0, 1)), np.empty((0, 1)), ["A"])
    assert table["macro"]["auroc"]["value"] is None and table["findings"]["A"]["n"] == 0
    json.dumps(table, allow_nan=False)


def test_without_threshold_only_calls_are_null_and_the_reason_is_kept() -> None:
    y, p, _ = data(findings=2)
    limits = {"A": {"value": None, "rule": "f1", "reason": "no positive on validation"}}
    table = score_table(y, p, ["A", "B"], thresholds=limits, replicates=10)
    assert table["findings"]["A"]["f1"]["reason"] == "no positive on validation"
    assert table["findings"]["B"]["kappa"]["reason"] == "no threshold was given"
    assert table["findings"]["A"]["auroc"]["value"] is not None and table["findings"]["A"]["threshold"] is None


def test_scores_outside_zero_to_one_have_no_brier_score() -> None:
    y, p, _ = data(findings=1)
    table = score_table(y, 3 * p - 1, ["A"], replicates=10)
    assert "between 0 and 1" in table["findings"]["A"]["brier"]["reason"]
    assert table["findings"]["A"]["auroc"] == score_table(y, p, ["A"], replicates=10)["findings"]["A"]["auroc"]


def test_few_cases_are_marked_and_rare_ones_have_no_interval() -> None:
    rng = np.random.default_rng(0)
    y, p = np.zeros((300, 2)), rng.random((300, 2))
    y[:2, 0], y[:8, 1] = 1, 1
    table = score_table(y, p, ["Two", "Eight"], replicates=400)
    two, eight = table["findings"]["Two"], table["findings"]["Eight"]
    assert "note" not in two and "wide: only 8 positive cases" in eight["note"] and "89 %" in eight["note"]
    assert two["auroc"]["low"] is None and "replicates lack" in two["auroc"]["reason"]
    assert 30 < two["auroc"]["left_out"] < 80 and eight["auroc"]["low"] is not None
    assert table["macro"]["auroc"]["incomplete"] == two["auroc"]["left_out"] + eight["auroc"].get("left_out", 0)


def test_the_five_of_the_competition_stand_beside_the_macro() -> None:
    y, p, _ = data(findings=6)
    names = ["Fracture", *reversed(COMPETITION_FINDINGS)]
    table = score_table(y, p, names, replicates=10)
    values = [table["findings"][name]["auroc"]["value"] for name in COMPETITION_FINDINGS]
    assert table["competition"]["auroc"]["value"] == pytest.approx(np.mean(values))
    assert "competition" not in score_table(y[:, :5], p[:, :5], names[:5], replicates=10)


def test_the_order_of_findings_and_the_seed() -> None:
    y, p, patient = data()
    one = score_table(y, p, ["A", "B", "C"], patients=patient, replicates=40, seed=1)
    other = score_table(y[:, ::-1], p[:, ::-1], ["C", "B", "A"], patients=patient, replicates=40, seed=1)
    assert one["findings"] == other["findings"]
    assert one != score_table(y, p, ["A", "B", "C"], patients=patient, replicates=40, seed=2)


def test_faulty_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        score_table(np.zeros((3, 2)), np.zeros((3, 2)), ["A"])


def test_few_is_counted_in_patients_where_they_are_resampled() -> None:
    y = np.zeros((400, 1))
    y[:40] = 1  # of 4 patients with ten rows each, or of 20 with two
    p = np.random.default_rng(0).random((400, 1))
    notes = [
        score_table(y, p, ["A"], patients=np.arange(400) // rows, replicates=10)["findings"]["A"].get("note", "")
        for rows in (10, 2, 1)
    ]
    assert notes[0].startswith("wide: only 4 positive patients, so ") and notes[0].endswith("too few to tell")
    assert "not simulated" in notes[0] and "%" not in notes[0]
    assert notes[1].startswith("few: only 20 positive patients") and notes[2] == ""


def test_the_steady_macro_is_over_the_findings_with_an_interval() -> None:
    rng = np.random.default_rng(0)
    y, p = np.stack([np.arange(200) % 2, np.arange(200) < 1, np.arange(200) % 3 == 0], axis=1), rng.random((200, 3))
    table = score_table(y, p, ["A", "Rare", "B"], replicates=200)
    assert mixed(table["macro"]["auroc"], 200) and table["findings"]["Rare"]["auroc"]["low"] is None
    alone = score_table(y[:, [0, 2]], p[:, [0, 2]], ["A", "B"], replicates=200)
    assert table["steady"] == alone["macro"] and "steady" not in alone
    assert not mixed(alone["macro"]["auroc"], 200) and not mixed({"incomplete": 20}, 200)


def test_auroc_over_repetitions_is_that_of_each_averaged() -> None:
    y, p, patient = data(90, 2)
    y[::5, 1] = np.nan
    other = np.random.default_rng(5).random(p.shape)
    found = repeated_auroc(y, [p, other], ["A", "B"], patients=patient, replicates=60, seed=4)
    one = repeated_auroc(y, [p], ["A", "B"], patients=patient, replicates=60, seed=4)
    table = score_table(y, p, ["A", "B"], patients=patient, replicates=60, seed=4)
    assert one["findings"] == {name: table["findings"][name]["auroc"] for name in "AB"}
    assert one["macro"] == table["macro"]["auroc"]
    known = ~np.isnan(y[:, 1])
    values = [
        np.mean([sk.roc_auc_score(y[k, f], s[k, f]) for s in (p, other)]) for f, k in ((0, slice(None)), (1, known))
    ]
    assert [found["findings"][name]["value"] for name in "AB"] == pytest.approx(values)
    assert found["macro"]["value"] == pytest.approx(np.mean(values))


def test_within_strata_pairs_of_one_stratum_alone_are_counted_in_every_replicate() -> None:
    y, p, patient = data(90, 1)
    y[::5] = np.nan
    strata = patient % 4
    y[strata == 3] = 0  # no pair of its own: weighs nothing
    w = np.random.default_rng(1).integers(0, 4, patient.max() + 1)
    units = np.arange(patient.max() + 1)[patient]
    ranks = ranks_within(y[:, 0], p[:, 0], units, patient.max() + 1, strata)
    right = pairs = 0.0
    for i, j in np.argwhere((y == 1) & (y.T == 0) & (strata[:, None] == strata)):
        pairs += (weight := w[patient[i]] * w[patient[j]])
        right += weight * ((p[i, 0] > p[j, 0]) + 0.5 * (p[i, 0] == p[j, 0]))
    assert auroc_within(ranks, w[:, None].astype(float))[0] == pytest.approx(right / pairs, abs=1e-12)
    assert np.isnan(auroc_within(ranks[3:], np.ones((len(w), 1)))[0])
    with pytest.raises(ValueError, match="only AUROC"):
        paired_difference(y, p, p, patient, "ap", strata=strata)


def test_micro_is_the_pool_of_all_cells_each_called_at_its_own_threshold() -> None:
    y, p, patient = data(90, 2)
    y[::7, 0] = np.nan
    limits = {"A": {"value": 0.3}, "B": {"value": 0.7}}
    micro = score_table(y, p, ["A", "B"], patients=patient, thresholds=limits, replicates=30)["micro"]
    known = ~np.isnan(y)
    called = p >= [0.3, 0.7]
    assert micro["auroc"]["value"] == pytest.approx(sk.roc_auc_score(y[known], p[known]), abs=1e-12)
    assert micro["ap"]["value"] == pytest.approx(sk.average_precision_score(y[known], p[known]), abs=1e-12)
    assert micro["f1"]["value"] == pytest.approx(sk.f1_score(y[known], called[known]), abs=1e-12)
    assert micro["n"] == known.sum() and micro["auroc"]["low"] < micro["auroc"]["value"] < micro["auroc"]["high"]
    some = score_table(y, p, ["A", "B"], thresholds={"A": {"value": 0.3}}, replicates=0)["micro"]
    assert some["f1"]["value"] is None and some["f1"]["reason"] == "no threshold for B"


def test_predictive_values_at_a_stated_prevalence_and_calibration() -> None:
    y, p, patient = data(90, 2)
    limits = {name: {"value": 0.5} for name in "AB"}
    table = score_table(
        y, p, ["A", "B"], patients=patient, thresholds=limits, prevalence={"A": 0.02}, replicates=20, method="bca"
    )
    one, other = table["findings"]["A"], table["findings"]["B"]
    right = one["sensitivity"]["value"] * 0.02
    wrong = (1 - one["specificity"]["value"]) * 0.98
    assert one["ppv_at_prevalence"]["value"] == pytest.approx(right / (right + wrong), abs=1e-12)
    assert one["stated_prevalence"] == 0.02 and table["interval"]["method"] == "BCa bootstrap"
    assert (
        other["ppv_at_prevalence"]["value"] is None
        and other["ppv_at_prevalence"]["reason"] == "no prevalence was stated"
    )
    for name in ("calibration_slope", "calibration_intercept", "calibration_in_the_large"):
        assert one[name]["low"] < one[name]["value"] < one[name]["high"]
        mean = (one[name]["value"] + other[name]["value"]) / 2
        assert table["macro"][name]["value"] == pytest.approx(mean) and table["macro"][name]["low"] is None
    assert one["ece"]["value"] >= 0 and "biased" in one["ece"]["reason"]
    ranked = score_table(y, p * 3 - 1, ["A", "B"], replicates=0)["findings"]["A"]
    assert {ranked[n]["reason"] for n in ("brier", "ece", "calibration_slope")} == {
        "scores are not all between 0 and 1"
    }


@pytest.mark.parametrize(("people", "given"), [(4, False), (5, True)])
def test_calibration_fitted_on_few_patients_has_no_interval(people: int, given: bool) -> None:
    patient = np.arange(120) // 3
    y = (patient < people).astype(float)
    p = np.clip(0.2 + 0.2 * y + 0.15 * np.random.default_rng(0).normal(size=120), 0.01, 0.99)
    entry = score_table(y[:, None], p[:, None], ["A"], patients=patient, replicates=0)["findings"]["A"]
    for name in ("calibration_slope", "calibration_intercept", "calibration_in_the_large"):
        assert entry[name]["value"] is not None and (entry[name]["low"] is not None) == given
        assert given or entry[name]["reason"] == "no interval: only 4 positive patients or cases to fit on"


def test_bca_intervals_equal_scipy_macro_included() -> None:
    from types import SimpleNamespace

    from scipy import stats

    y, p, patient = data(60, 2)
    table = score_table(y, p, ["A", "B"], patients=patient, replicates=90, seed=9)
    names = list(dict.fromkeys(patient.tolist()))
    draws = np.random.default_rng(9)
    drawn = [draws.integers(0, len(names), size=len(names)) for _ in range(90)]
    for entry, columns in ((table["findings"]["B"], [1]), (table["macro"], [0, 1])):

        def macro(units: np.ndarray, columns: list[int] = columns) -> float:
            rows = np.concatenate([np.flatnonzero(patient == names[int(u)]) for u in units])
            return float(np.mean([sk.roc_auc_score(y[rows, f], p[rows, f]) for f in columns]))

        theirs = stats.bootstrap(
            (np.arange(len(names)),), macro, n_resamples=0, method="BCa", vectorized=False,
            bootstrap_result=SimpleNamespace(bootstrap_distribution=np.array([macro(u) for u in drawn])),
        ).confidence_interval  # fmt: skip
        ends = entry["auroc"]["low"], entry["auroc"]["high"]
        assert ends == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_an_auroc_near_one_needs_more_patients() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(200) < 40).astype(float)[:, None]
    note = {
        shift: score_table(y, shift * y + rng.normal(size=y.shape), ["A"], replicates=5)["findings"]["A"].get("note")
        for shift in (1, 4)
    }
    assert note[1] is None and note[4].startswith("high: only 40 positive cases, so ") and "92 to 93 %" in note[4]
