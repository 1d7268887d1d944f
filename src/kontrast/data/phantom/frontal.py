"""The frontal chest (PA and AP): soft tissue, lungs, heart, mediastinum, diaphragm.

Thickness maps in the patient's frame; bones and vessels are drawn by their own modules.
"""

import cv2
import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Changes, Pose
from kontrast.data.phantom.bones import draw_bones
from kontrast.data.phantom.canvas import Array, Canvas, ribbon, smooth
from kontrast.data.phantom.layers import Chest, Layers
from kontrast.data.phantom.vessels import draw_vessels

_WALL_Y = np.array([-15.2, -14.6, -13.4, -11.5, -8.5, -4.5, 0.0, 4.0, 8.0, 11.5, 15.0, 22.0])
_WALL_X = np.array([4.4, 6.9, 8.6, 10.2, 11.6, 12.6, 13.2, 13.4, 13.5, 13.3, 12.8, 12.5])
_BODY_Y = np.array([-22.0, -19.0, -17.6, -16.4, -15.2, -14.0, -12.5, -9.5, -7.0, -4.0, 0.0, 6.0, 14.0, 22.0])
_DEPTH_Y = np.array([-22.0, -16.0, -13.0, -9.0, -3.0, 6.0, 14.0, 22.0])


def build(canvas: Canvas, anatomy: Anatomy, pose: Pose, changes: Changes) -> Layers:
    """Everything that a healthy chest of this shape shows, as layers."""
    chest = shape(canvas, anatomy, pose, changes)
    turn = 4.0 * pose.yaw + changes.pull
    heart_map, heart = _heart(canvas, anatomy, pose, changes, chest, turn)
    mediastinum, airways = _mediastinum(canvas, anatomy, changes, chest, turn)
    air, sides = _lungs(canvas, anatomy, chest)
    # Below the hila the lungs reach far in front of and behind the spine.
    air *= 1 - mediastinum * canvas.profile([-16, -11, -7, -3, 2, 9], [0.75, 0.8, 0.92, 0.82, 0.6, 0.45])
    air = np.maximum(air - heart_map, 0.06 * air)
    clear = (1 - mediastinum) * (1 - heart)
    layers = Layers(
        canvas=canvas, chest=chest, body=_body(canvas, anatomy, pose), air=air,
        airways=airways + _stomach(canvas, anatomy, chest), bone=canvas.nothing, vessels=canvas.nothing,
        dense=canvas.nothing, empty=canvas.nothing, extra=canvas.nothing, metal=canvas.nothing,
        lung={side: silhouette * clear for side, silhouette in sides.items()}, heart=heart, mediastinum=mediastinum,
    )  # fmt: skip
    draw_bones(layers, anatomy, pose, changes)
    draw_vessels(layers, anatomy, changes)
    return layers


def shape(canvas: Canvas, anatomy: Anatomy, pose: Pose, changes: Changes) -> Chest:
    """The lengths that everything else hangs on."""
    width, height = anatomy.width, anatomy.height
    y = canvas.y[:, 0]
    wall = np.interp(y, _WALL_Y * height, _WALL_X * width)
    shallow = 0.985 + 0.012 * pose.inspiration
    wall = (wall * min(shallow, 1.02)).astype(np.float32)
    right = 7.6 * height + pose.inspiration - changes.dome[-1]
    left = 8.8 * height + pose.inspiration - changes.dome[1]
    dome_points = []
    inner = 13.4 * width
    for side, top in ((-1, right), (1, left)):
        drop = 3.7 - 0.9 * anatomy.fat
        dome_points += [
            (side * inner * f, top + drop * d) for f, d in ((1.03, 1.12), (0.97, 0.92), (0.88, 0.5), (0.74, 0.17),
            (0.56, 0.0), (0.4, 0.0), (0.22, 0.06), (0.08, 0.14))
        ]  # fmt: skip
    dome_points.sort()
    px, py = np.array(dome_points).T
    curve = smooth(np.stack([px, py], 1), 8)
    dome = np.interp(canvas.x[0], curve[:, 0], curve[:, 1]).astype(np.float32)
    angle = {}
    for side in (-1, 1):
        edge = np.interp(side * np.linspace(0.8, 1.03, 60) * inner, curve[:, 0], curve[:, 1])
        at = np.linspace(0.8, 1.03, 60) * inner
        hit = np.nonzero(at >= np.interp(edge, y, wall))[0]
        i = hit[0] if len(hit) else -1
        angle[side] = (side * float(at[i]), float(edge[i]))
    pull = changes.pull * 0.7 + 3 * pose.yaw
    lift = 0.45 * pose.inspiration
    return Chest(
        wall=wall, dome=dome, angle=angle, apex=-15.2 * height, base=max(a[1] for a in angle.values()),
        centre=(1.4 + pull, 4.2 * height + lift), carina=(0.2 + pull, -4.6 * height),
        hila={-1: (-4.3 * width + pull, -1.6 * height), 1: (4.4 * width + pull, -2.6 * height)},
    )  # fmt: skip


