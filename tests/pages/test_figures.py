"""Figures: what is drawn, the same bytes each time, and nothing in a name that could do harm."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from kontrast.pages import figures
from kontrast.pages.drawing import FULL, GREY, looks

CANARY = "<script>alert(1)</script>"
STRANGE = [CANARY, "a & b \"c\" 'd'", r"$\broken{", "$x$", "胸水", "x\ud800y", "a\x00b", "long " * 40, "-->", "]]>"]


def score(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def words(drawing):
    """The texts of a drawing, which must be well-formed."""
    found = []
    for element in re.findall(r"<svg.*?</svg>", str(drawing), flags=re.DOTALL):
        found += [text.text for text in ElementTree.fromstring(element).iter("text")]
    return found


def every(names, look=("#0072B2", "o")):
    """Each figure with these names in it."""
    seen = dict.fromkeys(names, look)
    counts = {name: {"1": 3, "0": 4, "-1": 1, "blank": 2} for name in names}
    yield figures.prevalence(counts)
    yield figures.training({name: [{"step": 1, "loss": 2.0}] for name in names}, {"loss": "loss"}, seen)
    yield figures.efficiency({name: {name: [(0.1, 0.6, 0.5, 0.7)]} for name in names[:2]}, seen, names[0])
    yield figures.forest({name: {name: score(0.7, 0.6, 0.8)} for name in names}, seen, "AUROC")


def test_names_are_words_whatever_they_hold():
    for drawing in every(STRANGE):
        page = str(drawing)
        assert "<script" not in page and "http" not in page and "xmlns" not in page
        page.encode()  # no lone surrogates
        assert not re.search(r"[\x00-\x08\x0e-\x1f]", page)
        shown = words(drawing)
        assert CANARY in shown or CANARY not in page
    shown = words(figures.prevalence({name: {"1": 1, "0": 1, "-1": 0, "blank": 0} for name in STRANGE}))
    assert {CANARY, r"$\broken{", "$x$", "胸水", "x\ufffdy", "a\ufffdb"} <= set(shown)
    assert max(map(len, shown)) <= 60


def test_the_same_bytes_each_time_and_no_id_twice():
    first, second = (list(map(str, every(["a", "b"]))) for _ in range(2))
    assert first == second
    for page in first:
        ids = re.findall(r' id="([^"]*)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', page)) == set(ids)
    everything = "".join(first)
    assert len(re.findall(r' id="([^"]*)"', everything)) == len(set(re.findall(r' id="([^"]*)"', everything)))


def test_the_style_stays_within():
    before = dict(mpl.rcParams)
    list(every(["a"]))
    assert dict(mpl.rcParams) == before


def test_a_figure_says_what_it_shows():
    for drawing in every(["Edema", CANARY]):
        label = re.search(r'<svg [^>]*role="img" aria-label="([^"]+)"', str(drawing))
        assert label is not None and len(label[1]) > 10


def test_prevalence_counts():
    drawing = figures.prevalence(
        {"Edema": {"1": 30, "0": 50, "-1": 10, "blank": 10}, "None": {"1": 0, "0": 0, "-1": 0, "blank": 0}}
    )
    shown = words(drawing)
    assert "30 (30.0 %)" in shown and "0" in shown and {"positive", "negative", "uncertain"} <= set(shown)


def test_training_draws_what_was_logged():
    runs = {"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "rank": None}], "b": [{"step": 1, "loss": 3.0}]}
    seen = {"a": ("#0072B2", "o"), "b": ("#D55E00", "o")}
    shown = words(figures.training(runs, {"loss": "the loss", "rank": "the rank"}, seen))
    assert "the loss" in shown and "the rank" not in shown and {"a", "b"} <= set(shown)
    assert figures.training(runs, {"rank": "the rank"}, seen) == ""
    assert figures.training({}, {"loss": "loss"}, {}) == ""


def test_an_arm_s_second_run_is_dashed():
    points = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    seen = looks({"a1": "a", "a2": "a"}, {"a": "#0072B2"})
    styles = [
        re.findall(
            r'style="([^"]*#0072b2[^"]*)"', str(figures.training(dict.fromkeys(runs, points), {"loss": "l"}, seen))
        )
        for runs in (["a1"], ["a1", "a2"])
    ]
    assert not any("dasharray" in style for style in styles[0])
    assert any("dasharray" in style for style in styles[1])


def test_the_baseline_of_the_curves_is_dashed():
    curves = {"probe": {"random": [(0.1, 0.6, 0.5, 0.7), (1.0, 0.7, 0.7, 0.7)], "moco": [(0.1, 0.7, 0.6, 0.8)]}}
    seen = {"random": (GREY, "o"), "moco": ("#0072B2", "o")}
    page = str(figures.efficiency(curves, seen, "random"))
    dashed = re.findall(r'style="[^"]*stroke-dasharray: [^0][^"]*"', page)
    assert dashed and all(GREY in style for style in dashed)
    assert {"10 %", "100 %", "random", "moco"} <= set(words(page))


def test_a_forest_has_a_dash_for_what_is_undefined_and_the_mean_last():
    scores = {"m": {"macro": score(0.7, 0.6, 0.8), "A": score(None), "B": score(0.9)}, "n": {"B": score(0.2, 0.1, 0.3)}}
    seen = {"m": ("#0072B2", "o"), "n": ("#D55E00", "s")}
    drawing = figures.forest(scores, seen, "AUROC")
    shown = words(drawing)
    order = [word for word in shown if word in ("A", "B", "macro")]
    assert order == ["A", "B", "macro"]
    assert shown.count("–") == 3  # m: A; n: A and the mean


@pytest.mark.parametrize(("findings", "models"), [(14, 8), (60, 8), (3, 1), (1, 1), (14, 1)])
def test_a_forest_fits_on_paper(findings, models):
    scores = {f"m{m}": {f"F{i}": score(0.7, 0.6, 0.8) for i in range(findings)} for m in range(models)}
    drawing = figures.forest(scores, dict.fromkeys(scores, ("#0072B2", "o")), "AUROC")
    boxes = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', str(drawing))
    for width, height in boxes:
        # A4 less its margins is 184 mm wide and 268 mm high
        assert float(width) == pytest.approx(72 * FULL) and float(height) / float(width) * 184 < 250
    assert sorted(w for w in words(drawing) if w.startswith("F")) == sorted(f"F{i}" for i in range(findings))
