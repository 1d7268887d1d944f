"""The lateral chest: front to the image's left, spine to its right; left and right lung lie over each other."""

import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Changes, Pose
from kontrast.data.phantom.canvas import Array, Canvas, ribbon, smooth
from kontrast.data.phantom.layers import Chest, Layers
from kontrast.data.phantom.vessels import paint_tree, tree

_Y = np.array([-22.0, -15.0, -13.0, -10.0, -6.0, -2.0, 3.0, 8.0, 12.0, 22.0])


def build(canvas: Canvas, anatomy: Anatomy, pose: Pose, changes: Changes) -> Layers:
    """Everything that a healthy chest of this shape shows from the side, as layers."""
    chest, spine = _shape(canvas, anatomy, pose, changes)
    silhouette = _silhouette(canvas, chest)
    heart_map, heart = _heart(canvas, anatomy, changes, chest)
    h = anatomy.height
    windpipe = smooth([(spine[0] - 5.6, -22), (spine[1] - 5.4, -15 * h), chest.carina], 6)
    airways = 2.2 * canvas.fill(ribbon(windpipe, 0.85), blur=0.12)
    layers = Layers(
        canvas=canvas, chest=chest, body=_body(canvas, anatomy, pose, chest),
        air=_lungs(canvas, anatomy, chest, silhouette, heart_map), airways=airways,
        bone=_bones(canvas, anatomy, chest, spine), vessels=2.2 * canvas.blob(*chest.hila[1], 1.3, 1.7),
        dense=canvas.nothing, empty=canvas.nothing, extra=_great_vessels(canvas, anatomy, changes, chest),
        metal=canvas.nothing, lung={1: silhouette}, heart=heart,
        mediastinum=canvas.blob(chest.carina[0] + 0.5, -8 * h, 2.4, 3.0),
    )  # fmt: skip
    _vessels(layers, anatomy, changes)
    return layers


def _shape(canvas: Canvas, anatomy: Anatomy, pose: Pose, changes: Changes) -> tuple[Chest, Array]:
    """Front and back of the lungs and the line of the vertebral bodies, which kyphosis bends."""
    h, deep = anatomy.height, 0.92 + 0.18 * (anatomy.width - 0.9) + 0.10 * anatomy.kyphosis
    y, x = canvas.y[:, 0], canvas.x[0]
    front = np.interp(y, _Y * h, np.array([-3.0, -3.6, -5.2, -7.2, -8.9, -9.9, -10.6, -10.7, -10.2, -10.0]) * deep)
    bend = np.array([0.0, 1.4, 2.4, 3.6, 4.9, 5.6, 5.6, 4.8, 3.8, 2.5]) * (0.55 + 0.75 * anatomy.kyphosis)
    spine = np.interp(y, _Y * h, 3.2 + bend)
    back = spine + np.interp(y, _Y * h, [0.8, 1.0, 2.4, 3.8, 4.4, 4.6, 4.6, 4.4, 4.0, 3.6])
    top = min(7.4 * h - changes.dome[-1], 8.6 * h - changes.dome[1]) + pose.inspiration
    across = np.clip((x - front.min()) / (back.max() - front.min()), 0, 1)
    # One curve stands for both domes: the higher one hides the lung behind the lower one.
    profile = np.interp(across, [0, 0.12, 0.3, 0.45, 0.65, 0.82, 0.93, 1], [1.9, 0.7, 0.0, 0.1, 1.3, 3.2, 5.0, 6.2])
    profile = np.convolve(np.pad(profile, 9, mode="edge"), np.ones(19) / 19, "valid")
    dome = top + profile
    base = float(top + 5.0)

    def at_hilum(row: float, before: float) -> tuple[float, float]:
        return float(np.interp(row, y, spine)) - before, row

    chest = Chest(
        wall=back.astype(np.float32), dome=dome.astype(np.float32), angle={1: (float(back.max()) - 1.0, base)},
        apex=-14.8 * h, base=base, centre=(-3.9 * deep, 4.2 * h + 0.4 * pose.inspiration),
        carina=at_hilum(-4.6 * h, 5.4), hila={1: at_hilum(-1.8 * h, 6.0), -1: at_hilum(-1.2 * h, 6.4)},
        left=front.astype(np.float32), right=back.astype(np.float32),
    )  # fmt: skip
    return chest, spine.astype(np.float32)


def _silhouette(canvas: Canvas, chest: Chest) -> Array:
    assert chest.left is not None
    assert chest.right is not None
    rows = np.linspace(chest.apex, 20, 60)
    y = canvas.y[:, 0]
    front, back = np.interp(rows, y, chest.left), np.interp(rows, y, chest.right)
    closing = np.clip((rows - chest.apex) / 2.5, 0, 1) ** 0.5
    middle = 0.5 * (front[0] + back[0])
    front, back = middle + (front - middle) * closing, middle + (back - middle) * closing
    outline = np.vstack([np.stack([front, rows], 1), np.stack([back, rows], 1)[::-1]])
    above = np.clip((chest.dome[None, :] - canvas.y) / 0.15 + 0.5, 0, 1)
    return canvas.fill(outline, blur=0.15) * above


