"""The skeleton of the frontal chest: spine, ribs (back and front arcs), clavicles, shoulder blades, upper arms."""

import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Changes, Pose
from kontrast.data.phantom.canvas import Array, Canvas, ribbon, smooth
from kontrast.data.phantom.layers import Layers

RIBS = 11
_BACK, _FRONT = 14, 12
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 24)), np.sin(np.linspace(0, 2 * np.pi, 24))], 1)
_CORTEX = 0.2
"""Thickness of a bone's rim in cm: a rib is a tube, its cortex shows as two lines with fainter marrow between."""


def draw_bones(layers: Layers, anatomy: Anatomy, pose: Pose, changes: Changes) -> None:
    """Add every bone to `layers.bone` and the ribs' curves to `layers.chest.ribs`."""
    canvas = layers.canvas
    rng = np.random.default_rng(anatomy.seed + 2)
    bone = _ribs(layers, anatomy, pose, changes, rng)
    bone += _clavicles(canvas, anatomy, pose, rng)
    bone += _shoulders(canvas, anatomy, pose)
    bone = canvas.blur(bone, 0.07)
    _add_spine(bone, canvas, anatomy, pose)
    layers.bone = bone * np.float32(anatomy.bone)


def _add_spine(bone: Array, canvas: Canvas, anatomy: Anatomy, pose: Pose) -> None:
    """Vertebral bodies with their discs, pedicles and spinous processes; product of profiles, bent by scoliosis."""
    y, x = canvas.y, canvas.x
    pitch = 2.35 * anatomy.height
    centre = np.float32(anatomy.scoliosis) * np.sin((y + 12) / 8.5) - np.float32(3.0 * pose.yaw)
    half = canvas.profile([-22, -14, 0, 16, 22], [1.35, 1.5, 1.75, 2.2, 2.3])
    near = np.abs(x[0]) < 4.5
    u = (x[:, near] - centre) / half
    square = u * u
    side = np.clip(1.25 * (1 - square * square), 0, 1)
    phase = y / np.float32(pitch)
    phase = phase - np.floor(phase)
    body = 0.66 + 0.34 * np.clip(8 * np.minimum(phase, 1 - phase) - 0.4, 0, 1)
    process = np.exp(-square / 0.026) * np.exp(-(((phase - 0.75) / 0.16) ** 2))
    pedicle = np.exp(-(((np.abs(u) - 0.68) / 0.17) ** 2)) * np.exp(-(((phase - 0.35) / 0.13) ** 2))
    bone[:, near] += 1.0 * side * body + 0.6 * process + 0.6 * pedicle


def rib_curves(anatomy: Anatomy, pose: Pose, wall: Array, rows: Array) -> tuple[Array, Array]:
    """The right-hand set of ribs 1 to RIBS as seen at +x, from the spine to their front ends.

    A rib is half of a tilted ellipse around the chest; seen from the front, x = W sin θ and y falls with 1 - cos θ,
    so back and front arcs cross like the strands of a net and the lateral turn is seen edge-on.

    Returns:
        Points (RIBS, k, 2) in cm and the angle θ of each, (RIBS, k), in radians.
    """
    h, rib = anatomy.height, np.arange(1, RIBS + 1, dtype=np.float64)
    start = (-14.6 + 2.28 * rib) * h
    fall = np.interp(rib, [1, 2, 4, 7, 11], [4.0, 6.2, 8.8, 10.6, 10.0])
    drop = anatomy.rib_slope * fall * (1 - 0.02 * pose.inspiration)
    end = np.interp(rib, [1, 2, 6, 8, 9, 10, 11], [2.55, 2.5, 2.35, 2.15, 1.95, 1.75, 1.65])
    breadth = np.interp(start + 0.42 * drop, rows, wall) + 0.15
    breadth[:2] = np.minimum(breadth[:2], np.array([5.9, 8.8]) * anatomy.width)
    back = np.linspace(0.13, np.pi / 2, _BACK)
    front = np.pi / 2 + (end[:, None] - np.pi / 2) * np.linspace(0, 1, _FRONT)[1:]
    theta = np.concatenate([np.broadcast_to(back, (RIBS, _BACK)), front], 1)
    cosine = np.cos(theta)
    x = breadth[:, None] * np.sin(theta) ** 0.92
    y = start[:, None] + 0.475 * drop[:, None] * (1 - cosine) ** 1.25 - 0.5 * np.sin(2 * theta).clip(0)
    y = y - pose.lordosis * 0.35 * (-cosine).clip(0)
    return np.stack([x, y], -1), theta


