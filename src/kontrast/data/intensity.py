"""Grey values: to 8 bit, and the cleaning that is off unless asked for.

Denoising and equalisation are off by default because no gain is known for them on chest radiographs, while they can
take findings with them: non-local means erases fine texture (interstitial lines, small nodules) and is by
far the slowest step; equalisation makes noise in the lungs louder, removes the exposure that tells AP from PA, and
CLAHE brought a ResNet-50 nothing in a controlled benchmark.
"""

import cv2
import numpy as np

from kontrast.config import choose
from kontrast.data.decode import Image, by_table, histogram

DENOISE = ("none", "median", "nlm")
EQUALIZE = ("none", "hist", "clahe")
TAILS = (0.1, 99.9)
"""Percentiles that become black and white where a file does not say what is. A radiograph's markers and collimator
edges take up about that share; wider tails would clip dense bone and the outside air, which matter less than
contrast in the lung but carry the devices."""


def _range(image: Image) -> tuple[float, float]:
    if image.display:
        return 0.0, float((1 << image.bits) - 1)
    counts = histogram(image.pixels)
    low, high = (percentile(counts, tail) for tail in TAILS)
    if high <= low:
        low, high = percentile(counts, 0), percentile(counts, 100)
    return low, high


def percentile(counts: np.ndarray, percent: float) -> float:
    """`np.percentile` of values that have been counted (linear between neighbours), to the last bit.

    Args:
        counts: how often each value 0, 1, 2 … occurs; not all 0.
        percent: 0 to 100.
    """
    ends = np.cumsum(counts)
    place = (int(ends[-1]) - 1) * (percent / 100)
    rank = int(place)
    below, above = (int(value) for value in np.searchsorted(ends, [rank, min(rank + 1, int(ends[-1]) - 1)], "right"))
    share = place - rank
    return above - (above - below) * (1 - share) if share >= 0.5 else below + (above - below) * share


def _stretch(image: Image, dtype: type[np.uint8] | type[np.uint16]) -> np.ndarray:
    low, high = _range(image)
    if high <= low:  # one value everywhere
        return np.zeros(image.words.shape, dtype)

    def scaled(values: np.ndarray) -> np.ndarray:
        places = (np.clip(values, low, high) - low) * (np.iinfo(dtype).max / (high - low))
        return np.rint(places).astype(dtype)

    # Each grey once, then looked up: a twentieth of the time for a large image.
    table = np.arange(np.iinfo(image.words.dtype).max + 1) if image.table is None else image.table
    return by_table(image.words, scaled(table)) if image.words.size > len(table) else scaled(image.pixels)


def to_uint8(image: Image) -> np.ndarray:
    """The image in 8 bits, (H, W) uint8, brighter staying brighter.

    8-bit files stay as they are. Where the range is a display range (a DICOM window), it is scaled by its significant
    bits: 2**bits - 1 becomes 255. Other 16-bit numbers (raw detectors, 16-bit PNG) have no agreed white, and dividing
    them by 65535 makes a 12-bit image black: their percentiles 0.1 and 99.9 become 0 and 255.
    """
    grey = image.words if image.table is None else image.table
    if grey.dtype == np.uint8 and image.bits == 8:
        return image.pixels
    return _stretch(image, np.uint8)


def to_uint16(image: Image) -> np.ndarray:
    """The same in 16 bits, (H, W) uint16: 8-bit grey g becomes 257 g."""
    return _stretch(image, np.uint16)


def denoise(pixels: np.ndarray, kind: str) -> np.ndarray:
    """Clean an 8-bit image.

    Args:
        pixels: (H, W) uint8, at its final size.
        kind: `none`; `median` over 3 × 3; `nlm`, non-local means with h = 10, 7 × 7 patches searched in 11 × 11
            (Buades et al. 2005); in the usual 21 × 21 it is 2.7 times as slow for about as little noise.

    Raises:
        UsageError: another kind.
    """
    choose(kind, DENOISE, "--denoise")
    if kind == "median":
        return cv2.medianBlur(pixels, 3)
    if kind == "nlm":
        return cv2.fastNlMeansDenoising(pixels, None, 10.0, 7, 11)
    return pixels


def equalize(pixels: np.ndarray, kind: str) -> np.ndarray:
    """Spread an 8-bit image's grey values.

    Args:
        pixels: (H, W) uint8, at its final size; padding is 0 and stays 0.
        kind: `none`; `hist`, over the whole image (the darkest value stays out of the sum, so padding weighs nothing);
            `clahe`, contrast-limited in 8 × 8 tiles, limit 2.

    Raises:
        UsageError: another kind.
    """
    choose(kind, EQUALIZE, "--equalize")
    if kind == "hist":
        return cv2.equalizeHist(pixels)
    if kind == "clahe":
        spread = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(pixels)
        spread[pixels == 0] = 0
        return spread
    return pixels
