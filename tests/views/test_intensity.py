"""Each operation on grey values against a naive numpy version, and its limits."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from kontrast.views import intensity

X = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(5))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_draws_have_their_ranges():
    n = 20_000
    factor = intensity.draw_factor(n, 0.4, seeded())
    assert 0.6 <= factor.min() < 0.61 and 1.39 < factor.max() <= 1.4 and factor.mean() == pytest.approx(1, abs=0.01)
    assert intensity.draw_factor(n, 1.5, seeded()).min() >= 0
    exponent = intensity.draw_gamma(n, 0.5, seeded())
    assert 1 / 1.5 - 1e-6 <= exponent.min() < 0.68 and 1.48 < exponent.max() <= 1.5 + 1e-6
    assert exponent.log().mean() == pytest.approx(0, abs=0.01)
    sigma = intensity.draw_sigma(n, 0.25, (0.1, 2.0), seeded())
    assert (sigma > 0).float().mean() == pytest.approx(0.25, abs=0.02)
    assert sigma[sigma > 0].min() >= 0.1 and sigma.max() <= 2
    box = intensity.draw_erase(n, 0.5, (0.02, 0.2), seeded())
    chosen = box[:, 2] > 0
    assert chosen.float().mean() == pytest.approx(0.5, abs=0.02)
    area = (box[:, 2] * box[:, 3])[chosen]
    assert area.min() >= 0.02 - 1e-9 and area.max() <= 0.2 + 1e-9


def test_brightness_and_contrast():
    b, c = torch.tensor([1.3, 1.0, 0.6]), torch.tensor([0.5, 1.0, 0.0])
    actual = intensity.brightness_contrast(X.clone(), b, c).numpy()
    for x, bi, ci, got in zip(X.double().numpy(), b.numpy(), c.numpy(), actual, strict=True):
        y = x * bi
        np.testing.assert_allclose(got, ci * (y - y.mean()) + y.mean(), atol=1e-6)


def test_brightness_and_contrast_can_be_off():
    assert torch.equal(intensity.brightness_contrast(X.clone(), None, None), X)
    torch.testing.assert_close(intensity.brightness_contrast(X.clone(), torch.full((3,), 0.5), None), X / 2)
    one = torch.ones(3)
    torch.testing.assert_close(intensity.brightness_contrast(X.clone(), one, one), X, atol=1e-7, rtol=0)


def test_gamma():
    exponent = torch.tensor([0.5, 1.0, 2.0])
    actual = intensity.gamma(X * 1.5 - 0.25, exponent)
    for x, e, got in zip((X * 1.5 - 0.25).numpy(), exponent.numpy(), actual.numpy(), strict=True):
        np.testing.assert_allclose(got, np.clip(x, 0, 1) ** e, atol=1e-6)


def test_blur_is_scipys_gaussian():
    sigma = torch.tensor([0.8, 0.0, 2.3])
    actual = intensity.blur(X, sigma).numpy()
    for x, s, got in zip(X.double().numpy(), sigma.tolist(), actual, strict=True):
        expected = ndimage.gaussian_filter(x, s, mode="mirror", truncate=4.0) if s else x
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_blur_keeps_a_constant_image_and_nothing_chosen_changes_nothing():
    constant = torch.full((2, 9, 9), 0.37)
    torch.testing.assert_close(intensity.blur(constant, torch.tensor([1.0, 3.0])), constant, atol=1e-6, rtol=0)
    assert torch.equal(intensity.blur(X, torch.zeros(3)), X)


def test_solarize():
    x = torch.tensor([[[0.0, 0.49, 0.5, 0.8, 1.0]]]).repeat(2, 1, 1)
    actual = intensity.solarize(x, torch.tensor([True, False]))
    torch.testing.assert_close(actual[0, 0], torch.tensor([0.0, 0.49, 0.5, 0.2, 0.0]))
    assert torch.equal(actual[1], x[1])


def test_erase_blackens_the_pixels_whose_centres_the_box_holds():
    box = torch.tensor([[0.2, 0.5, 0.3, 0.26], [0, 0, 0, 0], [0.9, 0.9, 0.1, 0.1]])
    actual = intensity.erase(X + 0.01, box).numpy()
    for x, (top, left, height, width), got in zip((X + 0.01).numpy(), box.tolist(), actual, strict=True):
        expected = x.copy()
        for i in range(20):
            for j in range(20):
                y, z = (i + 0.5) / 20, (j + 0.5) / 20
                if top <= y < top + height and left <= z < left + width:
                    expected[i, j] = 0
        np.testing.assert_array_equal(got, expected)
    assert (actual[0] == 0).sum() == 6 * 5 and (actual[1] > 0).all() and math.isclose((actual[2] == 0).sum(), 4)