def _ribs(layers: Layers, anatomy: Anatomy, pose: Pose, changes: Changes, rng: np.random.Generator) -> Array:
    canvas = layers.canvas
    one_side, theta = rib_curves(anatomy, pose, layers.chest.wall, canvas.y[:, 0])
    backs: list[Array] = []
    fronts: list[Array] = []
    for side in (-1, 1):
        curves = one_side * [side, 1]
        curves[..., 0] -= 6 * pose.yaw * np.cos(theta)
        curves[..., 1] += rng.normal(0, 0.1, (RIBS, 1))
        width = np.where(np.arange(RIBS) == 0, 0.8, 0.62) * rng.normal(1, 0.06, RIBS)
        shape = np.where(theta < np.pi / 2, 0.95 + 0.1 * np.sin(theta), 0.95 + 0.25 * (theta - np.pi / 2))
        half = width[:, None] * shape
        for rib in range(RIBS):
            layers.chest.ribs[side, rib + 1] = curves[rib].copy()
        for broken, rib, at, step in changes.fractures:
            if broken == side:
                curves[rib - 1] = _break(curves[rib - 1], at, step, side)
        for part, chosen in ((backs, slice(None, _BACK)), (fronts, slice(_BACK - 2, None))):
            part.extend(ribbon(curves[:, chosen], half[:, chosen]))
            part.extend(ribbon(curves[:, chosen], half[:, chosen] - _CORTEX))
    rims = ([1.0] * RIBS + [0.62] * RIBS) * 2
    return 1.05 * canvas.fill(*backs, values=rims) + 0.62 * canvas.fill(*fronts, values=rims)


def rib_index(at: float) -> int:
    """The point of a rib's curve at the angle `at` (radians, behind the lateral turn)."""
    return min(max(int(np.searchsorted(np.linspace(0.13, np.pi / 2, _BACK), at)), 2), _BACK - 1)


def _break(curve: Array, at: float, step: float, side: int) -> Array:
    """A displaced fracture: beyond the angle `at` the rib goes on `step` cm lower, the ends overlap a little."""
    index = rib_index(at)
    along = curve[index] - curve[index - 1]
    along = along / (np.hypot(*along) + 1e-9)
    normal = np.array([-along[1], along[0]]) * side
    fade = np.exp(-np.arange(len(curve) - index) / 7.0)[:, None]
    moved = curve.copy()
    moved[index:] += normal * step * fade - 0.2 * abs(step) * along * fade
    return moved


def _clavicles(canvas: Canvas, anatomy: Anatomy, pose: Pose, rng: np.random.Generator) -> Array:
    w, h = anatomy.width, anatomy.height
    rise = pose.lordosis + 0.8 * pose.arms - 0.4 + rng.normal(0, 0.3)
    turn = 4.5 * pose.yaw
    shapes = []
    for side in (-1, 1):
        lift = rise + rng.normal(0, 0.25)
        points = [(side * 1.5 + turn, -10.2 * h - pose.lordosis * 0.6), (side * 3.6 * w + turn, -10.6 * h - 0.3 * lift),
                  (side * 7.5 * w, -11.6 * h - 0.8 * lift), (side * 11.5 * w, -13.0 * h - lift),
                  (side * 15.5 * w, -13.4 * h - lift)]  # fmt: skip
        curve = smooth(points, 6)
        half = np.interp(np.linspace(0, 1, len(curve)), [0, 0.12, 0.5, 1], [0.95, 0.62, 0.52, 0.7])
        shapes += [ribbon(curve, half), ribbon(curve, half - _CORTEX)]
    return 1.6 * canvas.fill(*shapes, values=[1.0, 0.6] * 2)


def _shoulders(canvas: Canvas, anatomy: Anatomy, pose: Pose) -> Array:
    """Shoulder blades (turned out of the lungs when the arms are abducted), humeral heads and shafts."""
    w, h = anatomy.width, anatomy.height
    away = 2.6 * pose.arms
    blades, spines, shafts, rims = [], [], [], []
    heads: list[Array] = []
    for side in (-1, 1):
        blade = np.array([(10.6 + away, -12.6), (16.2, -12.2), (16.0, -9.6), (14.6 + 0.4 * away, -6.0),
                          (12.9 + 0.9 * away, -1.4), (12.1 + away, -1.6), (11.4 + away, -6.0), (10.7 + away, -10.5),
                          (10.6 + away, -12.6)])  # fmt: skip
        blades.append(smooth(blade, 4) * [side * w, h])
        rims.append(ribbon(blades[-1], 0.15))
        spine = smooth([(11.5 + away, -10.6), (14.0 + 0.5 * away, -12.4), (17.0, -14.6)], 5) * [side * w, h]
        spines.append(ribbon(spine, np.linspace(0.2, 0.6, len(spine))))
        reach = 18.0 * w
        heads += [_CIRCLE * r + [side * reach, -12.0 * h] for r in (2.4, 2.0, 1.4)]
        shaft = [(reach + 0.3, -11.5), (reach + 0.9 + 4.5 * pose.arms, -3.0), (reach + 1.8 + 9 * pose.arms, 8.0)]
        curve = smooth(shaft, 5) * [side, 1]
        shafts += [ribbon(curve, 1.15), ribbon(curve, 0.6)]
    shapes = [*blades, *spines, *rims, *shafts, *heads]
    values = [0.2] * 2 + [0.55] * 2 + [0.6] * 2 + [0.65, 0.36] * 2 + [0.35, 0.55, 0.75] * 2
    return 1.6 * canvas.fill(*shapes, values=values)
