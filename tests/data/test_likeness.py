"""Fingerprints of images and the nearest of them."""

import cv2
import numpy as np
import pytest
from scipy.fft import dctn

from kontrast.data.likeness import NEAR, fingerprints, nearest


def images(n: int, size: int = 96, seed: int = 0) -> np.ndarray:
    """Smooth pictures with some detail, (n, size, size) uint8."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        coarse, fine = (
            cv2.resize(rng.normal(size=(k, k)), (size, size), interpolation=cv2.INTER_CUBIC) for k in (6, 20)
        )
        found.append(np.clip(128 + 40 * coarse + 15 * fine, 0, 255))
    return np.stack(found).astype(np.uint8)


def test_bits_are_the_signs_of_scipys_low_frequencies() -> None:
    image = images(1, size=64)
    low = dctn(image[0].astype(float), norm="ortho")[:16, :16].ravel()[1:]
    bits = np.unpackbits(fingerprints(image)[0])[1:]
    clear = np.abs(low - np.median(low)) > 1e-2  # float32 may turn those at the median
    assert np.array_equal(bits[clear], (low > np.median(low))[clear]) and clear.sum() > 240


@pytest.mark.parametrize("change", ["saved again", "smaller", "darker", "16 bits"])
def test_copies_are_near_and_others_are_not(change: str) -> None:
    first = images(12)
    altered = {
        "saved again": lambda i: cv2.imdecode(cv2.imencode(".jpg", i, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0),
        "smaller": lambda i: cv2.resize(i, (64, 64), interpolation=cv2.INTER_AREA),
        "darker": lambda i: (i * 0.7).astype(np.uint8),
        "16 bits": lambda i: i.astype(np.uint16) * 257,
    }[change]
    copies = np.stack([altered(i) for i in first])
    assert nearest(fingerprints(copies), fingerprints(first)).max() <= NEAR
    assert nearest(fingerprints(copies[:6]), fingerprints(first[6:])).min() > NEAR


def test_nearest_is_the_naive_loop_in_any_blocks(monkeypatch) -> None:
    monkeypatch.setattr("kontrast.data.likeness.BLOCK", 3)
    one, two = fingerprints(images(7)), fingerprints(images(8, seed=1))
    two[4] = one[2]
    expected = [min(int(np.unpackbits(a ^ b).sum()) for b in two) for a in one]
    assert nearest(one, two).tolist() == expected and expected[2] == 0


def test_images_that_show_nothing_are_like_none() -> None:
    blank = np.full((2, 64, 64), 7, np.uint8)
    assert not fingerprints(blank).any()
    assert (nearest(fingerprints(blank), fingerprints(blank)) == 257).all()
    assert (nearest(fingerprints(images(2)), np.empty((0, 32), np.uint8)) == 257).all()
    assert fingerprints(np.empty((0, 8, 8), np.uint8)).shape == (0, 32)
