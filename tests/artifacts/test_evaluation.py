import json

import numpy as np
import pandas as pd
import pytest

from kontrast.artifacts.card import read_card
from kontrast.artifacts.claims import claim
from kontrast.artifacts.evaluation import read_evaluation, summary, write_evaluation
from kontrast.artifacts.terminal import say_scores
from kontrast.artifacts.wording import (
    CHOSEN_HERE,
    SHOWN,
    beneath,
    calibrated,
    decimal,
    differences,
    means,
    remarks,
    thresholds_from,
    with_ends,
)
from kontrast.errors import ArtifactError
from kontrast.metrics.differences import paired_table
from kontrast.metrics.evaluation import score_table
from kontrast.types import TRUTH_COLUMNS


def write(folder, n: int = 30, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame({name: [f"{name}{i}" for i in range(n)] for name in TRUTH_COLUMNS})
    truth["age"] = np.where(np.arange(n) % 3 == 0, np.nan, 40.5)
    truth["Edema"], truth["Odd, name"] = rng.choice([1, 0, -1, np.nan], n), rng.choice([1.0, 0.0], n)
    p = rng.random((n, 2))
    scores = score_table(
        (truth[["Edema", "Odd, name"]] == 1).astype(float), p, ["Edema", "Odd, name"], replicates=20,
        label_policy={"uncertain": "zeros", "blank": "negative"}, split="test",
    )  # fmt: skip
    taken = claim(folder, "evaluation", config={})
    write_evaluation(
        taken.folder, truth=truth.assign(secret="x"), predictions=p, findings=["Edema", "Odd, name"], scores=scores,
        config={}, content={"more": 1},
    )  # fmt: skip
    return truth, p


def test_what_was_written_is_read_to_the_last_bit(tmp_path) -> None:
    truth, p = write(tmp_path / "e")
    read = read_evaluation(tmp_path / "e")
    assert np.array_equal(read.predictions[list(read.findings)].to_numpy(), p)
    pd.testing.assert_frame_equal(read.truth, truth, check_dtype=False)
    assert list(read.predictions["image_id"]) == list(truth["image_id"])
    assert read.scores["findings"]["Edema"]["n"] == 30 and read.card.content["more"] == 1
    assert list(read.truth) == [*TRUTH_COLUMNS, "Edema", "Odd, name"]


def test_files_are_those_of_the_design(tmp_path) -> None:
    write(tmp_path / "e")
    header, first = (tmp_path / "e" / "truth.csv").read_text().splitlines()[:2]
    assert header == 'image_id,patient_id,study_id,split,view,sex,age,Edema,"Odd, name"'
    assert first.startswith("image_id0,patient_id0,study_id0,split0,view0,sex0,,") and ".0" not in first
    assert (tmp_path / "e" / "predictions.csv").read_text().startswith('image_id,Edema,"Odd, name"\n')
    scores = json.loads((tmp_path / "e" / "scores.json").read_text())
    assert {"split", "label_policy", "findings", "macro", "interval"} <= set(scores)
    assert set(scores["findings"]["Edema"]["auroc"]) >= {"value", "low", "high"}
    assert set(read_card(tmp_path / "e").files) == {"predictions.csv", "truth.csv", "scores.json"}


@pytest.mark.parametrize("name", ["predictions.csv", "truth.csv", "scores.json"])
def test_a_changed_file_is_noticed(tmp_path, name: str) -> None:
    write(tmp_path / "e")
    path = tmp_path / "e" / name
    path.write_bytes(path.read_bytes()[:-3] + b"9\n\n")
    with pytest.raises(ArtifactError, match=name):
        read_evaluation(tmp_path / "e")


def test_the_printed_table_fits_80_columns_and_says_the_policy(capsys) -> None:
    rng = np.random.default_rng(0)
    names = ["Enlarged Cardiomediastinum", "Pleural Effusion", "Fracture"]
    y = np.stack([np.arange(200) % 2, np.arange(200) < 4, np.zeros(200)], axis=1).astype(float)
    scores = score_table(
        y, rng.random((200, 3)), names, replicates=30, split="test", thresholds={names[0]: {"value": 0.5}},
        label_policy={"uncertain": "zeros", "blank": "negative"},
    )  # fmt: skip
    say_scores(scores)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:12])) <= 80
    text = "\n".join(lines)
    assert "uncertain = zeros, blank = negative" in text and "30 bootstrap replicates of rows" in text
    assert "Fracture: no positive among 200 labelled images." in text
    assert "too few to tell: Pleural Effusion (only 4 positive cases)." in text
    assert "0 positive" not in text and "macro of 2" in text


