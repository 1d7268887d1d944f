"""Fingerprints of images: near-copies of one picture have nearly the same, whatever their files' checksums are.

A perceptual hash (after Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"): the signs
of an image's low frequencies about their median. Saving again, another size, contrast or brightness change few of them.
More frequencies than the usual 8 × 8 are kept, since radiographs of one view are much alike: how far apart copies and
different patients lie is measured in `benchmarks/fingerprints.py`. A fingerprint decides alone, because weights carry
those of the images that they have met, not the images (`data.similar` compares pictures that are both at hand).
"""

import cv2
import numpy as np

SIDE, KEPT = 64, 16
"""Images are brought to SIDE × SIDE pixels; KEPT × KEPT frequencies of them make KEPT² bits."""

BITS = KEPT * KEPT

NEAR = 30
"""Fingerprints that differ in at most so many of their 256 bits are taken to be of one picture. Among 11.2 million
pairs of radiographs of different patients the nearest differed in 42 (`benchmarks/results/fingerprints.json`)."""

FLAT = 1.0
"""Images whose grey values (0 to 255) vary by less show nothing, and have no fingerprint."""

BLOCK = 2048
"""Fingerprints compared at once."""


def fingerprints(images: np.ndarray) -> np.ndarray:
    """(n, H, W) uint8 or uint16 images to (n, 32) uint8 fingerprints; all bits 0 where an image shows nothing."""
    scale = 255 / np.iinfo(images.dtype).max
    found = np.zeros((len(images), BITS), dtype=bool)
    for row, image in enumerate(images):
        small = cv2.resize(image.astype(np.float32) * scale, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        if small.std() < FLAT:
            continue
        low = cv2.dct(small)[:KEPT, :KEPT].ravel()
        found[row, 1:] = low[1:] > np.median(low[1:])  # the first is the mean brightness
    return np.packbits(found, axis=1)


def nearest(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How many bits each of `first` (n, 32) differs from the nearest of `second` (m, 32): (n,) int, 257 for none."""
    best = np.full(len(first), BITS + 1)
    shown = [np.flatnonzero(part.any(axis=1)) for part in (first, second)]
    one, two = (_signs(part[rows]) for part, rows in zip((first, second), shown, strict=True))
    for start in range(0, len(two), BLOCK):
        part = two[start : start + BLOCK]
        for begin in range(0, len(one), BLOCK):
            rows = shown[0][begin : begin + BLOCK]
            apart = (BITS - (one[begin : begin + BLOCK] @ part.T).max(axis=1)) / 2
            best[rows] = np.minimum(best[rows], np.rint(apart).astype(int))
    return best


def _signs(prints: np.ndarray) -> np.ndarray:
    return np.unpackbits(prints, axis=1).astype(np.float32) * 2 - 1
