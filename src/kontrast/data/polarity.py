"""Whether a chest radiograph is the right way round in its greys, by its content: bone bright, air dark.

Headers are believed when images are decoded; this looks at what came out, since headers are wrong at times and other
formats say nothing.
"""

import cv2
import numpy as np

INVERTED_BELOW = -0.2
"""A correlation below it counts as inverted: 1 of 976 radiographs of four hospitals lie there as they are
(tests/data/test_polarity.py), and none of 400 hands and abdominal CT slices."""

# fmt: off
_CHEST = np.array([
    [-17, -17, -16, -15, -14, -13, -10, -8, -9, -9, -12, -14, -15, -16, -16, -17],
    [-15, -12, -10, -8, -9, -10, -9, -5, -6, -9, -10, -9, -9, -10, -12, -15],
    [-10, -5, -3, -4, -8, -11, -9, -1, -2, -8, -10, -8, -3, -3, -5, -10],
    [-5, 0, 1, -3, -8, -8, -5, 4, 3, -4, -8, -6, -1, 2, 0, -4],
    [-5, 1, 3, -2, -7, -8, -3, 6, 6, 0, -7, -6, -1, 3, 2, -5],
    [-9, -1, 2, -4, -7, -8, -2, 8, 8, 4, -6, -6, -4, 2, 0, -8],
    [-12, -3, 1, -5, -7, -5, 1, 10, 11, 6, -2, -6, -5, 1, -2, -11],
    [-13, -4, -1, -6, -6, -3, 5, 13, 14, 10, 2, -4, -5, -1, -4, -13],
    [-14, -6, -2, -6, -5, -1, 8, 14, 15, 13, 8, -1, -5, -2, -6, -14],
    [-15, -6, -2, -4, -3, 0, 9, 15, 16, 14, 11, 3, -3, -2, -6, -14],
    [-15, -6, -1, 0, 2, 4, 11, 16, 17, 15, 12, 6, -1, -2, -6, -14],
    [-15, -6, 1, 5, 9, 12, 14, 17, 18, 16, 14, 8, 3, 0, -6, -14],
    [-15, -5, 5, 11, 14, 16, 17, 18, 18, 17, 16, 13, 9, 4, -5, -13],
    [-14, -4, 7, 12, 15, 17, 17, 19, 19, 17, 16, 15, 12, 7, -3, -13],
    [-14, -3, 7, 12, 16, 17, 18, 19, 19, 18, 17, 16, 13, 7, -3, -12],
    [-14, -5, 3, 7, 10, 11, 12, 13, 13, 12, 11, 10, 8, 3, -5, -13],
], dtype=np.float64)
# fmt: on
"""The mean of 121 generated frontal radiographs (`kontrast phantom --patients 60 --size 128 --seed 1`), each with
mean 0 and deviation 1, at 16 × 16, times ten."""


def likeness(images: np.ndarray) -> np.ndarray:
    """Correlation of images with the mean chest: above 0 with bone bright, the same below 0 with bone dark.

    Args:
        images: (n, h, w) uint8 or uint16, frontal.

    Returns:
        (n,) in [-1, 1]; 0 for an image of one grey.
    """
    chest = (_CHEST - _CHEST.mean()) / _CHEST.std()
    out = np.zeros(len(images))
    for i, image in enumerate(images):
        small = cv2.resize(image, chest.shape, interpolation=cv2.INTER_AREA).astype(np.float64)
        if spread := small.std():
            out[i] = float((chest * (small - small.mean())).mean() / spread)
    return out
