"""Any image into a square of one size: aspect kept, antialiased, padding centred and black."""

import functools

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse import _sparsetools

STRIP = 2**18
"""Pixels of a large image that are averaged at a time."""


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
    if max(height, width) < max(pixels.shape):
        pixels = shrink(pixels, height, width)
    elif (height, width) != pixels.shape:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    square = np.zeros((size, size), pixels.dtype)
    square[top : top + height, left : left + width] = pixels
    return square


def shrink(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mean over the area that each new pixel covers, (H, W) → (height, width), in the type given.

    OpenCV's INTER_AREA, but faster where the sides do not divide: an average over areas is one over rows, then one
    over columns. A strip of rows at a time, which stays in the core's cache.
    """
    if pixels.shape[0] % height == 0 and pixels.shape[1] % width == 0:
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    down, across = (averages(*sides) for sides in zip(pixels.shape, (height, width), strict=True))
    tall = np.zeros((height, pixels.shape[1]), np.float32)
    step = max(1, STRIP * height // pixels.size)
    for top in range(0, height, step):
        ends = down.indptr[top : top + step + 1]
        first, end = int(down.indices[ends[0]]), int(down.indices[ends[-1] - 1]) + 1
        _add_product(down, ends, first, pixels[first:end].astype(np.float32), tall[top : top + step])
    turned = np.zeros((width, height), np.float32)
    _add_product(across, across.indptr, 0, cv2.transpose(tall), turned)
    return cv2.transpose(np.rint(turned, out=turned).astype(pixels.dtype))


def _add_product(matrix: sparse.csr_array, ends: np.ndarray, first: int, x: np.ndarray, out: np.ndarray) -> None:
    """Add to `out`, (n, m), the n rows of a sparse matrix between `ends`, (n + 1,), times x, whose rows are numbered
    from `first` on.

    scipy's kernel itself: the checks around it take as long as a small image.
    """
    start, stop = ends[0], ends[-1]
    _sparsetools.csr_matvecs(
        len(out), len(x), x.shape[1], ends - start, matrix.indices[start:stop] - first, matrix.data[start:stop],
        x.ravel(), out.ravel(),
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def averages(source: int, target: int) -> sparse.csr_array:
    """The matrix (target, source) whose rows average over the part of an axis that each of `target` pixels covers."""
    ends = np.arange(target + 1) * (source / target)
    first = np.minimum(ends[:-1].astype(np.int32), source - 1)
    pixel = first[:, None] + np.arange(int(np.ceil(source / target)) + 1, dtype=np.int32)  # (target, taps)
    share = np.minimum(pixel + 1, ends[1:, None]) - np.maximum(pixel, ends[:-1, None])
    kept = (share > 1e-9) & (pixel < source)
    share /= np.where(kept, share, 0).sum(axis=1, keepdims=True)
    lengths = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return sparse.csr_array((share[kept].astype(np.float32), pixel[kept], lengths), shape=(target, source))


def fit_mask(
    mask: np.ndarray,
    size: int,
    image_shape: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """A mask placed as `fit` places its image: a pixel is in when at least half of its area is.

    Args:
        mask: (h, w); anything above 0 is inside.
        size: side of the square, in pixels.
        image_shape: (H, W) of the image, where the mask was drawn on a copy of another shape (a squashed one):
            it is stretched to the image before.
        box: first row, end row, first column, end column of the image's part that is shown; None: all of it.

    Returns:
        (size, size), bool.
    """
    full: np.ndarray = (mask > 0).astype(np.uint8) * 255
    if image_shape is not None and image_shape != mask.shape:
        full = cv2.resize(full, image_shape[::-1], interpolation=cv2.INTER_NEAREST)
    if box is not None:
        full = np.ascontiguousarray(full[box[0] : box[1], box[2] : box[3]])
    return fit(full, size) >= 128
