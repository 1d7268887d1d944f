"""Grey values: order is always kept, ranges are what the docstrings say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontrast.data.decode import Image
from kontrast.data.intensity import denoise, equalize, percentile, to_uint8, to_uint16
from kontrast.errors import UsageError

RNG = np.random.default_rng(0)


def test_8_bits_stay_as_they_are():
    pixels = RNG.integers(0, 256, (9, 9), dtype=np.uint8)
    assert np.array_equal(to_uint8(Image(pixels, 8)), pixels)
    assert np.array_equal(to_uint16(Image(pixels, 8)), pixels.astype(np.uint16) * 257)


def test_a_12_bit_detector_image_is_not_black():
    pixels = np.clip(RNG.normal(2000, 400, (200, 200)), 0, 4095).astype(np.uint16)
    found = to_uint8(Image(pixels, 12, display=False))
    low, high = np.percentile(pixels, [0.1, 99.9])
    expected = np.clip((pixels - low) / (high - low), 0, 1) * 255
    assert np.abs(found - expected).max() <= 0.51
    assert found.min() == 0 and found.max() == 255 and 110 < found.mean() < 145


def test_a_display_range_is_scaled_by_its_bits():
    pixels = np.array([[0, 1000, 2047, 4095]], np.uint16)
    assert to_uint8(Image(pixels, 12, display=True)).tolist() == [[0, 62, 127, 255]]


def test_one_value_everywhere_is_black_not_a_fault():
    assert not to_uint8(Image(np.full((5, 5), 900, np.uint16), 10, display=False)).any()


@given(st.lists(st.integers(0, 65535), min_size=2, max_size=50), st.booleans())
def test_brighter_stays_brighter(values, display):
    image = Image(np.array([values], np.uint16), 16, display=display)
    for convert in (to_uint8, to_uint16):
        found = convert(image)[0].astype(int)
        assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()


def test_median_removes_a_speck_and_none_does_nothing():
    pixels = np.full((9, 9), 100, np.uint8)
    pixels[4, 4] = 255
    assert (denoise(pixels, "median") == 100).all()
    assert np.array_equal(denoise(pixels, "none"), pixels)
    noisy = np.clip(RNG.normal(100, 8, (64, 64)), 0, 255).astype(np.uint8)
    assert denoise(noisy, "nlm").std() < 0.6 * noisy.std()


def test_equalisation_is_the_cumulative_histogram_and_padding_weighs_nothing():
    pixels = RNG.integers(60, 90, (40, 40), dtype=np.uint8)
    padded = np.zeros((40, 80), np.uint8)
    padded[:, 20:60] = pixels
    found = equalize(padded, "hist")[:, 20:60]
    rank = np.array([(pixels <= value).mean() for value in range(256)])[pixels]
    assert np.abs(found - 255 * rank).max() <= 1
    assert not equalize(padded, "hist")[:, :20].any()


def test_clahe_spreads_and_keeps_padding_black():
    pixels = np.zeros((64, 64), np.uint8)
    pixels[8:56] = RNG.integers(100, 120, (48, 64))
    found = equalize(pixels, "clahe")
    assert not found[:8].any() and not found[56:].any()
    assert found[8:56].std() > 1.5 * pixels[8:56].std()


def test_wrong_words_name_their_neighbour():
    with pytest.raises(UsageError, match="median"):
        denoise(np.zeros((3, 3), np.uint8), "medain")
    with pytest.raises(UsageError, match="clahe"):
        equalize(np.zeros((3, 3), np.uint8), "clach")


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_of_counted_values_are_numpy_s_to_the_last_bit(values, percent):
    assert percentile(np.bincount(values), percent) == np.percentile(np.array(values, np.uint16), percent)


@pytest.mark.parametrize("table", [np.arange(256)[::-1] ** 2, np.arange(65536)[::-1] // 16])
@pytest.mark.parametrize("shape", [(6, 5), (600, 500)])
@pytest.mark.parametrize("display", [True, False])
def test_greys_that_are_still_to_be_looked_up(table, shape, display):
    """Two tables at once give what one after the other gives."""
    words = RNG.integers(0, len(table), shape).astype(np.uint8 if len(table) == 256 else np.uint16)
    image = Image(words, 16, display=display, table=table.astype(np.uint16))
    assert np.array_equal(image.pixels, table[words])
    for convert in (to_uint8, to_uint16):
        assert np.array_equal(convert(image), convert(Image(table[words].astype(np.uint16), 16, display=display)))


@pytest.mark.parametrize("display", [True, False])
@pytest.mark.parametrize("convert", [to_uint8, to_uint16])
def test_large_images_are_looked_up_in_a_table_to_the_same_greys(convert, display):
    pixels = np.random.default_rng(0).integers(0, 4096, (600, 500)).astype(np.uint16)
    whole = convert(Image(pixels, 12, display=display))
    low, high = (0, 4095) if display else np.percentile(pixels, (0.1, 99.9))
    expected = np.rint((np.clip(pixels, low, high) - low) * (np.iinfo(whole.dtype).max / (high - low)))
    assert np.array_equal(whole, expected)
