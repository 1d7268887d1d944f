"""Crop, flip, resize and rotation against Pillow, torch, naive loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from kontrast.views import geometry


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def whole(n=1):
    return torch.tensor([[0.0, 0, 1, 1]], dtype=torch.float64).repeat(n, 1), torch.zeros(n, dtype=torch.bool)


def naive_rotate(image, degrees):
    """Bilinear, about the centre, counter-clockwise, pixel by pixel; beyond the edge every pixel counts as 0."""
    size = len(image)
    out, a, middle = np.zeros((size, size)), math.radians(degrees), (size - 1) / 2
    for i in range(size):
        for j in range(size):
            x, y = j - middle, i - middle
            u, v = math.cos(a) * x - math.sin(a) * y + middle, math.sin(a) * x + math.cos(a) * y + middle
            for p in (math.floor(v), math.floor(v) + 1):
                for q in (math.floor(u), math.floor(u) + 1):
                    if 0 <= p < size and 0 <= q < size:
                        out[i, j] += image[p, q] * (1 - abs(v - p)) * (1 - abs(u - q))
    return out


@given(
    seed=st.integers(0, 10**6),
    low=st.floats(0.02, 1),
    high=st.floats(0.02, 1),
    stretch=st.floats(1, 4),
    n=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_crop_boxes_lie_inside_with_the_asked_area_and_ratio(seed, low, high, stretch, n):
    low, high = min(low, high), max(low, high)
    box = geometry.draw_crop(n, (low, high), (1 / stretch, stretch), seeded(seed))
    top, left, height, width = box.unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 1 + 1e-12).all() and (left + width <= 1 + 1e-12).all()
    area, ratio = height * width, width / height
    assert (area >= low - 1e-9).all() and (area <= high + 1e-9).all()
    assert (ratio >= 1 / stretch - 1e-9).all() and (ratio <= stretch + 1e-9).all()


def test_crop_area_is_uniform():
    box = geometry.draw_crop(20_000, (0.5, 1.0), (3 / 4, 4 / 3), seeded())
    area = (box[:, 2] * box[:, 3]).sort().values.numpy()
    assert np.abs(area - np.linspace(0.5, 1, 20_000)).max() < 0.01  # Kolmogorov distance; 1.6/√n = .011


def test_flip_and_angle_have_their_probability_and_range():
    assert geometry.draw_flip(20_000, 0.3, seeded()).float().mean() == pytest.approx(0.3, abs=0.02)
    assert not geometry.draw_flip(100, 0.0, seeded()).any() and geometry.draw_flip(100, 1.0, seeded()).all()
    angle = geometry.draw_angle(20_000, 10, seeded())
    assert angle.abs().max() <= 10 and angle.min() < -9.9 and angle.max() > 9.9 and abs(angle.mean()) < 0.2


def test_identity():
    image = torch.rand(3, 37, 37)
    box, flip = whole(3)
    assert torch.equal(geometry.crop_resize(image, box, flip, 37), image)


@pytest.mark.parametrize(("source", "size"), [(64, 32), (50, 37), (96, 64), (40, 64), (320, 100)])
def test_resize_is_torchs_antialiased_one(source, size):
    image = torch.rand(2, source, source)
    expected = F.interpolate(image[:, None], size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    actual = geometry.crop_resize(image, *whole(2), size)
    torch.testing.assert_close(actual, expected[:, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("size", [12, 31, 80])
def test_crop_is_pillows_resize_of_a_box(size, flipped):
    rng = np.random.default_rng(size)
    image = rng.random((61, 47), dtype=np.float32)  # not square
    top, left, height, width = 7.3, 4.9, 40.2, 35.6
    expected = np.asarray(
        Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    )
    box = torch.tensor([[top / 61, left / 47, height / 61, width / 47]], dtype=torch.float64)
    actual = geometry.crop_resize(torch.tensor(image)[None], box, torch.tensor([flipped]), size)[0].numpy()
    np.testing.assert_allclose(actual[:, ::-1] if flipped else actual, expected, atol=2e-5)


def test_flip_mirrors_left_to_right_and_twice_is_nothing():
    image = torch.rand(2, 16, 16)
    box, _ = whole(2)
    flip = torch.tensor([True, False])
    once = geometry.crop_resize(image, box, flip, 16)
    torch.testing.assert_close(once[0], image[0].flip(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(once[1], image[1], atol=0, rtol=0)
    torch.testing.assert_close(geometry.crop_resize(once, box, flip, 16), image, atol=1e-6, rtol=0)


def test_the_margin_continues_the_view_and_is_black_outside_the_image():
    image = torch.rand(1, 40, 40) + 1
    box = torch.tensor([[0.25, 0.25, 0.5, 0.5]], dtype=torch.float64)
    _, flip = whole()
    canvas = geometry.crop_resize(image, box, flip, 20, pad=12)
    torch.testing.assert_close(canvas[0, 12:-12, 12:-12], image[0, 10:30, 10:30], atol=1e-6, rtol=0)
    torch.testing.assert_close(canvas[0, 2:-2, 2:-2], image[0], atol=1e-6, rtol=0)
    assert (canvas[0, :2] == 0).all() and (canvas[0, :, -2:] == 0).all()
    finer = geometry.crop_resize(image, box, flip, 60, pad=33)  # three pixels for one: 30 lie between box and edge
    assert (finer[0, 3:-3, 3:-3] > 0.9).all()
    assert (finer[0, :3] == 0).all() and (finer[0, :, -3:] == 0).all()


@pytest.mark.parametrize("degrees", [-30, -7.5, 3, 10, 45])
@pytest.mark.parametrize("size", [17, 24])
def test_rotation_is_the_naive_one(size, degrees):
    image = np.random.default_rng(1).random((size, size))
    pad = geometry.margin(size, abs(degrees))
    canvas = geometry.crop_resize(torch.tensor(image)[None].float(), *whole(), size, pad)
    actual = geometry.rotate(canvas, torch.tensor([degrees], dtype=torch.float64), size)[0].numpy()
    np.testing.assert_allclose(actual, naive_rotate(image, degrees), atol=2e-5)


def test_rotation_by_a_right_angle_is_counter_clockwise():
    image = torch.rand(1, 14, 14)
    actual = geometry.rotate(image, torch.tensor([90.0], dtype=torch.float64), 14)
    torch.testing.assert_close(actual, torch.rot90(image, 1, (1, 2)), atol=1e-5, rtol=0)


@given(size=st.integers(8, 300), limit=st.floats(0.5, 90))
@settings(max_examples=50, deadline=None)
def test_the_margin_holds_every_corner(size, limit):
    pad = geometry.margin(size, limit)
    for angle in np.radians(np.linspace(0, limit, 20)):
        corner = (size / 2 - 0.5) * (math.cos(angle) + math.sin(angle))  # from the centre, along one axis
        assert corner <= (size + 2 * pad) / 2 - 0.5 - 0.4  # both bilinear neighbours, or nearly
    assert geometry.margin(size, 0) == 0
