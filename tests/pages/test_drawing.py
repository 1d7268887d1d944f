"""Colours that can be told apart, and pictures that a page holds."""

import base64

import cv2
import numpy as np
import pytest

from kontrast.pages import drawing


def test_one_colour_an_arm_and_grey_for_the_baseline():
    colours = drawing.palette(["random", "moco", "swav", "moco"], "random")
    assert colours["random"] == drawing.GREY and len(set(colours.values())) == 3
    seen = drawing.looks({"a": "moco", "b": "moco", "c": "swav", "d": "unheard of"}, colours)
    assert seen["a"][0] == seen["b"][0] == colours["moco"] and seen["a"][1] != seen["b"][1]
    assert seen["c"] == (colours["swav"], "o") and seen["d"][0] == drawing.GREY


def test_colours_can_be_told_from_paper():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    for colour in (drawing.GREY, drawing.INK):
        assert 1.05 / (luminance(colour) + 0.05) > 4.5
    assert all(1.05 / (luminance(colour) + 0.05) > 2 for colour in drawing.COLOURS)


def test_photographs_are_jpegs_and_drawings_lossless():
    picture = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    uri = drawing.data_uri(picture)
    assert (_read(uri, "png") == picture).all()
    assert _read(drawing.data_uri(picture, most=448), "jpeg").shape == (224, 448, 3)
    assert _read(drawing.data_uri(picture[:10, :10, 0], most=448), "jpeg").shape == (10, 10)
    with pytest.raises((ValueError, cv2.error)):
        drawing.data_uri(np.zeros((0, 0), np.uint8))


def _read(uri, kind):
    head, data = uri.split(",")
    assert head == f"data:image/{kind};base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
