"""A study's tables and figures say what its files say."""

import json

import pytest

import kontrast
from kontrast.pages import figures
from kontrast.pages.study import _folds, _range, _spread, difference, study_section
from pages.conftest import add_evaluation, add_study, found


def test_the_spread_over_seeds_is_that_of_a_sample() -> None:
    assert _spread([0.6, 0.7, 0.8]) == {"text": ".700", "sd": "± .100"}
    assert _spread([0.6]) == {"text": ".600", "sd": ""}


def test_a_study_that_grew_says_in_which_steps(tmp_path):
    folder = add_study(tmp_path / "s", CELLS)
    assert study_section(found(folder), {"random": ("#000", "o"), "moco": ("#111", "s")})["earlier"] == []
    grid = {"arms": ["random", "moco"], "protocols": ["probe"], "fractions": [0.1, 1.0], "seeds": [0], "draws": None}
    card = json.loads((folder / "card.json").read_text())
    steps = [grid | {"finished": False}, grid | {"seeds": [0, 1], "draws": 5, "finished": True}]
    card["content"]["earlier"] = steps
    (folder / "card.json").write_text(json.dumps(card))
    assert study_section(found(folder), {"random": ("#000", "o"), "moco": ("#111", "s")})["earlier"] == [
        "arms random, moco; protocols probe; labels 10 %, 100 %; seeds 0 (unfinished)",
        "arms random, moco; protocols probe; labels 10 %, 100 %; seeds 0, 1; draws 5 (finished)",
    ]
    kontrast.report(folder, out=tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text()
    assert "It was first asked for arms random, moco;" in page and "(unfinished), then for arms" in page


def test_differences_in_words():
    shown = difference({"value": "0.0314", "low": "0.001", "high": "0.06", "p": "0.0099"})
    assert shown == {"text": "+.031", "range": "[+.001, +.060]", "p": "p = .010", "clear": True, "mark": ""}
    shown = difference({"value": -0.0314, "low": -0.07, "high": 0.01, "p": 0.0001})
    assert shown == {"text": "-.031", "range": "[-.070, +.010]", "p": "p < .001", "clear": False, "mark": ""}
    assert difference({"value": 0.1, "p": "0.02", "p_holm": "0.06"})["p"] == "p = .020, Holm = .060"
    assert difference({"value": 0.1, "p": "0.02", "p_holm": "0.02"})["p"] == "p = .020"  # of one comparison
    assert difference({"value": 0.1, "low": None, "high": "", "p": ""})["range"] == ""
    many = {"incomplete": "21", "replicates": "200"}
    assert difference({"value": 0.1, "low": "0", "high": "1", "p": "", **many})["mark"] == "*"
    assert difference({"value": 0.1, "low": "0", "high": "1", "p": "", **many, "incomplete": "20"})["mark"] == ""
    assert difference({"value": 0.1, "low": "", "high": "", "p": "", **many})["mark"] == ""
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
    assert study_section(found(tmp_path / "s"), COLOURS)["means"] is None


def test_the_mean_below_the_findings_is_the_grid_s(pack, tmp_path, monkeypatch):
    add_study(tmp_path / "s", [("random", "probe", 1.0, 0, 0.6), ("random", "probe", 1.0, 1, 0.7)])
    for seed in (0, 1):
        add_evaluation(tmp_path / "s" / "evaluations" / "random" / f"probe-100pc-seed{seed}", pack, seed=seed)
    drawn = []
    monkeypatch.setattr(figures, "forest", lambda scores, *rest: drawn.append(scores) or "")
    study_section(found(tmp_path / "s"), COLOURS)
    assert drawn[0]["random"]["macro"] == {"value": pytest.approx(0.65), "low": 0.6, "high": 0.7}


def folds_of(**arms):
    entry = {"macro": {"value": 0.7, "low": 0.6, "high": 0.8}, "findings": {"Disc": {"value": 0.7}}}
    gap = {"value": 0.1, "low": 0.05, "high": 0.2, "p": 0.01, "incomplete": 30}
    return {
        "folds": 5, "images": 9, "patients": 4, "findings": ["Disc"], "replicates": 100,
        "arms": {arm: entry | more for arm, more in arms.items()}, "differences": {"moco": gap},
    }  # fmt: skip


def test_folds_say_how_many_random_networks_they_are_of():
    arms = {"random": {"start": "random", "method": None}, "moco": {"start": "random", "method": "moco"}}
    three = _folds(folds_of(random={"initialisations": 3}, moco={"initialisations": 1}), arms, COLOURS)
    assert three["initialisations"] == {"random": 3}
    assert [row["auroc"]["mark"] for row in three["rows"]] == ["", ""]
    assert three["rows"][1]["difference"]["mark"] == "*"
    assert _folds(folds_of(random={}, moco={}), arms, COLOURS)["initialisations"] == {"random": 1}


def test_folds_of_version_0_1_0_are_said_to_be_pooled():
    old = folds_of(moco={})
    assert _folds(old, {}, COLOURS)["pooled"] and not _folds(old | {"auroc": "within folds"}, {}, COLOURS)["pooled"]
    assert _range([0.5, None, 0.7]) == {"value": pytest.approx(0.6), "low": 0.5, "high": 0.7}
    assert _range([None]) == {"value": None, "low": None, "high": None}
