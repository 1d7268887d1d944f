"""The same views on a CPU: what `params.apply` does with tensors, image by image with compiled loops for small images.

A tensor library multiplies with whole weight matrices though all but two or three numbers of a row are zero, and walks
over memory once for each operation. Here the two products are sparse, the rotation is OpenCV's, and an image stays in
the core's cache from its bytes to its finished view: two to four times as fast at 224 px (docs/speed.md). Both
ways take the same parameters; tests/views/test_cpu.py bounds how far apart their results may lie.
"""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import _sparsetools

if TYPE_CHECKING:
    from kontrast.views.params import ViewParams

Floats = NDArray[np.float32]

CHUNK_CELLS = 2**18
"""Pixels of views that are made together: fewer calls for small images, and still within the cache."""


class Bands(NamedTuple):
    """One axis of n crops: sparse rows, `rows` of them a sample, over the `source` pixels of each image's axis.

    Attributes:
        weights: of all rows one after another.
        pixels: the source pixel of each, int32.
        ends: (n · rows + 1,) where each row's weights end, the first 0.
        rows: output pixels a sample.
        source: pixels of an image's axis.
    """

    weights: Floats
    pixels: NDArray[np.int32]
    ends: NDArray[np.int32]
    rows: int
    source: int

    def times(self, first: int, last: int, x: Floats, out: Floats) -> None:
        """The sparse rows of samples first … last − 1 times their images, x (k · source, m), into (k · rows, m).

        scipy's kernel itself: its matrices are checked when they are made and give every product memory of its own,
        which takes longer than the product.
        """
        k, ends = last - first, self.ends[first * self.rows : last * self.rows + 1]
        start, stop = int(ends[0]), int(ends[-1])
        pixels = self.pixels[start:stop]
        if k > 1:
            pixels = pixels + np.repeat(np.arange(k, dtype=np.int32) * self.source, np.diff(ends[:: self.rows]))
        out.fill(0)  # the kernel adds
        _sparsetools.csr_matvecs(
            len(out), len(x), x.shape[1], ends - start, pixels, self.weights[start:stop], x.ravel(), out.ravel()
        )


def bands(
    start: NDArray[np.float64],
    length: NDArray[np.float64],
    flip: NDArray[np.bool_],
    source: int,
    size: int,
    pad: int,
    scale: float,
) -> Bands:
    """`geometry._weights` without its zeros: (n,) crops along one axis, rows that sum to `scale`.

    Args:
        start: of the crops, as fractions of the axis.
        length: likewise.
        flip: which are mirrored along this axis.
        source: pixels of the images' axis.
        size: pixels of the views'.
        pad: pixels to add on each side; where they lie outside the image their rows are empty.
        scale: what the weights are multiplied by.
    """
    at = (np.arange(size + 2 * pad) - pad + 0.5) / size
    at = np.where(flip[:, None], 1 - at, at)  # (n, rows), as a fraction of the crop
    centre = (start[:, None] + at * length[:, None]) * source
    reach = np.maximum(length * source / size, 1)[:, None]  # half the triangle's base, in source pixels
    taps = int(np.ceil(2 * reach.max(initial=1)))
    first = (np.floor(centre - 0.5 - reach) + 1).astype(np.int32)
    pixel: Any = first[:, :, None] + np.arange(taps, dtype=np.int32)  # (n, rows, taps)
    weight = 1 - np.abs(centre[:, :, None] - (pixel + 0.5)) / reach[:, :, None]
    inside = (centre >= 0) & (centre <= source)
    kept = (weight > 0) & (pixel >= 0) & (pixel < source) & inside[:, :, None]
    weight *= kept
    weight *= (scale / np.maximum(weight.sum(2), 1e-6))[:, :, None]
    ends = np.concatenate([[0], np.cumsum(kept.sum(2).ravel())]).astype(np.int32)
    return Bands(weight[kept].astype(np.float32), pixel[kept], ends, size + 2 * pad, source)


