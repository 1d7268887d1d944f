"""A square drawing board in the patient's own frame, in centimetres.

Everything is drawn upright and centred here (x to the image's right, which is the patient's left; y downward), where
most shapes are products of a row and a column profile and therefore cheap. The pose (rotation, shift, magnification)
is applied once, to the finished map.
"""

import functools
from collections.abc import Sequence

import cv2
import numpy as np

FIELD = 20.6
"""Half the side of the board in cm."""
HALF_VIEW = 18.6
"""Half the side of the view in cm, at magnification 1."""
_SHIFT = 6
Array = np.ndarray


@functools.lru_cache(maxsize=64)
def _spline(k: int, steps: int) -> Array:
    """The matrix (steps·(k-1)+1, k) that takes k points to the Catmull-Rom curve through them."""
    ends = np.eye(k)
    p = np.vstack([2 * ends[0] - ends[1], ends, 2 * ends[-1] - ends[-2]])
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (p[i : k - 1 + i][:, None, :] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.vstack([curve.reshape(-1, k), ends[-1:]])


def smooth(points: Sequence[tuple[float, float]] | Array, steps: int = 6) -> Array:
    """A Catmull-Rom curve through `points` (k, 2), ends included: (steps·(k-1)+1, 2)."""
    return _spline(len(points), steps) @ np.asarray(points, np.float64)


def ribbon(curve: Array, half_width: Array | float) -> Array:
    """The outline (…, 2n, 2) of a band around `curve` (…, n, 2) that reaches `half_width` cm, (…, n), to each side."""
    along = np.empty_like(curve)
    along[..., 1:-1, :] = curve[..., 2:, :] - curve[..., :-2, :]
    along[..., 0, :] = curve[..., 1, :] - curve[..., 0, :]
    along[..., -1, :] = curve[..., -1, :] - curve[..., -2, :]
    offset = along[..., ::-1] * [-1.0, 1.0]
    offset *= (half_width / (np.sqrt((along * along).sum(-1)) + 1e-9))[..., None]
    return np.concatenate([curve + offset, (curve - offset)[..., ::-1, :]], -2)


def _unit(board: Array) -> Array:
    return np.multiply(board, np.float32(1 / 255), dtype=np.float32)


def _bump(r: Array) -> Array:
    return np.exp(np.maximum(-0.5 * r * r, -30))


class Canvas:
    """The board: `n` pixels (even) to a side; `x` (1, n) and `y` (n, 1) are the pixel centres in cm."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.per_cm = n / (2 * FIELD)
        axis = ((np.arange(n, dtype=np.float32) + 0.5) / self.per_cm - FIELD).astype(np.float32)
        self.x, self.y = axis[None, :], axis[:, None]

    def zeros(self) -> Array:
        """An empty map, float32 (n, n), to draw into."""
        return np.zeros((self.n, self.n), np.float32)

    @functools.cached_property
    def nothing(self) -> Array:
        """An empty map that cannot be written, for layers that most images leave empty."""
        empty = self.zeros()
        empty.flags.writeable = False
        return empty

    def _fixed(self, points: Array) -> Array:
        return np.rint(((np.asarray(points) + FIELD) * self.per_cm - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def profile(self, at: Sequence[float] | Array, values: Sequence[float] | Array) -> Array:
        """A quantity that depends on the row alone, from `values` `at` given heights: (n, 1) float32."""
        return np.interp(self.y, at, values).astype(np.float32)

    def fill(self, *polygons: Array, values: Sequence[float] | None = None, blur: float = 0.0) -> Array:
        """Anti-aliased filled polygons (k, 2) in cm: float32 (n, n) in [0, 1]; later ones cover earlier ones.

        Args:
            polygons: outlines in cm.
            values: one value in [0, 1] per polygon (default 1).
            blur: standard deviation in cm of a Gaussian that softens the edge.
        """
        board: Array = np.zeros((self.n, self.n), np.uint8)
        fixed = self._fixed(np.concatenate(polygons))
        start = 0
        for polygon, value in zip(polygons, values or [1.0] * len(polygons), strict=True):
            stop = start + len(polygon)
            cv2.fillPoly(board, [fixed[start:stop]], round(255 * value), cv2.LINE_AA, _SHIFT)
            start = stop
        if blur * self.per_cm >= 0.3:
            board = cv2.GaussianBlur(board, (0, 0), blur * self.per_cm)
        return _unit(board)

    def stroke(self, board: Array, curve: Array, value: float, width_px: int = 1, closed: bool = False) -> None:
        """Draw an anti-aliased line of whole pixels into the uint8 `board`; `value` in [0, 1]."""
        cv2.polylines(board, [self._fixed(curve)], closed, round(255 * min(value, 1)), width_px, cv2.LINE_AA, _SHIFT)

    def strokes(self, curves: Array, values: Array, widths: Array) -> Array:
        """Many lines at once, the stronger over the weaker: curves (b, k, 2), values (b,) in [0, 1], widths (b,) in cm.

        A line thinner than a pixel is drawn one pixel wide and as much fainter as it is thinner.
        """
        board = np.zeros((self.n, self.n), np.uint8)
        pixels = widths * self.per_cm
        grey = np.clip(np.rint(values * np.minimum(pixels, 1) * 16), 1, 16).astype(int)
        wide = np.maximum(np.rint(pixels), 1).astype(int)
        fixed = self._fixed(curves)
        kinds = grey * 1000 + wide
        for kind in np.unique(kinds):
            chosen = list(fixed[kinds == kind])
            cv2.polylines(board, chosen, False, int(kind // 1000 * 255 // 16), int(kind % 1000), cv2.LINE_AA, _SHIFT)
        return _unit(board)

    def line(self, curve: Array, width: float, closed: bool = False) -> Array:
        """A line `width` cm thick as a map in [0, 1]; thinner than a pixel means fainter, not invisible."""
        board = np.zeros((self.n, self.n), np.uint8)
        pixels = width * self.per_cm
        self.stroke(board, curve, min(pixels, 1.0), max(1, round(pixels)), closed)
        return _unit(board)

    def blur(self, image: Array, sigma: float) -> Array:
        """Gaussian blur, `sigma` in cm; wide ones at a quarter of the resolution, where the difference is invisible."""
        pixels = sigma * self.per_cm
        if pixels < 0.3:
            return image
        if pixels < 6:
            return cv2.GaussianBlur(image, (0, 0), pixels)
        small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        return cv2.resize(cv2.GaussianBlur(small, (0, 0), pixels / 4), (self.n, self.n), interpolation=cv2.INTER_LINEAR)

    def blob(self, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> Array:
        """A Gaussian bump of height 1: centre and standard deviations in cm, `angle` in radians."""
        dx, dy = self.x - np.float32(cx), self.y - np.float32(cy)
        # Far from the centre the exponent is capped: denormal numbers make every later step ten times slower.
        if angle == 0:
            return _bump(dy / np.float32(ry)) * _bump(dx / np.float32(rx))
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = (c * dx + s * dy) / np.float32(rx), (c * dy - s * dx) / np.float32(ry)
        return cv2.exp(np.maximum(-0.5 * (u * u + v * v), -30))

    def disc(self, cx: float, cy: float, rx: float, ry: float) -> Array:
        """1 - r², clipped at 0, of an ellipse: the square of a unit ellipsoid's half chord."""
        u, v = (self.x - np.float32(cx)) / np.float32(rx), (self.y - np.float32(cy)) / np.float32(ry)
        return np.maximum(1 - u * u - v * v, 0)

    def texture(self, rng: np.random.Generator, cell: float, coarse: float = 0.0) -> Array:
        """Smooth random texture of about unit variance whose grains are about `cell` cm; the same at any resolution.

        With `coarse` (cm) grains of that size are added.
        """
        k = max(4, int(2 * FIELD / cell))
        grid = rng.standard_normal((k, k), dtype=np.float32)
        if coarse:
            few = max(4, int(2 * FIELD / coarse))
            large = rng.standard_normal((few, few), dtype=np.float32)
            grid += cv2.resize(large, (k, k), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(grid, (self.n, self.n), interpolation=cv2.INTER_CUBIC) * np.float32(1.35)