def _heart(canvas: Canvas, anatomy: Anatomy, changes: Changes, chest: Chest) -> tuple[Array, Array]:
    """It lies on the front half of the diaphragm and behind the lower breast bone; its back edge is soft."""
    scale = anatomy.heart * changes.heart * 2 * 13.4 * anatomy.width / 12.3
    cx, cy = chest.centre
    points = [(-0.6, -6.2), (-3.2, -3.6), (-5.4, -0.4), (-6.2, 2.8), (-5.4, 5.8), (-1.5, 7.4), (2.6, 6.2), (4.4, 3.2),
              (4.4, -0.4), (3.2, -3.6), (1.6, -5.8), (-0.6, -6.2)]  # fmt: skip
    silhouette = canvas.fill(smooth(np.array(points) * [0.94 * scale, 0.88 * scale] + [cx, cy], 5), blur=0.3)
    body = np.sqrt(canvas.disc(cx - 0.7, cy + 0.6, 5.9 * scale, 6.8 * scale))
    return silhouette * (0.6 + 10.5 * body), silhouette


def _lungs(canvas: Canvas, anatomy: Anatomy, chest: Chest, silhouette: Array, heart: Array) -> Array:
    """Path through both lungs: they are narrow at the top, where the shoulders are, and thin beside the heart."""
    assert chest.left is not None
    assert chest.right is not None
    wide = np.array([5, 10.5, 14.5, 17, 18.5, 18.5]) * anatomy.width
    breadth = canvas.profile(np.array([-15, -12, -8, -3, 4, 12]) * anatomy.height, wide)
    left, right = chest.left[:, None], chest.right[:, None]
    u = (canvas.x - 0.5 * (left + right)) / np.maximum(0.5 * (right - left) + 0.2, 1)
    u = u * u
    lung = breadth * np.sqrt(np.maximum(1 - 0.85 * u * u, 0.02))
    # Under the higher dome the other lung's base still shows for about the difference of the two.
    below = (canvas.y - chest.dome[None, :]) / 1.4
    other = 0.40 * ((below > 0) & (below < 1) & (canvas.x > left) & (canvas.x < right))
    path = lung * np.maximum(silhouette, canvas.blur(other.astype(np.float32), 0.08))
    return np.maximum(path - heart, 0.04 * lung * silhouette)


