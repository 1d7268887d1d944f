"""The same views on a CPU: what `params.apply` does with tensors, image by image with compiled loops for small images.

A tensor library multiplies with whole weight matrices though all but two or three numbers of a row are zero, and walks
over memory once for each operation. Here the two products are sparse and as large as the view needs, the rotation is
OpenCV's, and an image stays in the core's cache from its bytes to its finished view: seven to eight times as fast at
224 px, two to three times at 64 px (docs/speed.md). Both ways take the same parameters; tests/views/test_cpu.py bounds
how far apart their results may lie.
"""

import functools
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import _sparsetools

from kontrast.views import geometry

if TYPE_CHECKING:
    from torch import Tensor

    from kontrast.views.params import ViewParams

Floats = NDArray[np.float32]

CHUNK_CELLS = 2**20
"""Pixels of views that a thread makes before it takes the next ones: enough that what each share costs weighs little,
and few enough that the shares' weights lie in the cache."""


class Bands(NamedTuple):
    """One axis of n crops: sparse rows, `rows` of them a sample, over those pixels of its image's axis that it needs.

    Attributes:
        weights: of all rows one after another.
        pixels: the source pixel of each, int32, counted from the sample's `low`.
        ends: (n · rows + 1,) where each row's weights end, the first 0.
        rows: output pixels a sample: those of the view and of the widest margin.
        low: (n) each sample's first source pixel.
        high: (n) and the one after its last.
    """

    weights: Floats
    pixels: NDArray[np.int32]
    ends: NDArray[np.int32]
    rows: int
    low: list[int]
    high: list[int]

    def times(self, i: int, x: Floats, out: Floats) -> None:
        """The middle rows of sample i, as many as `out` has, times x (high − low, m), into out (rows, m).

        scipy's kernel itself: its matrices are checked when they are made and give every product memory of its own,
        which takes longer than the product.
        """
        first = i * self.rows + (self.rows - len(out)) // 2
        ends = self.ends[first : first + len(out) + 1]
        out.fill(0)  # the kernel adds
        _sparsetools.csr_matvecs(len(out), len(x), x.shape[1], ends, self.pixels, self.weights, x.ravel(), out.ravel())


def bands(
    start: NDArray[np.float64],
    length: NDArray[np.float64],
    flip: NDArray[np.bool_],
    source: int,
    size: int,
    pads: NDArray[np.int64],
    scale: float,
) -> Bands:
    """`geometry._weights` without its zeros: (n,) crops along one axis, rows that sum to `scale`.

    Args:
        start: of the crops, as fractions of the axis.
        length: likewise.
        flip: which are mirrored along this axis.
        source: pixels of the images' axis.
        size: pixels of the views'.
        pads: (n,) pixels to add on each side; where they lie outside the image their rows are empty.
        scale: what the weights are multiplied by.
    """
    pad, n = int(pads.max(initial=0)), len(start)
    at = (np.arange(size + 2 * pad) - pad + 0.5) / size
    at = np.where(flip[:, None], 1 - at, at)  # (n, rows), as a fraction of the crop
    centre = (start[:, None] + at * length[:, None]) * source
    reach = np.maximum(length * source / size, 1)  # (n,) half the triangle's base, in source pixels
    around = reach + (0.5 + pads / size * length * source)  # of a crop's ends, what a row's weights can lie on
    low = np.floor(start * source - around).clip(0, source - 1).astype(np.int32)
    high = np.ceil((start + length) * source + around).clip(1, source).astype(np.int32)
    lowest = np.floor(centre - 0.5 - reach[:, None]) + 1
    nearest = ((centre - 0.5 - lowest) / reach[:, None]).astype(np.float32)  # distances, as parts of the reach
    step = (1 / reach[:, None]).astype(np.float32)
    taps = math.ceil(2 * reach.max(initial=1))
    weights, pixels = np.empty((n, size + 2 * pad, taps), np.float32), np.empty((n, size + 2 * pad, taps), np.int32)
    total = np.zeros(centre.shape, np.float32)
    for tap in range(taps):
        pixel = lowest.astype(np.int32) + np.int32(tap)
        weight = np.maximum(1 - np.abs(nearest - tap * step), 0)
        weight *= (pixel >= 0) & (pixel < source)
        total += weight
        weights[:, :, tap] = weight
        pixels[:, :, tap] = pixel.clip(low[:, None], high[:, None] - 1) - low[:, None]
    weights *= (np.float32(scale) * ((centre >= 0) & (centre <= source)) / np.maximum(total, 1e-6))[:, :, None]
    if taps == 2:  # nothing shrinks: no zeros to speak of
        ends = np.arange(0, weights.size + 1, 2, dtype=np.int32)
        return Bands(weights.ravel(), pixels.ravel(), ends, size + 2 * pad, low.tolist(), high.tolist())
    kept = weights > 0
    ends = np.concatenate([[0], np.cumsum(kept.sum(2).ravel())]).astype(np.int32)
    return Bands(weights[kept], pixels[kept], ends, size + 2 * pad, low.tolist(), high.tolist())