def score(value, reason=None):
    return {"value": value, "low": None, "high": None, **({"reason": reason} if reason else {})}


def finding(reason=None, note=None, threshold=None):
    entry = {name: score(None if reason else 0.5, reason) for name in SHOWN}
    return entry | ({"note": note} if note else {}) | ({"threshold_reason": threshold} if threshold else {})


def test_each_reason_once_with_all_that_it_is_about() -> None:
    few = "few: only 12 positive patients, so the intervals cover somewhat less than 95 %"
    fewer = "few: only 20 positive patients, so the intervals cover somewhat less than 95 %"
    findings = {
        "A": finding("no positive among 9 labelled images"), "B": finding("no positive among 9 labelled images"),
        "C": finding(note=few), "D": finding(note=fewer, threshold="no positive on validation"), "E": finding(),
    }  # fmt: skip
    findings["D"]["f1"] = score(None, "no positive on validation")
    for name, lacking in (("C", 150), ("E", 250)):
        reason = f"no interval: {lacking} of 1000 replicates lack what the score needs"
        findings[name]["auroc"]["reason"] = findings[name]["f1"]["reason"] = reason
    assert remarks({"findings": findings, "macro": {"auroc": score(0.5) | {"findings": ["C", "D", "E"]}}}) == [
        "A, B: no positive among 9 labelled images.",
        "D: no positive on validation (F1).",
        "No interval, since many replicates lack what the score needs: C (150 of 1000), E (250 of 1000).",
        "The intervals cover somewhat less than 95 %: C (only 12 positive patients), D (only 20 positive patients).",
        "The macro AUROC is the mean over the 3 of 5 findings for which it is defined.",
    ]
    alike = {"findings": {"A": finding("none"), "B": finding("none")}, "macro": {"auroc": score(None)}}
    assert remarks(alike) == ["All findings: none."]