def _body(canvas: Canvas, anatomy: Anatomy, pose: Pose, chest: Chest) -> Array:
    """Trunk, the shoulders with the raised arms above it, and breasts."""
    assert chest.left is not None
    assert chest.right is not None
    fat, h = anatomy.fat, anatomy.height
    before = canvas.profile([-22, -18, -14, -10, -6, 8, 22], [9.5, 6.5, 3.6, 2.2, 1.9, 2.1, 3.0])
    behind = canvas.profile([-22, -17, -13, -8, 0, 22], [8.5, 6.5, 4.5, 2.6, 2.2, 4.0])
    front = chest.left[:, None] - before - np.float32(2.6 * fat)
    back = chest.right[:, None] + behind + np.float32(2.2 * fat)
    middle, half = 0.5 * (front + back), 0.5 * (back - front)
    u = (canvas.x - middle) / half
    u = u * u
    breadth = canvas.profile(
        np.array([-22, -17, -12, -8, -2, 8, 22]) * h, np.array([22, 30, 33, 30, 28, 29, 30]) * anatomy.width
    )
    body = (breadth + np.float32(6 * fat)) * np.sqrt(np.maximum(1 - u * u * u, 0))
    body += np.float32(6.5 * (1.15 - 0.4 * pose.arms)) * canvas.blob(0.5, -17.0 * h, 5.5, 3.2)
    reach = float(chest.left[canvas.n // 2]) - 2.0 - 2.6 * fat
    if anatomy.breasts:
        lens = canvas.disc(reach + 2.2, 4.0 + 1.5 * fat, 2.6 + 0.9 * anatomy.breasts, 5.6)
        body += 2.4 * anatomy.breasts * lens
    # The arms point up and forward; their skin folds cross the upper front.
    for shift in (0.0, 1.6):
        arm = smooth([(1.0 + shift, -13.0 * h), (-4.5 + shift, -17.0 * h), (-9.5 + shift, -22.0)], 5)
        body += np.float32(3.2) * canvas.fill(ribbon(arm, 3.4), blur=0.35)
    return body


def _bones(canvas: Canvas, anatomy: Anatomy, chest: Chest, spine: Array) -> Array:
    """Vertebral bodies with end plates, ribs sloping down to the front, breast bone, shoulder blade."""
    assert chest.left is not None
    assert chest.right is not None
    h, rows = anatomy.height, canvas.y[:, 0]
    rng = np.random.default_rng(anatomy.seed + 2)
    rib = np.repeat(np.arange(2.0, 12.0), 2)
    offset = np.tile([0.0, 0.7], 10) + np.tile([0.0, 0.3], 10) * rng.standard_normal(20)
    top = (-14.2 + 2.25 * rib) * h + offset
    drop = anatomy.rib_slope * np.interp(rib, [2, 6, 11], [5.0, 8.5, 8.5])
    start, end = np.interp(top, rows, chest.right) - 0.3, np.interp(top + drop, rows, chest.left) + 2.4
    t = np.linspace(0, 1, 20)[None, :] * np.interp(rib, [2, 8, 9, 11], [1.0, 1.0, 0.8, 0.45])[:, None]
    rise = 0.6 * np.sin(np.pi * np.minimum(3 * t, 1))
    curves = np.stack([start[:, None] + (end - start)[:, None] * t, top[:, None] - rise + drop[:, None] * t**1.3], -1)
    bone = canvas.zeros()
    # Left and right ribs cross: two boards, so that they add up.
    for side in (0, 1):
        one = curves[side::2]
        bone += 0.7 * canvas.fill(*ribbon(one, 0.5), *ribbon(one, 0.3), values=[1.0] * 10 + [0.55] * 10)
    column = np.linspace(-9 * h, 7 * h, 6)
    sternum = smooth(np.stack([np.interp(column, rows, chest.left) - 0.5, column], 1), 4)
    blade = smooth([(6.5, -13.0), (8.6, -6.0), (9.4, -1.5)], 6)
    bone += canvas.fill(ribbon(blade, 0.35), ribbon(sternum, 0.55), values=[0.4, 1.0]) * np.float32(1.5)
    bone = canvas.blur(bone, 0.08)
    _add_spine(bone, canvas, h, spine)
    return bone * np.float32(anatomy.bone)


def _add_spine(bone: Array, canvas: Canvas, height: float, spine: Array) -> None:
    y = canvas.y
    near = (canvas.x[0] > spine.min() - 2.2) & (canvas.x[0] < spine.max() + 6)
    u = (canvas.x[:, near] - spine[:, None]) / np.float32(1.75)
    phase = y / np.float32(2.35 * height)
    phase = phase - np.floor(phase)
    middle = np.minimum(phase, 1 - phase)
    edge = np.clip(9 * middle - 0.7, 0, 1)
    plate = np.exp(-(((middle - 0.12) / 0.05) ** 2))
    square = u * u
    bone[:, near] += 1.7 * np.clip(1.2 * (1 - square * square), 0, 1) * (0.35 + 0.65 * edge + 0.25 * plate)
    bone[:, near] += 0.8 * np.exp(-(((u - 1.9) / 0.5) ** 2)) * (0.3 + 0.7 * edge)


def _great_vessels(canvas: Canvas, anatomy: Anatomy, changes: Changes, chest: Chest) -> Array:
    """Aorta (ascending, arch, descending) and the pulmonary trunk in front of the windpipe."""
    cx, cy = chest.carina
    grow = 1 + 0.35 * anatomy.aorta + 0.3 * changes.mediastinum
    arch = [(cx - 3.4, cy + 4.5), (cx - 3.0, cy - 1.6), (cx + 0.2, cy - 3.4), (cx + 2.8, cy - 1.4), (cx + 3.6, cy + 4),
            (cx + 3.4, 8.0)]  # fmt: skip
    curve = smooth(arch, 6)
    vessel = canvas.fill(ribbon(curve, np.linspace(1.7, 1.15, len(curve)) * grow), blur=0.3)
    return (1.9 * grow) * vessel + 2.2 * canvas.blob(cx - 2.6, cy + 2.8, 1.8, 2.2)


def _vessels(layers: Layers, anatomy: Anatomy, changes: Changes) -> None:
    canvas, chest = layers.canvas, layers.chest
    rng = np.random.default_rng(anatomy.seed + 3)
    parts, radii_of = [], []
    for side in (-1, 1):
        angles = np.array([-2.5, -1.9, -1.3, -0.5, 0.3, 0.9, 1.5, 2.1, 2.7]) + rng.normal(0, 0.15, 9)
        radii = np.where(np.sin(angles) < 0, 0.22 * (1 + 0.6 * changes.cephalisation), 0.3)
        curves, widths = tree(rng, chest.hila[side], angles, 3.2 * rng.uniform(0.8, 1.15, 9), radii)
        parts.append(curves)
        radii_of.append(widths)
    branches = 1.3 * paint_tree(canvas, np.concatenate(parts), np.concatenate(radii_of))
    layers.vessels = (layers.vessels + branches) * (layers.air > 0.5)
