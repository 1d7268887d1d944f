"""The skeleton of the frontal chest: spine, ribs (back and front arcs), clavicles, shoulder blades, upper arms."""

import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Changes, Pose
from kontrast.data.phantom.canvas import Array, Canvas, ribbon, smooth
from kontrast.data.phantom.layers import Layers

RIBS = 11
_BACK = 14
_FRONT = 12


def draw_bones(layers: Layers, anatomy: Anatomy, pose: Pose, changes: Changes) -> None:
    """Add every bone to `layers.bone` and the ribs' curves to `layers.chest.ribs`."""
    canvas = layers.canvas
    rng = np.random.default_rng(anatomy.seed + 2)
    bone = _spine(canvas, anatomy, pose)
    bone += _ribs(layers, anatomy, pose, changes, rng)
    bone += _clavicles(canvas, anatomy, pose, rng)
    bone += _shoulders(canvas, anatomy, pose)
    layers.bone = bone * np.float32(anatomy.bone)


def _spine(canvas: Canvas, anatomy: Anatomy, pose: Pose) -> Array:
    """Vertebral bodies with their discs, pedicles and spinous processes; product of profiles, bent by scoliosis."""
    y = canvas.y
    pitch = 2.35 * anatomy.height
    centre = anatomy.scoliosis * np.sin((y + 12) / 8.5) - 3.0 * pose.yaw
    half = np.interp(y, [-22, -14, 0, 16, 22], [1.35, 1.5, 1.75, 2.2, 2.3])
    u = (canvas.x - centre) / half
    side = np.clip(1.25 * (1 - u**4), 0, 1)
    phase = y / pitch - np.floor(y / pitch)
    body = 0.72 + 0.28 * np.clip(8 * np.minimum(phase, 1 - phase) - 0.4, 0, 1)
    process = np.exp(-((u / 0.16) ** 2)) * np.exp(-(((phase - 0.75) / 0.16) ** 2))
    pedicle = np.exp(-(((np.abs(u) - 0.68) / 0.17) ** 2)) * np.exp(-(((phase - 0.35) / 0.13) ** 2))
    return (1.5 * side * body + 0.7 * process + 0.6 * pedicle).astype(np.float32)


def rib_curve(anatomy: Anatomy, pose: Pose, wall: Array, rows: Array, side: int, rib: int) -> tuple[Array, Array]:
    """A rib from the spine to its front end: points (k, 2) in cm and the angle of each in radians.

    A rib is half of a tilted ellipse around the chest; seen from the front, x = W sin θ and y falls with 1 - cos θ,
    so back and front arcs cross like the strands of a net and the lateral turn is seen edge-on.
    """
    h, slope = anatomy.height, anatomy.rib_slope
    start = (-14.6 + 2.28 * rib) * h
    drop = slope * np.interp(rib, [1, 2, 4, 7, 11], [4.0, 6.2, 8.8, 10.6, 10.0]) * (1 + 0.02 * pose.inspiration)
    end = np.interp(rib, [1, 2, 6, 8, 9, 10, 11], [2.55, 2.5, 2.35, 2.15, 1.95, 1.75, 1.5])
    lateral = start + 0.42 * drop
    breadth = float(np.interp(lateral, rows, wall)) + 0.15
    if rib <= 2:
        breadth = min(breadth, (5.9 if rib == 1 else 8.8) * anatomy.width)
    theta = np.concatenate([np.linspace(0.13, np.pi / 2, _BACK), np.linspace(np.pi / 2, end, _FRONT)[1:]])
    x = side * breadth * np.sin(theta) ** 0.92
    y = start + drop * 0.5 * (1 - np.cos(theta)) ** 1.25 * 0.95 - 0.5 * np.sin(2 * theta).clip(0)
    x = x + pose.yaw * 6 * -np.cos(theta)
    y = y - pose.lordosis * 0.35 * -np.cos(theta).clip(-1, 0)
    return np.stack([x, y], 1), theta