def test_a_macro_that_many_replicates_lack_findings_of_is_marked_and_has_a_steady_one_beside_it(capsys) -> None:
    rng = np.random.default_rng(0)
    y = np.stack([np.arange(90) % 2, np.arange(90) < 2], axis=1).astype(float)  # Rare: one patient of 45
    options = {"patients": np.arange(90) // 2, "split": "test", "label_policy": {"uncertain": "zeros"}}
    marked = score_table(y, rng.random((90, 2)), ["Common", "Rare"], replicates=200, **options)
    say_scores(marked)
    shown = capsys.readouterr().out
    macro = marked["macro"]["auroc"]
    assert 0.2 < macro["incomplete"] / 200 < 0.5  # (44 / 45)^45 = .36
    assert list(means(marked)) == ["macro of 2", "macro of 1 steady", "micro"]
    assert marked["steady"]["auroc"]["value"] == marked["findings"]["Common"]["auroc"]["value"]
    assert f"[{decimal(macro['low'])}, {decimal(macro['high'])}]*" in shown
    assert f"* In {macro['incomplete']} of 200 replicates a finding had no positive or no negative patient" in shown
    assert "The steady macro leaves out Rare." in shown
    y[:, 1] = np.arange(90) % 3 == 0
    say_scores(score_table(y, rng.random((90, 2)), ["Common", "Common too"], replicates=200, **options))
    shown = capsys.readouterr().out
    assert "*" not in shown and "steady" not in shown


def test_what_was_not_learnt_is_named(capsys) -> None:
    y = (np.arange(90) % 2)[:, None].astype(float)
    scores = score_table(y, np.random.default_rng(0).random((90, 1)), ["Edema"], replicates=20, label_policy={})
    assert "not_learnt" not in summary(scores)
    scores["not_learnt"] = {"Fracture": "all 9 training labels are negative"}
    say_scores(scores)
    said = "Not learnt by this classifier, so in no score and no mean: Fracture (all 9 training labels are negative)."
    assert said in capsys.readouterr().out
    assert summary(scores)["not_learnt"] == scores["not_learnt"]


def test_the_macro_of_differences_is_of_those_that_are_defined() -> None:
    rng = np.random.default_rng(0)
    y = np.stack([np.arange(60) % 2, np.zeros(60)], axis=1)
    found = paired_table(y, rng.random((60, 2)), rng.random((60, 2)), ["Edema", "Hernia"], replicates=20)
    said = differences({"against": found, "interval": {"replicates": 20}})
    assert list(said) == ["Edema", "Hernia", "macro of 1"]
    assert said["macro of 1"]["AUROC [95 %]"] == said["Edema"]["AUROC [95 %]"]


def test_a_difference_of_means_is_marked_where_many_replicates_lacked_a_finding() -> None:
    rng = np.random.default_rng(0)
    y = np.stack([np.arange(60) % 2, np.arange(60) == 7], axis=1)
    found = paired_table(y, rng.random((60, 2)), rng.random((60, 2)), ["Edema", "Hernia"], replicates=100)
    said = differences({"against": found, "interval": {"replicates": 100}})
    for score in ("AUROC [95 %]", "AP [95 %]"):
        assert said["macro of 2"][score].endswith("]*")
        assert "*" not in said["Edema"][score] + said["Hernia"][score]


def test_what_was_not_calibrated_is_one_line_with_each_reason_once() -> None:
    few = "3 positive and {} negative images: fewer than 10 of a class"
    reasons = {
        "Edema": few.format(9),
        "Fracture": "no order",
        "Nodule": few.format(12),
        "Mass": "",
        "Hernia": "no order",
    }
    entry = {"brier": {"value": 0.2}, "ece_mass": {"value": 0.1}}
    fits = {name: {"reason": reason} for name, reason in reasons.items()}
    scores = {"calibration": {"method": "platt", "findings": fits}, "findings": dict.fromkeys(reasons, entry)}
    said = calibrated(scores | {"before_calibration": {"findings": dict.fromkeys(reasons, entry)}})
    assert said[1:] == [
        "Not calibrated: Edema 3/9, Nodule 3/12 (fewer than 10 of a class: positive/negative images); "
        "Fracture, Hernia (no order)."
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8741, ".874"),
        (1.0, "1.00"),
        (0.9999, "1.00"),
        (-0.0214, "-.021"),
        (0.0, ".000"),
        (None, "–"),
        (-1.0, "-1.00"),
    ],
)
def test_decimals_as_papers_print_them(value: float | None, text: str) -> None:
    assert decimal(value) == text


def test_a_correction_that_did_harm_is_named() -> None:
    def table(**brier):
        return {name: {"brier": score(value), "ece_mass": score(0.05)} for name, value in brier.items()}

    fits = {name: {"reason": None} for name in "ABC"}
    scores = {
        "calibration": {"method": "platt", "findings": fits},
        "before_calibration": {"findings": table(A=0.1, B=0.2, C=0.3)},
        "findings": table(A=0.12, B=0.15, C=0.3001),
    }
    said = calibrated(scores)
    assert said[1:] == ["The correction made Brier worse on these cases: A (.100 before, .120 after)."]
    assert "(means over 3 findings)" in said[0]
    fits["A"]["reason"] = fits["B"]["reason"] = "too few"
    said = calibrated(scores)
    assert said[0].endswith("after (C).") and not any("worse" in text for text in said)


