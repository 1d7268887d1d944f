"""The physics against closed forms."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from kontrast.data.phantom import film
from kontrast.data.phantom.anatomy import draw_anatomy, draw_pose
from kontrast.data.phantom.canvas import FIELD, HALF_VIEW, Canvas, ribbon, smooth
from kontrast.data.phantom.layers import Layers

POSE = replace(
    draw_pose(np.random.default_rng(0), "PA", 0.2),
    tilt=0.0,
    zoom=1.0,
    shift=(0.0, 0.0),
    scatter=0.0,
    blur=0.0,
    dose=1e9,
)


def test_a_slab_obeys_beer_and_lambert():
    canvas = Canvas(142)
    slab = np.full((142, 142), film.MU_TISSUE * 10, np.float32)
    assert film.expose(slab, canvas, POSE, 128) == pytest.approx(2.0, abs=1e-3)


def test_attenuation_adds_tissue_bone_and_metal():
    canvas = Canvas(64)
    full = np.ones((64, 64), np.float32)
    layers = Layers(
        canvas=canvas, chest=None, body=10 * full, air=canvas.nothing, airways=canvas.nothing, bone=2 * full,
        vessels=canvas.nothing, dense=canvas.nothing, empty=canvas.nothing, extra=3 * full, metal=0.5 * full,
        lung={}, heart=canvas.nothing, mediastinum=canvas.nothing,
    )  # fmt: skip
    total = film.attenuation(layers, draw_anatomy(np.random.default_rng(0)), POSE)
    expected = film.MU_TISSUE * 13 + (film.MU_BONE - film.MU_TISSUE) * 2 + 0.5
    assert total.mean() == pytest.approx(expected, rel=0.01)
    assert total.std() < 0.1


def test_noise_is_poisson_like():
    """The signal's relative noise falls with the square root of the dose and of the transmitted light."""
    canvas = Canvas(142)
    spread = {}
    for dose in (50.0, 200.0):
        for integral in (1.0, 3.0):
            flat = np.full((142, 142), integral, np.float32)
            spread[dose, integral] = film.expose(flat, canvas, replace(POSE, dose=dose), 128).std()
    assert spread[50.0, 1.0] / spread[200.0, 1.0] == pytest.approx(2, rel=0.05)
    assert spread[200.0, 3.0] / spread[200.0, 1.0] == pytest.approx(np.e, rel=0.05)


def test_scatter_lowers_contrast():
    canvas = Canvas(142)
    step = np.full((142, 142), 1.0, np.float32)
    step[:, 71:] = 3.0
    clear = film.expose(step, canvas, POSE, 128)
    veiled = film.expose(step, canvas, replace(POSE, scatter=0.5), 128)
    assert np.ptp(veiled[:, 30:98].mean(0)) < 0.96 * np.ptp(clear[:, 30:98].mean(0))


def test_pose_moves_the_centre_as_it_says():
    canvas, size = Canvas(284), 256
    pose = replace(POSE, shift=(2.0, -3.0), zoom=1.1, tilt=4.0)
    matrix = film.pose_matrix(canvas, pose, size)
    centre = np.array([canvas.n / 2 - 0.5] * 2 + [1])
    per_cm = size / (2 * HALF_VIEW) * 1.1
    assert matrix @ centre == pytest.approx(np.array([127.5 + 2 * per_cm, 127.5 - 3 * per_cm]))


def test_display_keeps_the_order_of_greys():
    ramp = np.tile(np.linspace(0.5, 4, 128, dtype=np.float32), (128, 1))
    shown = film.display(ramp, replace(POSE, sharpness=0.0, low=0.1, high=99.0))
    assert np.all(np.diff(shown[64]) >= 0)
    assert 0 <= shown.min() < shown.max() <= 1


def test_collimation_is_black_and_letters_are_white():
    grey = np.full((256, 256), 0.4, np.float32)
    out = film.finish(grey, replace(POSE, collimation=(1.0, 0.0, 2.0, 0.0), marker=1))
    assert out[:, :6].max() == 0
    assert out[:13, :200].max() == 0
    assert out.max() > 0.9


def test_curve_passes_through_its_points():
    points = np.random.default_rng(0).normal(size=(7, 2))
    assert smooth(points, 5)[::5] == pytest.approx(points)
    straight = np.stack([np.arange(5.0), 2 * np.arange(5.0)], 1)
    assert np.diff(smooth(straight, 4), n=2, axis=0) == pytest.approx(0)


def test_ribbon_has_the_width_asked_for():
    line = np.stack([np.linspace(-5, 5, 11), np.zeros(11)], 1)
    outline = ribbon(line, 0.7)
    assert cv2.contourArea(outline.astype(np.float32)) == pytest.approx(14.0)
    batch = ribbon(np.stack([line, line + 1]), np.full((2, 11), 0.7))
    assert batch[0] == pytest.approx(outline)


def test_filled_area_is_the_polygons():
    canvas = Canvas(440)
    t = np.linspace(0, 2 * np.pi, 90)
    disc = np.stack([4 * np.cos(t), 4 * np.sin(t)], 1)
    for blur in (0.0, 0.3):
        area = canvas.fill(disc, blur=blur).sum() * (2 * FIELD / 440) ** 2
        assert area == pytest.approx(16 * np.pi, rel=0.035)  # OpenCV fills the pixels on the edge too


def test_empty_layers_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        Canvas(8).nothing[0] = 1
