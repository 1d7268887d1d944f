"""Fitting into a square: area averages against naive sums, and the geometry as properties."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontrast.data import resize
from kontrast.data.resize import fit, fit_mask, placement, shrink

RNG = np.random.default_rng(0)
sides = st.integers(1, 90)


def test_shrinking_by_a_whole_factor_is_the_mean_of_each_block():
    for dtype, top in ((np.uint8, 256), (np.uint16, 65536)):
        pixels = RNG.integers(0, top, (48, 32)).astype(dtype)
        means = pixels.reshape(12, 4, 8, 4).mean(axis=(1, 3))
        found = fit(pixels, 12)
        assert found.dtype == dtype and found.shape == (12, 12)
        assert np.abs(found[:, 2:10] - means).max() <= 0.51
        assert not found[:, :2].any() and not found[:, 10:].any()


def test_fine_stripes_become_grey_instead_of_a_pattern():
    stripes = np.tile(np.array([0, 200], np.uint8), (300, 150))
    assert np.ptp(fit(stripes, 100)[:, 1:-1].astype(int)) <= 70  # nearest or bilinear sampling keeps all of 200


def test_enlarging_stays_within_the_range():
    pixels = np.where(np.eye(9) > 0, 255, 40).astype(np.uint8)
    found = fit(pixels, 64)
    assert found.min() >= 40 and found.max() <= 255


def test_the_same_size_is_untouched():
    pixels = RNG.integers(0, 256, (40, 40), dtype=np.uint8)
    assert np.array_equal(fit(pixels, 40), pixels)


@given(sides, sides, st.integers(1, 64))
def test_aspect_is_kept_and_padding_is_centred(height, width, size):
    new_height, new_width, top, left = placement(height, width, size)
    assert max(new_height, new_width) == size and min(new_height, new_width) >= 1
    scale = size / max(height, width)
    assert abs(new_height - max(1, height * scale)) <= 0.5 and abs(new_width - max(1, width * scale)) <= 0.5
    assert 0 <= size - new_height - 2 * top <= 1 and 0 <= size - new_width - 2 * left <= 1
    found = fit(np.full((height, width), 200, np.uint8), size)
    assert found.sum() == 200 * new_height * new_width


def test_a_mask_lies_where_its_image_lies():
    image = np.zeros((90, 60), np.uint8)
    image[30:60, 20:50] = 255
    assert np.array_equal(fit_mask(image, 45), fit(image, 45) >= 128)
    quarter = np.zeros((8, 8), bool)
    quarter[:3, :4] = True  # halves of the second row of blocks are covered: in; a quarter is not
    quarter[5, 7] = True
    blocks = quarter.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert np.array_equal(fit_mask(quarter, 4), blocks >= 0.5) and (blocks == 0.25).any() and (blocks == 0.5).any()
    squashed = np.zeros((60, 60), bool)  # the same mask, drawn on a square copy
    squashed[20:40, 20:50] = True
    assert np.array_equal(fit_mask(squashed, 45, (90, 60)), fit_mask(image, 45))


@given(
    sides, sides, st.floats(0.05, 1), st.floats(0.05, 1), st.sampled_from([np.uint8, np.uint16]), st.integers(1, 500)
)
def test_large_images_are_shrunk_as_opencv_shrinks_small_ones(height, width, down, across, dtype, strip):
    pixels = RNG.integers(0, np.iinfo(dtype).max + 1, (height, width)).astype(dtype)
    new = max(1, round(height * down)), max(1, round(width * across))
    expected = cv2.resize(pixels, new[::-1], interpolation=cv2.INTER_AREA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resize, "STRIP", strip)
        found = shrink(pixels, *new)
    assert found.dtype == dtype
    # OpenCV leaves out what a pixel gives by less than a thousandth of itself
    assert np.abs(found.astype(int) - expected).max() <= 1 + np.iinfo(dtype).max // 500


def test_an_image_of_full_size_differs_from_opencvs_in_rounding_alone():
    pixels = cv2.resize(RNG.integers(0, 256, (60, 50), dtype=np.uint8), (1000, 1200), interpolation=cv2.INTER_CUBIC)
    expected = cv2.resize(pixels, (187, 224), interpolation=cv2.INTER_AREA)
    off = np.abs(shrink(pixels, 224, 187).astype(int) - expected)
    assert off.max() <= 1 and (off > 0).mean() < 1e-3 and pixels.size > resize.STRIP