def test_what_lies_below_metadata_alone_is_named() -> None:
    def mean(value, names):
        return score(value) | {"findings": list(names)}

    floor = {"A": score(0.7), "B": score(0.6), "C": score(None)}
    scores = {
        "findings": {name: {"auroc": score(value)} for name, value in (("A", 0.5), ("B", 0.8), ("C", 0.1))},
        "macro": {"auroc": mean(0.4, "AB")},
        "floor": {"columns": ["age"], "findings": floor, "macro": mean(0.65, "AB")},
    }
    words = "AUROC lies below that of metadata alone: A (.500 against .700)"
    assert beneath(scores)[1:] == [f"{words}, the macro (.400 against .650)."]
    scores["floor"]["macro"]["findings"] = ["A"]  # a mean over other findings
    assert beneath(scores)[1:] == [f"{words}."]
    scores["findings"]["A"]["auroc"] = score(0.9)
    assert len(beneath(scores)) == 1


def test_an_interval_without_width_is_a_dash_and_told() -> None:
    none, flat, wide = score(0.5), score(0.0) | {"low": 0.0, "high": 0.0}, score(0.5) | {"low": 0.4, "high": 0.6}
    assert [with_ends(one) for one in (none, flat, wide)] == [".500", ".000 [–]", ".500 [.400, .600]"]
    table = {"findings": {"A": finding(), "B": finding()}, "macro": {"auroc": score(0.5) | {"findings": ["A", "B"]}}}
    assert remarks(table) == []
    table["findings"]["B"]["f1"] = flat
    assert remarks(table) == ["[–]: every replicate is the same, so the width of the interval would say nothing."]


def test_where_thresholds_come_from_is_said_only_as_far_as_it_is_known() -> None:
    y, p = np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]]), np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
    limits = {"A": {"value": 0.4, "positives": 9}, "B": {"value": 0.5, "positives": 10}}
    scores = score_table(y, p, ["A", "B"], thresholds=limits, replicates=0)
    assert thresholds_from(scores, {"classifier", "pack"}).endswith("not on these cases.")
    assert thresholds_from(scores | {"note": f"{CHOSEN_HERE}; more"}, {"classifier"}).endswith("on these very cases.")
    assert "the files do not tell" in thresholds_from(scores, {"predictions", "truth", "thresholds"})
    assert thresholds_from(score_table(y, p, ["A", "B"], replicates=0), {"classifier"}) == ""
    assert "Thresholds that rest on fewer than 10 positive images of validation: A (9)." in remarks(scores)
    given = score_table(y, p, ["A", "B"], thresholds={"A": {"value": 0.4}}, replicates=0)
    assert not any("rest on" in text for text in remarks(given))


def test_a_mean_over_other_findings_than_its_row_says_so() -> None:
    y = np.array([[1.0, 0, 1], [0, 0, 0], [1, 0, 1], [0, 0, 0]])
    p = np.array([[0.1, 0.2, 0.6], [0.3, 0.4, 0.2], [0.5, 0.6, 0.3], [0.7, 0.8, 0.1]])
    limits = {"A": {"value": 0.4}, "B": {"value": 0.5}}
    scores = score_table(y, p, ["A", "B", "C"], thresholds=limits, replicates=0)
    (said,) = (text for text in remarks(scores) if text.startswith("Means over other findings"))
    assert "specificity 2 (without C; with B)" in said and "Brier 3 (with B)" in said  # B has no positive
    assert "F1, Cohen's kappa, sensitivity, MCC, PPV, NPV, calibration slope 1 (without C);" in said
    assert "average precision" not in said
    alike = score_table(y[:, :1], p[:, :1], ["A"], thresholds=limits, replicates=0)
    assert not any("other findings" in text for text in remarks(alike))