def _ribs(layers: Layers, anatomy: Anatomy, pose: Pose, changes: Changes, rng: np.random.Generator) -> Array:
    canvas = layers.canvas
    rows = canvas.y[:, 0]
    back: list[Array] = []
    back_inner: list[Array] = []
    front: list[Array] = []
    front_inner: list[Array] = []
    for side in (-1, 1):
        for rib in range(1, RIBS + 1):
            curve, theta = rib_curve(anatomy, pose, layers.chest.wall, rows, side, rib)
            curve = curve + [0, rng.normal(0, 0.08)]
            layers.chest.ribs[side, rib] = curve
            for broken, number, at, step in changes.fractures:
                if (broken, number) == (side, rib):
                    curve = _break(curve, theta, at, step, side)
            width = (0.62 if rib > 1 else 0.8) * rng.normal(1, 0.06)
            half = width * np.where(theta < np.pi / 2, 0.95 + 0.1 * np.sin(theta), 0.95 + 0.25 * (theta - np.pi / 2))
            split = _BACK
            back.append(ribbon(curve[:split], half[:split]))
            back_inner.append(ribbon(curve[:split], half[:split] - 0.2))
            front.append(ribbon(curve[split - 2 :], half[split - 2 :]))
            front_inner.append(ribbon(curve[split - 2 :], half[split - 2 :] - 0.2))
    # A rib is a tube: its cortex shows as two lines with fainter marrow between.
    backs = canvas.fill(*back, *back_inner, values=[1.0] * len(back) + [0.62] * len(back))
    fronts = canvas.fill(*front, *front_inner, values=[1.0] * len(front) + [0.7] * len(front))
    return canvas.blur(0.62 * backs + 0.42 * fronts, 0.07)


def _break(curve: Array, theta: Array, at: float, step: float, side: int) -> Array:
    """A displaced fracture: beyond the angle `at` the rib goes on `step` cm lower, the ends overlap a little."""
    index = int(np.searchsorted(theta, at))
    index = min(max(index, 2), len(curve) - 3)
    along = curve[index] - curve[index - 1]
    along = along / (np.hypot(*along) + 1e-9)
    normal = np.array([-along[1], along[0]]) * side
    fade = np.exp(-np.arange(len(curve) - index) / 6.0)[:, None]
    moved = curve.copy()
    moved[index:] += normal * step * fade - 0.35 * abs(step) * along * fade
    return moved


def _clavicles(canvas: Canvas, anatomy: Anatomy, pose: Pose, rng: np.random.Generator) -> Array:
    out = canvas.zeros()
    w, h = anatomy.width, anatomy.height
    rise = pose.lordosis + 0.8 * pose.arms - 0.4 + rng.normal(0, 0.3)
    for side in (-1, 1):
        lift = rise + rng.normal(0, 0.25)
        turn = 4.5 * pose.yaw
        points = [(side * 1.5 + turn, -10.2 * h - pose.lordosis * 0.6), (side * 3.6 * w + turn, -10.6 * h - 0.3 * lift),
                  (side * 7.5 * w, -11.6 * h - 0.8 * lift), (side * 11.5 * w, -13.0 * h - lift),
                  (side * 15.5 * w, -13.4 * h - lift)]  # fmt: skip
        curve = smooth(points, 6)
        half = np.interp(np.linspace(0, 1, len(curve)), [0, 0.12, 0.5, 1], [0.95, 0.62, 0.52, 0.7])
        out += canvas.fill(ribbon(curve, half), ribbon(curve, half - 0.2), values=[1.0, 0.6])
    return canvas.blur(1.0 * out, 0.07)


def _shoulders(canvas: Canvas, anatomy: Anatomy, pose: Pose) -> Array:
    """Shoulder blades (turned out of the lungs when the arms are abducted), humeral heads and shafts."""
    w, h = anatomy.width, anatomy.height
    out = canvas.zeros()
    away = 2.6 * pose.arms
    for side in (-1, 1):
        blade = np.array([(10.6 + away, -12.6), (16.2, -12.2), (16.0, -9.6), (14.6 + 0.4 * away, -6.0),
                          (12.9 + 0.9 * away, -1.4), (12.1 + away, -1.6), (11.4 + away, -6.0), (10.7 + away, -10.5)])  # fmt: skip
        blade = smooth(np.vstack([blade, blade[:1]]), 4) * [side * w, h]
        rim = np.vstack([blade, blade[:1]])
        out += 0.22 * canvas.fill(blade)
        out += 0.5 * canvas.line(rim, 0.3)
        spine = smooth([(11.5 + away, -10.6), (14.0 + 0.5 * away, -12.4), (17.0, -14.6)], 5) * [side * w, h]
        out += 0.5 * canvas.fill(ribbon(spine, np.linspace(0.2, 0.6, len(spine))))
        shoulder = 18.0 * w
        head = np.sqrt(canvas.disc(side * shoulder, -12.0 * h, 2.4, 2.4))
        shaft = np.array(
            [(shoulder + 0.3, -11.5), (shoulder + 0.9 + 4.5 * pose.arms, -3.0), (shoulder + 1.8 + 9 * pose.arms, 8.0)]
        )
        shaft = smooth(shaft, 5) * [side, 1]
        out += 1.3 * head + 0.9 * canvas.fill(ribbon(shaft, 1.15), ribbon(shaft, 0.6), values=[1.0, 0.55])
    return canvas.blur(out, 0.08)
