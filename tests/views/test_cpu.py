"""Views on a CPU against the tensor code: the same parameters, the same views, whatever the sizes and threads."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kontrast.methods import METHODS
from kontrast.views import cpu, geometry
from kontrast.views.params import View, apply, apply_tensors, draw
from kontrast.views.recipes import FINETUNE

EVERYTHING = View(
    size=32, scale=(0.3, 1.0), ratio=(0.75, 1.33), flip=0.5, rotate=20, jitter=0.8, brightness=0.6, contrast=0.6,
    gamma=0.5, blur=0.5, sigma=(2.0, 12.0), solarize=0.3, erase=0.5,
)  # fmt: skip
BOUND = 1e-4
"""A fortieth of a grey level of 8 bits: both ways compute the places of 300 pixels in single precision, 2e-5 px off,
and noise changes by up to 1 from pixel to pixel before contrast and gamma stretch it."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n, height, width, seed=0):
    return torch.randint(0, 256, (n, 1, height, width), dtype=torch.uint8, generator=seeded(seed))


def views(images, params, size, threads=1):
    return cpu.apply(images[:, 0].numpy(), params, size, threads)


@given(
    n=st.integers(1, 9), height=st.integers(9, 90), width=st.integers(9, 90), size=st.integers(8, 48),
    seed=st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_every_operation_is_that_of_the_tensor_code(n, height, width, size, seed):
    images, params = noise(n, height, width, seed), draw(EVERYTHING, n, seeded(seed))
    expected = apply_tensors(images, params, size)[:, 0].numpy()
    np.testing.assert_allclose(views(images, params, size), expected, atol=BOUND, rtol=0)


RECIPES = {
    **{f"finetune-{name}": made for name, made in FINETUNE.items()},
    **{f"{name}-{kind}": getattr(METHODS[name], kind) for name in METHODS for kind in ("xray", "natural")},
}


@pytest.mark.parametrize("side", [224, 300])
@pytest.mark.parametrize("name", ["moco-xray", "swav-natural", "byol-natural", "finetune-xray"])
def test_recipes_at_full_size(name, side):
    made = RECIPES[name].at(224)
    for view in {*made.global_views, *([made.local_view] if made.local_view else [])}:
        images, params = noise(2, side, side), draw(view, 2, seeded(5))
        expected = apply_tensors(images, params, view.size)[:, 0].numpy()
        np.testing.assert_allclose(views(images, params, view.size), expected, atol=BOUND, rtol=0)


def test_the_bound_would_show_a_fault_of_a_hundredth_of_a_pixel():
    images, params = noise(3, 40, 40), draw(dataclasses.replace(EVERYTHING, blur=0), 3, seeded(1))
    moved = dataclasses.replace(params, box=params.box + torch.tensor([0.01 / 40, 0, 0, 0]))
    assert np.abs(views(images, moved, 32) - views(images, params, 32)).max() > 10 * BOUND


def test_threads_and_chunks_change_nothing(monkeypatch):
    images, params = noise(11, 40, 33), draw(EVERYTHING, 11, seeded(2))
    whole = views(images, params, 32)
    monkeypatch.setattr(cpu, "CHUNK_CELLS", 3 * (32 + 2 * geometry.margin(32, 20)) ** 2)
    assert np.array_equal(views(images, params, 32), whole)
    assert np.array_equal(views(images, params, 32, threads=3), whole)


def test_float_images_and_slices_of_larger_arrays():
    images, params = noise(6, 30, 30), draw(EVERYTHING, 3, seeded(3))
    expected = apply(images[::2].contiguous(), params, 32)
    assert torch.equal(apply(images[::2], params, 32), expected)
    torch.testing.assert_close(apply(images[::2].double() / 255, params, 32), expected, atol=1e-5, rtol=0)


def test_no_images():
    assert apply(noise(0, 8, 8), draw(EVERYTHING, 0, seeded()), 16).shape == (0, 1, 16, 16)


def test_bands_are_the_dense_weights():
    box = torch.tensor([[0.1, 0.0, 0.5, 1.0], [0.0, 0.3, 1.0, 0.4]], dtype=torch.float64)
    flip = torch.tensor([True, False])
    dense = geometry._weights(box[:, 0], box[:, 2], flip, 60, 20, 5, torch.device("cpu")).numpy()
    made = cpu.bands(box[:, 0].numpy(), box[:, 2].numpy(), flip.numpy(), 60, 20, np.array([5, 5]), 1.0)
    for i in range(2):
        rows = np.empty((30, 60), np.float32)
        made.times(i, np.eye(60, dtype=np.float32)[made.low[i] : made.high[i]], rows)
        np.testing.assert_allclose(rows, dense[i], atol=2e-6)


def triangles(start, length, flip, source, size, pad):
    """The same weights row by row, in double precision."""
    rows = np.zeros((size + 2 * pad, source))
    for row in range(size + 2 * pad):
        at = (row - pad + 0.5) / size
        centre = (start + (1 - at if flip else at) * length) * source
        if 0 <= centre <= source:
            near = np.maximum(1 - np.abs(np.arange(source) + 0.5 - centre) / max(length * source / size, 1), 0)
            rows[row] = near / near.sum()
    return rows


@given(
    n=st.integers(1, 4), source=st.integers(2, 90), size=st.integers(2, 48), pad=st.integers(0, 9),
    scale=st.floats(0.001, 1), seed=st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_bands_hold_what_each_sample_needs_and_nothing_outside(n, source, size, pad, scale, seed):
    rng = np.random.default_rng(seed)
    length, flip, pads = rng.uniform(0.05, 1, n), rng.random(n) < 0.5, rng.integers(0, pad + 1, n)
    start = rng.uniform(0, 1 - length)
    made = cpu.bands(start, length, flip, source, size, pads, scale)
    for i in range(n):
        rows = np.empty((size + 2 * pads[i], source), np.float32)
        columns = np.eye(source, dtype=np.float32)[made.low[i] : made.high[i]]
        made.times(i, columns, rows)
        expected = scale * triangles(start[i], length[i], flip[i], source, size, pads[i])
        np.testing.assert_allclose(rows, expected, atol=1e-6)
        # scipy's kernel checks nothing: beyond the columns it would read memory of something else
        spare = pads.max() - pads[i]
        used = slice(made.ends[i * made.rows + spare], made.ends[(i + 1) * made.rows - spare])
        assert 0 <= made.low[i] < made.high[i] <= source
        assert made.pixels[used].min(initial=0) >= 0 and made.pixels[used].max(initial=0) < len(columns)


@pytest.mark.parametrize("drawn", [{"rotate": 0.0}, {"blur": 0.0}, {"rotate": 0.0, "blur": 0.0}, {"blur": 1.0}])
def test_whatever_is_skipped(drawn):
    images, params = noise(5, 50, 41), draw(dataclasses.replace(EVERYTHING, **drawn), 5, seeded(4))
    still = dataclasses.replace(
        params, angle=None if params.angle is None else params.angle * torch.tensor([0, 1, 1, 0, 1])
    )
    for one in (params, still):
        expected = apply_tensors(images, one, 32)[:, 0].numpy()
        np.testing.assert_allclose(views(images, one, 32), expected, atol=BOUND, rtol=0)


def test_factors_of_nothing():
    images, params = noise(3, 20, 20), draw(EVERYTHING, 3, seeded(6))
    params = dataclasses.replace(params, brightness=torch.tensor([0.0, 1, 1]), contrast=torch.tensor([1.0, 0, 1]))
    expected = apply_tensors(images, params, 32)[:, 0].numpy()
    np.testing.assert_allclose(views(images, params, 32), expected, atol=BOUND, rtol=0)
