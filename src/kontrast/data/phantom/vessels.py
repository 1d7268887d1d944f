"""The lungs' vessels: two trees that branch from the hila, the lower lobes' larger (gravity), and the hila."""

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


def draw_vessels(layers: Layers, anatomy: Anatomy, changes: Changes) -> None:
    """Fill `layers.vessels` and thicken the hila."""
    canvas, chest = layers.canvas, layers.chest
    rng = np.random.default_rng(anatomy.seed + 3)
    parts: list[Array] = []
    radii_of: list[Array] = []
    upward = 1 + 0.75 * changes.cephalisation
    downward = 1 - 0.15 * changes.cephalisation
    for side in (-1, 1):
        hilum = chest.hila[side]
        spread = np.array([-1.35, -1.0, -0.6, -0.2, 0.25, 0.6, 0.9, 1.15, 1.38]) + rng.normal(0, 0.09, 9)
        up = spread < -0.1
        reach = np.where(up, 4.0, 3.5) * rng.uniform(0.8, 1.15, 9)
        radii = np.where(up, 0.26 * upward, 0.36 * downward) * rng.uniform(0.8, 1.2, 9)
        angles = np.where(side > 0, spread, np.pi - spread)
        curves, widths = tree(rng, hilum, angles, reach, radii)
        parts.append(curves)
        radii_of.append(widths)
    vessels = 1.6 * paint_tree(canvas, np.concatenate(parts), np.concatenate(radii_of))
    for side in (-1, 1):
        x, y = chest.hila[side]
        size = 1 + 0.6 * changes.hilum
        vessels += (1.6 * size) * canvas.blob(x - 0.5 * side, y + 0.6, 0.85 * size, 1.7 * size, 0.25 * side)
    layers.vessels = vessels * (layers.air > 0.5)
