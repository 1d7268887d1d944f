"""Whole views: the order of operations, no mixing between samples, types and ranges."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from kontrast.views.geometry import margin
from kontrast.views.params import View, ViewParams, apply, draw

EVERYTHING = View(
    size=32, scale=(0.3, 1.0), ratio=(0.75, 1.33), flip=0.5, rotate=20, jitter=0.8, brightness=0.6, contrast=0.6,
    gamma=0.5, blur=0.5, sigma=(2.0, 12.0), solarize=0.3, erase=0.5,
)  # fmt: skip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, side=40, seed=0):
    return torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=seeded(seed))


def tensors(params):
    found = {f.name: getattr(params, f.name) for f in dataclasses.fields(params)}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def test_identity():
    images = pictures(3)
    views = apply(images, draw(View(size=40), 3, seeded()), 40)
    torch.testing.assert_close(views, images.float() / 255, atol=1e-6, rtol=0)


def test_a_whole_view_step_by_step():
    """Pillow crops, scipy turns and blurs, numpy does the rest; the box lies so deep that no edge matters."""
    side, size, degrees = 80, 24, 11.0
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.random((side, side)), 1.5)
    image = ((image - image.min()) / np.ptp(image)).astype(np.float32)
    top, left, height, width = 0.3, 0.25, 0.4, 0.45
    params = ViewParams(
        limit=15.0, box=torch.tensor([[top, left, height, width]], dtype=torch.float64), flip=torch.tensor([True]),
        angle=torch.tensor([degrees], dtype=torch.float64), brightness=torch.tensor([1.2]),
        contrast=torch.tensor([1.4]), gamma=torch.tensor([0.8]), sigma=torch.tensor([1.1 / size]),
        solarize=torch.tensor([True]), erase=torch.tensor([[0.5, 0.25, 0.25, 0.125]], dtype=torch.float64),
    )  # fmt: skip
    pad = margin(size, 15.0)
    y, x, h, w = (v * side for v in (top, left, height, width))
    around = (x - pad * w / size, y - pad * h / size, x + w + pad * w / size, y + h + pad * h / size)
    out = Image.fromarray(image).resize((size + 2 * pad,) * 2, Image.Resampling.BILINEAR, around)
    turned = ndimage.rotate(np.asarray(out)[:, ::-1].astype(float), degrees, reshape=False, order=1)
    expected = ndimage.gaussian_filter(turned[pad:-pad, pad:-pad], 1.1, mode="mirror") * 1.2
    expected = np.clip((expected - expected.mean()) * 1.4 + expected.mean(), 0, 1) ** 0.8
    expected = np.where(expected >= 0.5, 1 - expected, expected)
    expected[12:18, 6:9] = 0
    actual = apply(torch.tensor(image)[None, None], params, size)[0, 0].numpy()
    np.testing.assert_allclose(actual, expected, atol=2e-4)


@given(n=st.integers(1, 12), side=st.integers(9, 70), size=st.integers(8, 48), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_each_sample_is_what_it_would_be_alone(n, side, size, seed):
    images, params = pictures(n, side, seed), draw(EVERYTHING, n, seeded(seed))
    views = apply(images, params, size)
    assert views.shape == (n, 1, size, size) and views.dtype == torch.float32
    assert views.min() >= 0 and views.max() <= 1 and torch.isfinite(views).all()
    for i in range(n):
        alone = apply(images[i : i + 1], params.slice(i, i + 1), size)[0]
        off = (views[i] - alone).abs() > 1e-5
        assert off.float().mean() < 0.02  # not 0: at solarize's edge a rounding decides


def test_nothing_but_its_own_image_enters_a_view():
    images, params = pictures(6), draw(dataclasses.replace(EVERYTHING, solarize=0.0), 6, seeded(1))
    before = apply(images, params, 32)
    images[3] = 255 - images[3]
    changed = (apply(images, params, 32) - before).abs().amax((1, 2, 3))
    assert changed[3] > 0.01 and changed[torch.arange(6) != 3].max() == 0


def test_chunks_change_nothing(monkeypatch):
    images, params = pictures(9), draw(dataclasses.replace(EVERYTHING, solarize=0.0), 9, seeded(2))
    whole = apply(images, params, 32)
    monkeypatch.setattr("kontrast.views.cpu.CHUNK_CELLS", 1)
    monkeypatch.setattr("kontrast.views.params._CELLS", 1)
    torch.testing.assert_close(apply(images, params, 32), whole, atol=1e-5, rtol=0)


def test_the_images_themselves_stay_as_they_are():
    images = pictures(4).float() / 255
    kept = images.clone()
    apply(images, draw(EVERYTHING, 4, seeded()), 40)
    apply(images, draw(View(size=40), 4, seeded()), 40).zero_()
    assert torch.equal(images, kept)


def test_uint8_and_float_images_give_the_same_views():
    images, params = pictures(4), draw(dataclasses.replace(EVERYTHING, solarize=0.0), 4, seeded())
    torch.testing.assert_close(apply(images, params, 32), apply(images.float() / 255, params, 32), atol=1e-6, rtol=0)


def test_the_generator_alone_decides():
    torch.manual_seed(1)
    one = tensors(draw(EVERYTHING, 5, seeded(7)))
    torch.manual_seed(2)
    two, other = tensors(draw(EVERYTHING, 5, seeded(7))), tensors(draw(EVERYTHING, 5, seeded(8)))
    assert set(one) == {"box", "flip", "angle", "brightness", "contrast", "gamma", "sigma", "solarize", "erase"}
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["box"], other["box"])


def test_samples_are_drawn_apart():
    for name, value in tensors(draw(EVERYTHING, 64, seeded())).items():
        assert len(value.reshape(64, -1).unique(dim=0)) > 1, name


def test_operations_that_are_off_draw_nothing():
    assert set(tensors(draw(View(size=8), 3, seeded()))) == {"box", "flip"}


def test_jitter_changes_brightness_contrast_and_gamma_together():
    params = draw(dataclasses.replace(EVERYTHING, jitter=0.5), 2000, seeded())
    kept = params.brightness == 1
    assert kept.float().mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(kept, params.contrast == 1) and torch.equal(kept, params.gamma == 1)


def test_slice():
    params = draw(EVERYTHING, 10, seeded())
    part = params.slice(3, 7)
    assert len(part) == 4 and part.limit == params.limit
    assert all(torch.equal(value, tensors(params)[name][3:7]) for name, value in tensors(part).items())


def test_views_do_not_lose_precision_under_autocast():
    images, params = pictures(2), draw(EVERYTHING, 2, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = apply(images, params, 32)
    assert torch.equal(inside, apply(images, params, 32))


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 8, 8)])
def test_images_that_do_not_fit_the_parameters_are_refused(shape):
    with pytest.raises(ValueError, match=r"Expected \(2, 1, H, W\)"):
        apply(torch.zeros(shape), draw(View(size=8), 2, seeded()), 8)
