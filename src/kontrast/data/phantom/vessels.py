"""The lungs' vessels: two trees that branch from the hila, the lower lobes' larger (gravity), and the hila."""

import functools

import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Changes
from kontrast.data.phantom.canvas import Array, Canvas
from kontrast.data.phantom.layers import Layers

_LEVELS = 4


def tree(
    rng: np.random.Generator, root: tuple[float, float], angles: Array, lengths: Array, radii: Array
) -> tuple[Array, Array]:
    """Branches that fork in two at each level.

    Args:
        rng: draws the angles.
        root: where the first branches start, cm.
        angles: their directions in radians (0 along +x, downward positive), (k,).
        lengths: of the first branches, cm, (k,).
        radii: of the first branches, cm, (k,).

    Returns:
        Curves (b, 4, 2) in cm, each a bent branch, and radii (b,) in cm.
    """
    start = np.tile(np.asarray(root, np.float64), (len(angles), 1)) + rng.normal(0, 0.45, (len(angles), 2))
    curves, widths = [], []
    for level in range(_LEVELS):
        bend = rng.normal(0, 0.22, len(angles))
        t = np.array([0.0, 0.35, 0.7, 1.0])
        direction = angles[:, None] + bend[:, None] * t
        step = np.diff(t, prepend=0)[None, :] * lengths[:, None]
        path = np.stack([np.cumsum(step * np.cos(direction), 1), np.cumsum(step * np.sin(direction), 1)], -1)
        path += start[:, None, :]
        curves.append(path)
        widths.append(radii)
        if level == _LEVELS - 1:
            break
        fork = rng.uniform(0.22, 0.6, len(angles))
        skew = rng.uniform(0.3, 0.7, len(angles))
        end = angles + bend
        angles = np.concatenate([end + fork * skew, end - fork * (1 - skew)])
        start = np.tile(path[:, -1], (2, 1))
        lengths = np.tile(lengths, 2) * rng.uniform(0.62, 0.95, len(angles))
        radii = np.concatenate([radii * rng.uniform(0.66, 0.86, len(fork)), radii * rng.uniform(0.55, 0.8, len(fork))])
    return np.concatenate(curves), np.concatenate(widths)


def paint_tree(canvas: Canvas, curves: Array, radii: Array) -> Array:
    """Branches as a map in [0, 1]: a vessel twice as thick is twice as dense, up to a radius of 0.4 cm."""
    return canvas.blur(canvas.strokes(curves, np.minimum(radii / 0.4, 1), 2 * radii), 0.06)


_SPREAD = np.array([-1.35, -1.0, -0.6, -0.2, 0.25, 0.6, 0.9, 1.15, 1.38])
"""Directions of the lobar and segmental branches, radians below the horizontal."""


@functools.lru_cache(maxsize=4)
def _pair(seed: int) -> tuple[Array, Array, Array]:
    """One patient's two trees: curves (2, b, k, 2) from each hilum outward (+x), radii (2, b), upward or not (2, b).

    Kept, because a patient's studies share them.
    """
    rng = np.random.default_rng(seed)
    spread = np.tile(_SPREAD, 2) + rng.normal(0, 0.09, 18)
    up = spread < -0.1
    reach = np.where(up, 4.0, 3.5) * rng.uniform(0.8, 1.15, 18)
    radii = np.where(up, 0.26, 0.36) * rng.uniform(0.8, 1.2, 18)
    curves, widths = tree(rng, (0.0, 0.0), spread, reach, radii)
    # Level by level the branches keep the order of their parents: branch j descends from j modulo 18.
    first = np.arange(len(curves)) % 18
    left = first < 9
    return (
        np.stack([curves[left], curves[~left]]),
        np.stack([widths[left], widths[~left]]),
        np.stack([up[first][left], up[first][~left]]),
    )


def draw_vessels(layers: Layers, anatomy: Anatomy, changes: Changes) -> None:
    """Fill `layers.vessels` and thicken the hila."""
    canvas, chest = layers.canvas, layers.chest
    curves, radii, up = _pair(anatomy.seed + 3)
    # When the heart fails, the upper vessels fill and the lower ones narrow.
    radii = radii * np.where(up, 1 + 0.75 * changes.cephalisation, 1 - 0.15 * changes.cephalisation)
    placed = np.concatenate([curves[i] * [side, 1] + chest.hila[side] for i, side in enumerate((-1, 1))])
    vessels = 1.6 * paint_tree(canvas, placed, radii.reshape(-1))
    for side in (-1, 1):
        x, y = chest.hila[side]
        size = 1 + 0.6 * changes.hilum
        vessels += (1.6 * size) * canvas.blob(x - 0.5 * side, y + 0.6, 0.85 * size, 1.7 * size)
    vessels *= layers.air > 0.5
    layers.vessels = vessels