def apply(images: NDArray[Any], params: "ViewParams", size: int, threads: int) -> Floats:
    """The views that `params` describe: (n, H, W), uint8 or float32 in [0, 1] → (n, size, size) float32 in [0, 1].

    Args:
        images: the samples of `params`.
        params: drawn.
        size: side of the views in pixels.
        threads: that share the work; the result does not depend on it.
    """
    n = len(images)
    views = np.empty((n, size, size), np.float32)
    per = max(1, min(CHUNK_CELLS // size**2, math.ceil(n / threads)))

    def work(first: int) -> None:
        fill(views[first : first + per], images[first : first + per], params.slice(first, first + per))

    starts = range(0, n, per)
    if threads == 1 or len(starts) == 1:
        for first in starts:
            work(first)
    else:
        list(_pool(threads).map(work, starts))
    return views


def fill(views: Floats, images: NDArray[Any], params: "ViewParams") -> None:
    """Make a thread's share: views (k, size, size) of images (k, H, W).

    Between operations a view lies in one of two pieces of memory in turns; the last one writes it where it belongs.
    """
    (k, height, width), size = images.shape, views.shape[1]
    angles = np.zeros(k) if params.angle is None else params.angle.numpy()
    pads = np.array([geometry.margin(size, abs(angle)) for angle in angles])  # no more than this view's own turn needs
    sides = size + 2 * pads
    box, flip = params.box.numpy(), params.flip.numpy()
    scale = 1 / 255 if images.dtype == np.uint8 else 1.0
    across = bands(box[:, 1], box[:, 3], flip, width, size, pads, scale)
    down = bands(box[:, 0], box[:, 2], np.zeros_like(flip), height, size, pads, 1.0)
    maps = turns(np.deg2rad(angles), size, sides)
    sigmas, changes = _each(params.sigma, k, 0.0), greys(params)
    memory = _memory(max(height, *sides) * max(width, *sides))
    for i, view in enumerate(views):
        blurred, turned = sigmas[i] > 0, angles[i] != 0
        x = part(memory[1], sides[i], sides[i]) if turned or blurred else view
        resize(images[i], i, across, down, memory, x)
        if turned:
            x = rotate(x, maps[i], part(memory[0], size, size) if blurred else view)
        if blurred:
            blur(x, sigmas[i] * size, view)
        finish(view, *changes[i])


_kept = threading.local()


def _memory(cells: int) -> tuple[Floats, Floats]:
    """Two flat arrays that this thread used before: new pages cost as much as work."""
    if getattr(_kept, "cells", 0) < cells:
        _kept.cells, _kept.pair = cells, (np.empty(cells, np.float32), np.empty(cells, np.float32))
    return _kept.pair  # type: ignore[no-any-return]


def part(memory: Floats, height: int, width: int) -> Floats:
    """A matrix in the first cells of flat memory."""
    return memory[: height * width].reshape(height, width)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "kontrast-views")


def resize(image: NDArray[Any], i: int, across: Bands, down: Bands, memory: tuple[Floats, Floats], out: Floats) -> None:
    """`geometry.crop_resize`: sample i's rows · image · columnsᵀ, (H, W) → (m, m), which may lie in memory[1].

    A sparse product runs along the memory, so the columns' is made with the image transposed, which is cheap in uint8.
    """
    crop = cv2.transpose(image[down.low[i] : down.high[i], across.low[i] : across.high[i]])
    (w, h), m = crop.shape, len(out)
    source, wide, tall = part(memory[0], w, h), part(memory[1], m, h), part(memory[0], h, m)
    np.copyto(source, crop)
    across.times(i, source, wide)
    cv2.transpose(wide, tall)
    down.times(i, tall, out)


def turns(radians: NDArray[np.float64], size: int, sides: NDArray[np.int64]) -> NDArray[np.float64]:
    """For angles (n,) affine maps (2, 3) from a pixel (x, y, 1) of a view to (x, y) of its canvas, of sides (n,)."""
    cos, sin, half, middle = np.cos(radians), np.sin(radians), (size - 1) / 2, (sides - 1) / 2
    x = np.stack([cos, -sin, middle - half * (cos - sin)], axis=1)
    y = np.stack([sin, cos, middle - half * (sin + cos)], axis=1)
    return np.stack([x, y], axis=1)


def rotate(canvas: Floats, matrix: NDArray[np.float64], view: Floats) -> Floats:
    """Fill a view with what its map finds in the canvas, bilinear, 0 outside."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(canvas, matrix, view.shape[::-1], view, flags, cv2.BORDER_CONSTANT, 0)
    return view


def blur(x: Floats, sigma: float, view: Floats) -> None:
    """`intensity.blur`: (h, w) by `sigma` pixels, into a view."""
    radius = min(int(4 * sigma + 0.5), min(x.shape) - 1)
    kernel = cv2.getGaussianKernel(2 * radius + 1, sigma)
    cv2.sepFilter2D(x, -1, kernel, kernel, view, borderType=cv2.BORDER_REFLECT_101)


def _each(drawn: "Tensor | None", k: int, none: Any) -> list[Any]:
    """A parameter's values as numbers; where the operation is off, what changes nothing."""
    return [none] * k if drawn is None else drawn.tolist()


def greys(params: "ViewParams") -> list[tuple[Any, ...]]:
    """For each sample what `finish` takes beside the view."""
    k = len(params)
    boxes = [None] * k if params.erase is None else params.erase.float().numpy()
    factors = (_each(drawn, k, 1.0) for drawn in (params.brightness, params.contrast, params.gamma))
    return list(zip(*factors, _each(params.solarize, k, False), boxes, strict=True))


def finish(x: Floats, brightness: float, contrast: float, gamma: float, solarize: bool, box: Floats | None) -> None:
    """What `intensity` does to grey values: a view (h, w), changed in place.

    Args:
        x: the view.
        brightness: factor b of c·b·x + (1 − c)·mean(b·x).
        contrast: factor c.
        gamma: exponent.
        solarize: whether to.
        box: top, left, height, width to erase as fractions, None = nothing.
    """
    if brightness != 1 or contrast != 1:
        shift = 0.0 if contrast == 1 else (1 - contrast) * brightness * cv2.mean(x)[0]
        cv2.addWeighted(x, brightness * contrast, x, 0, shift, x)
    if gamma != 1:
        clamp(x)
        cv2.pow(x, gamma, x)
    if solarize:
        np.minimum(x, 1 - x, out=x)  # from 0.5 on the inverse is the lesser of the two, below the greater
    if box is not None:
        erase(x, box)
    clamp(x)


def clamp(x: Floats) -> None:
    """To [0, 1], in place."""
    cv2.threshold(x, 1, 1, cv2.THRESH_TRUNC, x)
    cv2.threshold(x, 0, 0, cv2.THRESH_TOZERO, x)


def erase(x: Floats, box: Floats) -> None:
    """`intensity.erase`: (h, w) and top, left, height, width as fractions."""
    inside = []
    for side, start, length in ((x.shape[0], box[0], box[2]), (x.shape[1], box[1], box[3])):
        centre = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
        at = np.flatnonzero((centre >= start) & (centre < start + length))
        inside.append(slice(at[0], at[-1] + 1) if len(at) else slice(0))
    x[tuple(inside)] = 0
