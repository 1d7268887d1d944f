"""The demo's paragraph follows from its figures, whichever way they fall."""

import pytest

from kontrast.pages import figures
from kontrast.pages.conclusion import conclusion, conclusion_section

ROW = {"fraction": 0.1, "value": 0.05, "low": 0.01, "high": 0.09, "p": 0.02, "first": 0.75, "second": 0.7}


def content(*rows):
    return {
        "arm": "moco", "baseline": "random", "findings": ["Edema", "Fracture"], "patients": 36,
        "differences": [{**ROW, "incomplete": 0, "replicates": 100, **row} for row in rows],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "leaves out 0, so on patients like these pretraining did better than random weights"),
        ({"value": -0.05, "low": -0.09, "high": -0.01}, "random weights did better than pretraining"),
        ({"low": -0.01}, "includes 0, so these patients do not tell which of the two is better"),
        ({"low": 0.0}, "includes 0"),
        ({"low": None, "high": None}, "nothing follows"),
    ],
)
def test_the_verdict_is_the_interval_s(row, says):
    text = conclusion(content(row))
    assert says in text and ("includes 0" in text) + ("leaves out 0" in text) <= 1
    assert "With 10 % of the labels it is .750 against .700" in text


def test_it_says_what_it_is_about_and_that_no_patient_is():
    text = conclusion(content({}, {"fraction": 1.0, "incomplete": 50}))
    assert "over the 2 findings" in text and "36 made-up test patients" in text
    assert "With 100 % of the labels" in text and "[+.010, +.090]" in text
    assert "says anything about patients" in text
    assert "so rare" in text and "so rare" not in conclusion(content({}))
    assert "nothing follows" in conclusion(content())


def test_the_curves_are_the_scores_that_the_text_is_about(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "efficiency", lambda *given: drawn.append(given) or "a figure")
    rows = ({"fraction": 0.1, "first": 0.7, "second": 0.6}, {"fraction": 1.0, "first": 0.8, "second": 0.9})
    section = conclusion_section(content(*rows), {"moco": "#123456"})
    (((by_arm,), seen, baseline),) = [(list(curves.values()), seen, base) for curves, seen, base in drawn]
    assert by_arm == {
        "random": [(0.1, 0.6, 0.6, 0.6), (1.0, 0.9, 0.9, 0.9)], "moco": [(0.1, 0.7, 0.7, 0.7), (1.0, 0.8, 0.8, 0.8)],
    }  # fmt: skip
    assert seen["moco"][0] == "#123456" and baseline == "random" and section["curves"] == "a figure"
    assert section["text"] == conclusion(content(*rows))
    assert conclusion_section(content(), {})["curves"] is None