def _body(canvas: Canvas, anatomy: Anatomy, pose: Pose) -> Array:
    """Path through soft tissue: neck, shoulders, trunk, breasts and the arms beside it."""
    # Left and right are mirror images: half of it is drawn.
    x, y = canvas.x[:, canvas.n // 2 :], canvas.y
    chest, fat = 13.4 * anatomy.width, anatomy.fat
    skin = chest + 1.5 + 4.0 * fat
    shoulder = 20.5 * anatomy.width + 1.5 * fat
    outline = [5.2 + fat, 5.1 + fat, 5.9 + 1.5 * fat, 8.6 + 2 * fat, 0.68 * shoulder, 0.88 * shoulder, shoulder,
               0.97 * shoulder, skin + 2.2, skin + 1.0, skin + 0.4, skin, skin + 0.3, skin + 1.2]  # fmt: skip
    half = canvas.profile(_BODY_Y * anatomy.height, outline)
    depth = canvas.profile(_DEPTH_Y * anatomy.height, np.array([12, 13, 14, 18, 20, 21, 22, 22]) * (0.88 + 0.42 * fat))
    u = x / half
    u = u * u
    body = depth * np.sqrt(np.maximum(1 - u * u, 0))
    centre = 19.0 * anatomy.width + 1.8 * fat + pose.arms * 3 + (0.06 + 0.5 * pose.arms) * (y + 11)
    radius = np.float32(4.2 + 1.5 * fat)
    away = x - centre.astype(np.float32)
    body += np.sqrt(np.maximum(radius * radius - away * away, 0)) * np.clip((y + 12) / 2, 0, 2)
    if anatomy.breasts:
        across = (x - np.float32(7.6 * anatomy.width)) / np.float32(6.4)
        down = (y - np.float32(5.2 + 1.5 * fat)) / np.float32(5.6)
        body += np.float32(anatomy.breasts) * np.sqrt(np.maximum(1 - across * across - down * down, 0))
    return np.concatenate([body[:, ::-1], body], 1)


def _lungs(canvas: Canvas, anatomy: Anatomy, chest: Chest) -> tuple[Array, dict[int, Array]]:
    """Path through lung, and the silhouette of each lung down to the dome of the diaphragm."""
    y = canvas.y
    sides = {side: canvas.fill(_outline(canvas, anatomy, chest, side), blur=0.06) for side in (-1, 1)}
    both = np.maximum(sides[-1], sides[1])
    depth = canvas.profile(np.array([-15.2, -13, -10, -5, 0, 8, 14]) * anatomy.height, [3, 6.5, 10, 13.5, 15, 15.5, 14])
    u = canvas.x[:, canvas.n // 2 :] / chest.wall[:, None]
    u = u * u
    half = depth * np.sqrt(np.maximum(1 - u * u * u, 0))
    cavity = np.concatenate([half[:, ::-1], half], 1)
    # Behind the dome the posterior recess still holds lung: the liver's edge is soft below the dome's sharp one.
    below = (y - chest.dome[None, :]) / np.float32(2.6)
    recess = np.float32(0.30) * cv2.exp(-np.abs(below))
    recess *= (below > 0) & (below < 2.2)
    cavity *= np.maximum(both, recess)
    return cavity, sides


def _outline(canvas: Canvas, anatomy: Anatomy, chest: Chest, side: int) -> Array:
    height, width = anatomy.height, anatomy.width
    rows = np.array([-14.3, -13.0, -11.0, -8.0, -4.0, 0.0, 4.0]) * height
    low = chest.angle[side]
    rows = np.append(rows[rows < low[1] - 2], low[1] - 1.0)
    wall = [(float(np.interp(r, canvas.y[:, 0], chest.wall)), float(r)) for r in rows]
    upper = [(0.6, 6.0), (0.6, -6.0), (1.4 * width, -12.0 * height), (2.5 * width, -14.5 * height),
             (4.2 * width, chest.apex), (5.9 * width, chest.apex + 0.25), *wall, (abs(low[0]), low[1])]  # fmt: skip
    curve = smooth(upper, 5)
    xs = np.linspace(abs(low[0]), 0.6, 24)
    ys = np.interp(side * xs, canvas.x[0], chest.dome)
    points = np.vstack([curve, np.stack([xs, ys], 1)])
    return points * [side, 1]


def _heart(
    canvas: Canvas, anatomy: Anatomy, pose: Pose, changes: Changes, chest: Chest, turn: float
) -> tuple[Array, Array]:
    """Path through the heart, and its silhouette.

    The breadth comes from the cardiothoracic ratio; an AP projection magnifies the heart by about 8 %.
    """
    ratio = anatomy.heart * changes.heart * (1.08 if pose.view == "AP" else 1.0)
    scale = ratio * 2 * 13.4 * anatomy.width / 12.3
    squat = 1 - 0.035 * pose.inspiration
    sy = 0.9 * scale / squat + 0.1
    drop = 0.45 * pose.inspiration + 0.3
    dilated = max(changes.heart - 1, 0)
    outline = [(-2.6, -2.6), (-3.7, 0.0), (-4.3, 2.6), (-4.1, 5.0), (-3.2, 7.6), (-0.5, 9.6), (3.0, 10.4), (6.2, 10.0),
               (7.8, 8.4), (8.0, 6.2), (7.2, 3.4), (5.7, 0.6), (4.3, -1.6), (3.1, -3.4), (1.2, -4.4),
               (-1.2, -4.0)]  # fmt: skip
    points = np.array(outline) + np.random.default_rng(anatomy.seed + 6).normal(0, 0.22, (len(outline), 2))
    upright = np.random.default_rng(anatomy.seed + 7).normal(0, 0.07)
    points[:, 1] += upright * (points[:, 0] - 1.5)
    # A dilated heart grows at its chambers, hardly at the great vessels that it hangs on.
    grow = 1 + (scale - 1) * np.clip((points[:, 1] + 4) / 5, 0.2, 1)
    points[:, 0] = points[:, 0] * grow * np.where(points[:, 0] > 0, 1 + 0.05 * dilated, 1 - 0.03 * dilated) + turn
    points[:, 1] = (points[:, 1] - 3) * np.where(points[:, 1] < 3, 0.5 + 0.5 * sy, sy) + 3 + drop
    curve = smooth(np.vstack([points, points[:1]]), 5)
    silhouette = canvas.fill(curve, blur=0.10)
    body = np.sqrt(canvas.disc(1.6 * scale + turn, 3.6 + drop, 6.9 * scale, 7.2 * sy))
    # Towards the great vessels the heart grows thin: its upper edge is no edge on the film.
    fade = np.clip((canvas.y - np.float32(points[:, 1].min())) / 5, 0, 1)
    thickness = silhouette * (3.2 * fade + 8.6 * body * np.sqrt(fade)) * np.float32(0.5 + 0.5 * scale)
    return thickness, silhouette


def _mediastinum(canvas: Canvas, anatomy: Anatomy, changes: Changes, chest: Chest, turn: float) -> tuple[Array, Array]:
    """Silhouette of great vessels, spine and oesophagus; path through trachea and main bronchi."""
    vary = np.random.default_rng(anatomy.seed + 5).uniform(0.2, 1.1, 4)
    wide, knob, h = changes.mediastinum, changes.knob + anatomy.aorta * float(vary[0]) - 0.35, anatomy.height
    t = turn
    right = [(-1.6, -22), (-1.9, -16.5), (-2.2 - 0.3 * wide, -13.5), (-2.6 - wide, -10.5), (-2.9 - wide, -7),
             (-2.9 - 0.8 * wide, -4), (-2.6 - 0.3 * wide, -1), (-1.9, 3), (-1.9, 9), (-2.0, 22)]  # fmt: skip
    left = [(2.0 + 0.2 * knob, 22), (2.0 + 0.5 * knob, 9), (2.2 + 0.4 * knob, 3), (3.1, -0.6), (3.5 + 0.3 * wide, -2.3),
            (3.1 + 0.7 * wide, -3.9), (3.2 + wide + 0.5 * knob, -4.9), (3.7 + wide + knob, -6.3),
            (3.3 + wide + 0.8 * knob, -7.6), (2.5 + 0.9 * wide, -9.0), (2.3 + 0.5 * wide, -12), (1.9, -16.5),
            (1.6, -22)]  # fmt: skip
    outline = np.vstack([smooth(right, 5), smooth(left, 5)])
    outline[:, 0] += t * np.clip((8 - np.abs(outline[:, 1] + 2)) / 8, 0.3, 1)
    outline[:, 1] *= h
    silhouette = canvas.fill(outline, blur=0.22)
    cx, cy = chest.carina
    bend = 0.25 * anatomy.aorta
    windpipe = smooth([(0.1, -22.0), (0.1 + 0.3 * t, -15.0 * h), (cx - bend, -9.0 * h), (cx, cy)], 6)
    right_main = smooth([(cx, cy - 0.3), (cx - 1.6, cy + 1.6), (cx - 3.0, cy + 2.6)], 4)
    left_main = smooth([(cx, cy - 0.3), (cx + 2.0, cy + 1.7), (cx + 4.3, cy + 2.7)], 4)
    tubes = canvas.fill(
        ribbon(right_main, np.linspace(0.75, 0.55, len(right_main))),
        ribbon(left_main, np.linspace(0.65, 0.5, len(left_main))),
        ribbon(windpipe, 0.9), values=[0.55, 0.5, 1.0], blur=0.12,
    )  # fmt: skip
    return silhouette, 2.6 * tubes


def _stomach(canvas: Canvas, anatomy: Anatomy, chest: Chest) -> Array:
    """The gas bubble below the left dome, present in most upright patients."""
    rng = np.random.default_rng(anatomy.seed + 1)
    size, off = rng.uniform(0, 1), rng.normal(0, 0.8)
    if size < 0.35:
        return canvas.nothing
    rx, ry = 1.4 + 2.0 * size, 0.8 + 1.2 * size
    top = float(np.interp(6.0 + off, canvas.x[0], chest.dome)) + 0.7
    gas = np.sqrt(canvas.disc(6.0 + off, top + ry, rx, ry))
    return canvas.blur((3.5 * size * gas).astype(np.float32), 0.15)
