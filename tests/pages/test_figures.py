"""Figures: what is drawn, the same bytes each time, and nothing in a name that could do harm."""

import base64
import re
from xml.etree import ElementTree

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from kontrast.pages import figures

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


def test_one_colour_an_arm_and_grey_for_the_baseline():
    colours = figures.palette(["random", "moco", "swav", "moco"], "random")
    assert colours["random"] == figures.GREY and len(set(colours.values())) == 3
    seen = figures.looks({"a": "moco", "b": "moco", "c": "swav", "d": "unheard of"}, colours)
    assert seen["a"][0] == seen["b"][0] == colours["moco"] and seen["a"][1] != seen["b"][1]
    assert seen["c"] == (colours["swav"], "o") and seen["d"][0] == figures.GREY


def test_colours_can_be_told_from_paper():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    for colour in (figures.GREY, figures.INK):
        assert 1.05 / (luminance(colour) + 0.05) > 4.5
    assert all(1.05 / (luminance(colour) + 0.05) > 2 for colour in figures.COLOURS)


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


def test_the_baseline_of_the_curves_is_dashed():
    curves = {"probe": {"random": [(0.1, 0.6, 0.5, 0.7), (1.0, 0.7, 0.7, 0.7)], "moco": [(0.1, 0.7, 0.6, 0.8)]}}
    seen = {"random": (figures.GREY, "o"), "moco": ("#0072B2", "o")}
    page = str(figures.efficiency(curves, seen, "random"))
    dashed = re.findall(r'style="[^"]*stroke-dasharray: [^0][^"]*"', page)
    assert dashed and all(figures.GREY in style for style in dashed)
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
        assert float(width) == pytest.approx(72 * figures.FULL) and float(height) / float(width) * 184 < 250
    assert sorted(w for w in words(drawing) if w.startswith("F")) == sorted(f"F{i}" for i in range(findings))


def test_photographs_are_jpegs_and_drawings_lossless():
    picture = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    uri = figures.data_uri(picture)
    assert (_read(uri, "png") == picture).all()
    assert _read(figures.data_uri(picture, most=448), "jpeg").shape == (224, 448, 3)
    assert _read(figures.data_uri(picture[:10, :10, 0], most=448), "jpeg").shape == (10, 10)
    with pytest.raises((ValueError, cv2.error)):
        figures.data_uri(np.zeros((0, 0), np.uint8))


def _read(uri, kind):
    head, data = uri.split(",")
    assert head == f"data:image/{kind};base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