def apply(images: NDArray[Any], params: "ViewParams", size: int, pad: int, threads: int) -> Floats:
    """The views that `params` describe: (n, H, W), uint8 or float32 in [0, 1] → (n, size, size) float32 in [0, 1].

    Args:
        images: the samples of `params`.
        params: drawn.
        size: side of the views in pixels.
        pad: `geometry.margin` of the size and the largest angle.
        threads: that share the work; the result does not depend on it.
    """
    n, height, width = images.shape
    box, flip = params.box.numpy(), params.flip.numpy()
    scale = 1 / 255 if images.dtype == np.uint8 else 1.0
    down = bands(box[:, 0], box[:, 2], np.zeros_like(flip), height, size, pad, scale)
    across = bands(box[:, 1], box[:, 3], flip, width, size, pad, 1.0)
    matrices = None if params.angle is None else turns(np.deg2rad(params.angle.numpy()), size, size + 2 * pad)
    views = np.empty((n, size, size), np.float32)
    per = max(1, CHUNK_CELLS // (size + 2 * pad) ** 2)

    def work(first: int) -> None:
        last = min(first + per, n)
        k, m = last - first, size + 2 * pad
        source, tall, turned, canvas = _memory(k * height, width, k * m, width, k * width, m, k * m, m)
        source.reshape(k, height, width)[:] = images[first:last]
        down.times(first, last, source, tall)
        for one, other in zip(tall.reshape(k, m, width), turned.reshape(k, width, m), strict=True):
            cv2.transpose(one, other)
        across.times(first, last, turned, canvas)
        # (k, columns, rows): both products run along the memory, so canvases come out transposed
        for i, one in enumerate(canvas.reshape(k, m, m), first):
            if matrices is None:
                cv2.transpose(one, views[i])
            else:
                rotate(one, matrices[i], views[i])
        finish(views[first:last], params.slice(first, last))

    starts = range(0, n, per)
    if threads == 1 or len(starts) == 1:
        for first in starts:
            work(first)
    else:
        list(_pool(threads).map(work, starts))
    return views


_kept = threading.local()


def _memory(*sides: int) -> list[Floats]:
    """Matrices of the sides given in pairs, in memory that this thread used before: new pages cost as much as work."""
    cells = [h * w for h, w in zip(sides[::2], sides[1::2], strict=True)]
    if len(getattr(_kept, "floats", ())) < sum(cells):
        _kept.floats = np.empty(sum(cells), np.float32)
    parts = np.split(_kept.floats[: sum(cells)], np.cumsum(cells)[:-1])
    return [part.reshape(h, w) for part, h, w in zip(parts, sides[::2], sides[1::2], strict=True)]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "kontrast-views")


def turns(radians: NDArray[np.float64], size: int, m: int) -> NDArray[np.float64]:
    """For each angle (n,) the affine map (2, 3) from a pixel (x, y, 1) of a view to (y, x) of its canvas of side m."""
    cos, sin, half, middle = np.cos(radians), np.sin(radians), (size - 1) / 2, (m - 1) / 2
    x = np.stack([cos, -sin, middle - half * (cos - sin)], axis=1)
    y = np.stack([sin, cos, middle - half * (sin + cos)], axis=1)
    return np.stack([y, x], axis=1)  # this order, since the canvas is transposed


def rotate(canvas: Floats, matrix: NDArray[np.float64], view: Floats) -> None:
    """Fill a view with what its map finds in the canvas, bilinear, 0 outside."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(canvas, matrix, view.shape[::-1], view, flags, cv2.BORDER_CONSTANT, 0)


def finish(x: Floats, params: "ViewParams") -> None:
    """What is done to grey values: views (k, h, w), changed in place, and their parameters."""
    if params.sigma is not None:
        blur(x, params.sigma.double().numpy() * x.shape[-1])
    if params.brightness is not None or params.contrast is not None:
        ones = np.ones(len(x))
        b, c = (ones if v is None else v.double().numpy() for v in (params.brightness, params.contrast))
        brightness_contrast(x, b, c)
    if params.gamma is not None:
        gamma(x, params.gamma.double().numpy())
    if params.solarize is not None:
        for i in np.flatnonzero(params.solarize.numpy()):
            np.minimum(x[i], 1 - x[i], out=x[i])  # from 0.5 on the inverse is the lesser of the two, below the greater
    if params.erase is not None:
        erase(x, params.erase.float().numpy())
    flat = x.reshape(len(x) * x.shape[1], x.shape[2])
    cv2.threshold(flat, 1, 1, cv2.THRESH_TRUNC, flat)
    cv2.threshold(flat, 0, 0, cv2.THRESH_TOZERO, flat)


def blur(x: Floats, sigma: NDArray[np.float64]) -> None:
    """`intensity.blur`: (k, h, w) by (k,) pixels."""
    for i in np.flatnonzero(sigma > 0):
        radius = min(int(4 * sigma[i] + 0.5), min(x.shape[1:]) - 1)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma[i]) ** 2)
        kernel /= kernel.sum()
        x[i] = cv2.sepFilter2D(x[i], -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)


def brightness_contrast(x: Floats, b: NDArray[np.float64], c: NDArray[np.float64]) -> None:
    """`intensity.brightness_contrast`, (k, h, w) and (k,) twice: c·b·x + (1 − c)·mean(b·x)."""
    shift = (1 - c) * b * np.array([cv2.mean(one)[0] for one in x])
    x *= (b * c).astype(np.float32)[:, None, None]
    x += shift.astype(np.float32)[:, None, None]


def gamma(x: Floats, exponent: NDArray[np.float64]) -> None:
    """`intensity.gamma`: (k, h, w) and (k,)."""
    np.clip(x, 0, 1, out=x)
    for i in np.flatnonzero(exponent != 1):
        cv2.pow(x[i], exponent[i], x[i])


def erase(x: Floats, boxes: Floats) -> None:
    """`intensity.erase`: (k, h, w) and (k, 4) top, left, height, width as fractions."""
    for one, box in zip(x, boxes, strict=True):
        inside = []
        for side, start, length in ((x.shape[1], box[0], box[2]), (x.shape[2], box[1], box[3])):
            centre = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
            at = np.flatnonzero((centre >= start) & (centre < start + length))
            inside.append(slice(at[0], at[-1] + 1) if len(at) else slice(0))
        one[tuple(inside)] = 0
