"""Tables and figures of scores say what the files say."""

import json

import pytest

from kontrast.pages.results import (
    MOST,
    SHOWN,
    _range,
    _spread,
    difference,
    evaluation_section,
    remarks,
    study_section,
)
from kontrast.pages.sections import with_interval
from pages.conftest import add_evaluation, add_study, found

LOOK = ("#0072B2", "o")


def test_the_spread_over_seeds_is_that_of_a_sample() -> None:
    assert _spread([0.6, 0.7, 0.8]) == {"text": ".700", "sd": "± .100"}
    assert _spread([0.6]) == {"text": ".600", "sd": ""}


def test_tables_are_those_of_the_files(pack, tmp_path):
    one = found(add_evaluation(tmp_path / "one", pack, thresholds={"Disc": {"value": 0.5}}))
    section = evaluation_section([one], {}, {"one": LOOK})
    scores = json.loads((tmp_path / "one" / "scores.json").read_text())
    (table,) = section["tables"]
    assert table["scores"] == scores and table["overlap"] == "0 patients shared" and table["note"] is None
    assert [(row["name"], row["total"]) for row in table["rows"]] == [("Disc", False), ("Bar", False), ("macro", True)]
    for row in table["rows"]:
        entry = scores["findings"].get(row["name"], scores["macro"])
        for name in SHOWN:
            assert row[name] == with_interval(entry[name])
    assert table["rows"][1]["f1"]["text"] == "–" and table["thresholds"]
    assert any(text.startswith("Bar: ") and "F1" in text for text in table["remarks"])
    assert len(section["forest"]) == 1


def test_many_evaluations_are_drawn_in_parts(pack, tmp_path):
    all_of_them = [found(add_evaluation(tmp_path / f"e{i}", pack, seed=i)) for i in range(MOST + 1)]
    section = evaluation_section(all_of_them, {}, {one.name: LOOK for one in all_of_them})
    assert len(section["tables"]) == MOST + 1 and len(section["forest"]) == 2


def score(value, reason=None):
    return {"value": value, "low": None, "high": None, **({"reason": reason} if reason else {})}


def finding(reason=None, note=None, threshold=None):
    entry = {name: score(None if reason else 0.5, reason) for name in SHOWN}
    return entry | ({"note": note} if note else {}) | ({"threshold_reason": threshold} if threshold else {})


def test_each_reason_once_with_all_that_it_is_about():
    few = "few: only 12 positive patients, so the intervals cover somewhat less than 95 %"
    fewer = "few: only 20 positive patients, so the intervals cover somewhat less than 95 %"
    findings = {
        "A": finding("no positive among 9 labelled images"), "B": finding("no positive among 9 labelled images"),
        "C": finding(note=few), "D": finding(note=fewer, threshold="no positive on validation"),
    }  # fmt: skip
    findings["D"]["f1"] = score(None, "no positive on validation")
    assert remarks({"findings": findings, "macro": {"auroc": score(0.5) | {"findings": ["C", "D"]}}}) == [
        "A, B: no positive among 9 labelled images.",
        "D: no positive on validation (F1).",
        "The intervals cover somewhat less than 95 %: C (only 12 positive patients), D (only 20 positive patients).",
        "The macro AUROC is the mean over the 2 of 4 findings for which it is defined.",
    ]
    alike = {"findings": {"A": finding("none"), "B": finding("none")}, "macro": {"auroc": score(None)}}
    assert remarks(alike) == ["All findings: none."]


def test_differences_in_words():
    shown = difference({"value": "0.0314", "low": "0.001", "high": "0.06", "p": "0.0099"})
    assert shown == {"text": "+.031", "range": "[+.001, +.060]", "p": "p = .010", "clear": True}
    shown = difference({"value": -0.0314, "low": -0.07, "high": 0.01, "p": 0.0001})
    assert shown == {"text": "−.031", "range": "[−.070, +.010]", "p": "p < .001", "clear": False}
    assert difference({"value": 0.1, "low": None, "high": "", "p": ""})["range"] == ""
    assert difference({"value": "", "low": "", "high": "", "p": ""}) is None and difference(None) is None


CELLS = [
    ("random", "probe", 0.1, 0, 0.6), ("random", "probe", 0.1, 1, 0.62), ("moco", "probe", 0.1, 0, 0.7),
    ("moco", "probe", 0.1, 1, 0.72), ("random", "probe", 1.0, 0, 0.8), ("random", "probe", 1.0, 1, None),
    ("moco", "probe", 1.0, 0, None), ("moco", "probe", 1.0, 1, None), ("moco", "finetune", 1.0, 0, 0.9),
]  # fmt: skip
COLOURS = {"random": ("#6b7480", "o"), "moco": ("#0072B2", "o")}


def test_a_study_is_a_table_of_arms_by_labels(tmp_path):
    differences = [("probe", 0.1, "moco", 0.1, 0.05, 0.15, 0.002)]
    section = study_section(found(add_study(tmp_path / "s", CELLS, differences)), COLOURS)
    probe, finetune = section["tables"]
    assert probe["labels"] == ["10 %", "100 %"] and finetune["labels"] == ["100 %"]
    assert [row["arm"] for row in probe["rows"]] == ["random", "moco"]
    few, many = probe["rows"][1]["cells"]
    assert few["text"] == ".710" and few["difference"]["text"] == "+.100" and few["difference"]["clear"]
    assert many["text"] == "–" and many["difference"] is None
    assert probe["rows"][0]["cells"][1] == {"text": ".800", "sd": "", "difference": None}
    assert section["left_out"] == ["imagenet"] and section["findings"] == [] and section["folds"] is None
    assert "moco" in section["curves"]


def test_a_study_without_a_defined_score(tmp_path):
    cells = [("random", "probe", 1.0, 0, None), ("moco", "probe", 1.0, 0, None)]
    section = study_section(found(add_study(tmp_path / "s", cells)), COLOURS)
    assert section["curves"] is None


def test_findings_of_a_study_come_from_its_evaluations(pack, tmp_path):
    add_study(tmp_path / "s", CELLS[:1] + CELLS[2:3])
    for seed, arm in enumerate(("random", "moco")):
        add_evaluation(tmp_path / "s" / "evaluations" / arm / "probe-10pc-seed0", pack, seed=seed)
    (drawn,) = study_section(found(tmp_path / "s"), COLOURS)["findings"]
    assert drawn["labels"] == "10 %" and "Disc" in drawn["forest"] and "macro" in drawn["forest"]
    assert _range([0.5, None, 0.7]) == {"value": pytest.approx(0.6), "low": 0.5, "high": 0.7}
    assert _range([None]) == {"value": None, "low": None, "high": None}
