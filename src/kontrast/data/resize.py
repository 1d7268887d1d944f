"""Any image into a square of one size: aspect kept, antialiased, padding centred and black."""

import cv2
import numpy as np


def placement(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Where an image comes to lie in its square: (height, width, top, left) in pixels of the square."""
    scale = size / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    return new_height, new_width, (size - new_height) // 2, (size - new_width) // 2


def fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize so that the longer side is `size` pixels, and pad to a square with 0.

    Shrinking averages over the area that each new pixel covers, which is the antialiasing that radiographs need: their
    noise and grids would otherwise fold into patterns. Enlarging is bilinear, which cannot overshoot.

    Args:
        pixels: (H, W), uint8 or uint16.
        size: side of the square, in pixels.

    Returns:
        (size, size), of the same type.
    """
    height, width, top, left = placement(pixels.shape[0], pixels.shape[1], size)
    if (height, width) != pixels.shape:
        shrinks = max(height, width) < max(pixels.shape)
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    square = np.zeros((size, size), pixels.dtype)
    square[top : top + height, left : left + width] = pixels
    return square


def fit_mask(mask: np.ndarray, size: int, image_shape: tuple[int, int] | None = None) -> np.ndarray:
    """A mask placed as `fit` places its image: a pixel is in when at least half of its area is.

    Args:
        mask: (h, w); anything above 0 is inside.
        size: side of the square, in pixels.
        image_shape: (H, W) of the image, where the mask was drawn on a copy of another shape (a squashed one):
            it is stretched to the image before.

    Returns:
        (size, size), bool.
    """
    full: np.ndarray = (mask > 0).astype(np.uint8) * 255
    if image_shape is not None and image_shape != mask.shape:
        full = cv2.resize(full, image_shape[::-1], interpolation=cv2.INTER_NEAREST)
    return fit(full, size) >= 128
