"""The lateral chest: front to the image's left, spine to its right; left and right lung lie over each other."""

import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Changes, Pose
from kontrast.data.phantom.canvas import Array, Canvas, ribbon, smooth
from kontrast.data.phantom.layers import Chest, Layers
from kontrast.data.phantom.vessels import tree

_Y = np.array([-22.0, -15.0, -13.0, -10.0, -6.0, -2.0, 3.0, 8.0, 12.0, 22.0])


def build(canvas: Canvas, anatomy: Anatomy, pose: Pose, changes: Changes) -> Layers:
    """Everything that a healthy chest of this shape shows from the side, as layers."""
    chest, spine = _shape(canvas, anatomy, pose, changes)
    silhouette = _silhouette(canvas, anatomy, chest)
    heart_map, heart = _heart(canvas, anatomy, changes, chest)
    hilum = canvas.blob(*chest.hila[1], 1.5, 1.9)
    air = _lungs(canvas, anatomy, chest, silhouette, heart_map)
    h = anatomy.height
    windpipe = smooth([(spine[0] - 5.6, -22), (spine[1] - 5.4, -15 * h), (chest.carina[0], chest.carina[1])], 6)
    airways = 1.8 * canvas.fill(ribbon(windpipe, 0.85), blur=0.12)
    layers = Layers(
        canvas=canvas, chest=chest, body=_body(canvas, anatomy, pose, chest), air=air, airways=airways,
        bone=_bones(canvas, anatomy, pose, chest, spine), vessels=1.6 * hilum, dense=canvas.zeros(), empty=canvas.zeros(),
        extra=_aorta(canvas, anatomy, changes, chest), metal=canvas.zeros(),
        lung={1: silhouette}, heart=heart, mediastinum=canvas.blob(chest.carina[0] + 0.5, -8 * h, 2.4, 3.0),
    )  # fmt: skip
    _vessels(layers, anatomy, changes)
    return layers


def _shape(canvas: Canvas, anatomy: Anatomy, pose: Pose, changes: Changes) -> tuple[Chest, Array]:
    """Front and back of the lungs and the line of the vertebral bodies, which kyphosis bends."""
    h, deep = anatomy.height, 0.92 + 0.18 * (anatomy.width - 0.9) + 0.10 * anatomy.kyphosis
    y = canvas.y[:, 0]
    front = np.interp(y, _Y * h, np.array([-3.0, -3.6, -5.2, -7.2, -8.9, -9.9, -10.6, -10.7, -10.2, -10.0]) * deep)
    bend = np.array([0.0, 1.4, 2.4, 3.6, 4.9, 5.6, 5.6, 4.8, 3.8, 2.5]) * (0.55 + 0.75 * anatomy.kyphosis)
    spine = np.interp(y, _Y * h, 3.2 + bend)
    back = spine + np.interp(y, _Y * h, [0.8, 1.0, 2.4, 3.8, 4.4, 4.6, 4.6, 4.4, 4.0, 3.6])
    shift = pose.inspiration
    domes = {side: 7.4 * h + shift - changes.dome[side] + (0.0 if side < 0 else 1.2) for side in (-1, 1)}
    x = canvas.x[0]
    across = np.clip((x - front.min()) / (back.max() - front.min()), 0, 1)
    # One curve stands for both halves: the higher one hides the lung behind the lower one.
    profile = np.interp(across, [0, 0.12, 0.3, 0.45, 0.65, 0.82, 0.93, 1], [1.9, 0.7, 0.0, 0.1, 1.3, 3.2, 5.0, 6.2])
    dome = min(domes.values()) + profile
    lift = 0.4 * shift
    base = float(np.interp(0.93, across, dome)) if len(x) else 12.0
    chest = Chest(
        wall=back.astype(np.float32), dome=dome.astype(np.float32), angle={1: (float(back.max()) - 1.0, base)},
        apex=-14.8 * h, base=base, centre=(-3.6, 4.0 * h + lift), carina=(float(np.interp(-4.6 * h, y, spine)) - 5.4, -4.6 * h),
        hila={1: (float(np.interp(-1.6 * h, y, spine)) - 6.0, -1.8 * h), -1: (float(np.interp(-1.6 * h, y, spine)) - 6.4, -1.2 * h)},
        left=front.astype(np.float32), right=back.astype(np.float32),
    )  # fmt: skip
    return chest, spine.astype(np.float32)


def _silhouette(canvas: Canvas, anatomy: Anatomy, chest: Chest) -> Array:
    rows = np.linspace(chest.apex, 20, 60)
    y = canvas.y[:, 0]
    front, back = np.interp(rows, y, chest.left), np.interp(rows, y, chest.right)  # type: ignore[arg-type]
    closing = np.clip((rows - chest.apex) / 2.5, 0, 1) ** 0.5
    middle = 0.5 * (front[0] + back[0])
    front, back = middle + (front - middle) * closing, middle + (back - middle) * closing
    outline = np.vstack([np.stack([front, rows], 1), np.stack([back, rows], 1)[::-1]])
    above = np.clip((chest.dome[None, :] - canvas.y) / 0.15 + 0.5, 0, 1)
    return canvas.fill(outline, blur=0.08) * above


def _heart(canvas: Canvas, anatomy: Anatomy, changes: Changes, chest: Chest) -> tuple[Array, Array]:
    scale = anatomy.heart * changes.heart * 2 * 13.4 * anatomy.width / 12.3
    cx, cy = chest.centre
    outline = np.array([(-1.6, -5.4), (-4.0, -2.6), (-5.4, 0.6), (-5.5, 3.2), (-4.2, 5.4), (-0.5, 6.2), (2.6, 5.0),
                        (3.9, 2.4), (3.8, -0.6), (2.6, -3.4), (0.9, -5.2)]) * [0.94, 0.88] * scale + [cx, cy]  # fmt: skip
    silhouette = canvas.fill(smooth(np.vstack([outline, outline[:1]]), 5), blur=0.25)
    body = np.sqrt(canvas.disc(cx - 0.6, cy + 0.2, 5.4 * scale, 5.9 * scale))
    return (silhouette * (1.5 + 9.0 * body)).astype(np.float32), silhouette


def _lungs(canvas: Canvas, anatomy: Anatomy, chest: Chest, silhouette: Array, heart: Array) -> Array:
    """Path through both lungs: they are narrow at the top, where the shoulders are, and in front of the heart."""
    y = canvas.y
    breadth = np.interp(y, np.array([-15, -12, -8, -3, 4, 12]) * anatomy.height, [5, 11, 15.5, 18.5, 20, 19.5])
    middle = 0.5 * (chest.left + chest.right)[:, None]  # type: ignore[operator]
    half = 0.5 * (chest.right - chest.left)[:, None] + 0.2  # type: ignore[operator]
    u = (canvas.x - middle) / np.maximum(half, 1)
    u = u * u
    lung = (breadth * anatomy.width).astype(np.float32) * np.sqrt(np.maximum(1 - 0.85 * u * u, 0.02))
    # Under the higher dome the other lung's base still shows for about a dome's difference.
    below = (y - chest.dome[None, :]) / 1.4
    other = 0.42 * ((below > 0) & (below < 1)) * (canvas.x > chest.left[:, None]) * (canvas.x < chest.right[:, None])  # type: ignore[index]
    return np.maximum(lung * np.maximum(silhouette, other) - heart, 0.04 * lung * silhouette).astype(np.float32)


def _body(canvas: Canvas, anatomy: Anatomy, pose: Pose, chest: Chest) -> Array:
    y, fat, h = canvas.y, anatomy.fat, anatomy.height
    front = chest.left[:, None] - np.interp(y, [-22, -14, -6, 8, 22], [0.2, 1.6, 2.0, 2.2, 3.0]) - 2.6 * fat  # type: ignore[index]
    back = chest.right[:, None] + np.interp(y, [-22, -12, 0, 22], [4.5, 4.0, 2.4, 4.0]) + 2.2 * fat  # type: ignore[index]
    middle, half = (0.5 * (front + back)).astype(np.float32), (0.5 * (back - front)).astype(np.float32)
    u = (canvas.x - middle) / half
    u = u * u
    breadth = np.interp(y, np.array([-22, -16, -12, -8, -2, 8, 22]) * h, [13, 24, 34, 31, 29, 30, 31]) * anatomy.width
    body = (breadth + 6 * fat).astype(np.float32) * np.sqrt(np.maximum(1 - u * u, 0))
    # The raised arms lie over the apices.
    body += (7.0 * (1.15 - 0.4 * pose.arms)) * canvas.blob(0.5, -17.5 * h, 6.0, 3.6)
    if anatomy.breasts:
        reach = float(chest.left[canvas.n // 2]) - 1.6 - 2.6 * fat  # type: ignore[index]
        body += 2.6 * anatomy.breasts * np.sqrt(canvas.disc(reach + 0.8, 4.5, 2.2 + anatomy.breasts, 4.8))
    return body.astype(np.float32)


def _bones(canvas: Canvas, anatomy: Anatomy, pose: Pose, chest: Chest, spine: Array) -> Array:
    """Vertebral bodies with end plates, ribs sloping down to the front, breast bone, shoulder blade."""
    h, y = anatomy.height, canvas.y
    pitch = 2.35 * h
    u = (canvas.x - spine[:, None]) / 1.75
    phase = y / pitch - np.floor(y / pitch)
    edge = np.clip(9 * np.minimum(phase, 1 - phase) - 0.7, 0, 1)
    plate = np.exp(-(((np.minimum(phase, 1 - phase) - 0.12) / 0.05) ** 2))
    bone = 1.9 * np.clip(1.2 * (1 - u**4), 0, 1) * (0.35 + 0.65 * edge + 0.25 * plate)
    arch = np.exp(-(((u - 1.9) / 0.5) ** 2)) * (0.3 + 0.7 * edge)
    bone = (bone + 0.8 * arch).astype(np.float32)
    outer, inner = [], []
    rng = np.random.default_rng(anatomy.seed + 2)
    rows = canvas.y[:, 0]
    for rib in range(2, 12):
        for shift in (0.0, 0.7 + 0.3 * rng.standard_normal()):
            top = (-14.2 + 2.25 * rib) * h + shift
            drop = anatomy.rib_slope * np.interp(rib, [2, 6, 11], [5.0, 8.5, 8.5])
            t = np.linspace(0, 1, 7)
            x0, x1 = (
                float(np.interp(top, rows, chest.right)) - 0.3,
                float(np.interp(top + drop, rows, chest.left)) + 2.4,
            )  # type: ignore[arg-type]
            end = np.interp(rib, [2, 8, 9, 11], [1.0, 1.0, 0.8, 0.45])
            curve = smooth(
                np.stack(
                    [
                        x0 + (x1 - x0) * t * end,
                        top - 0.6 * np.sin(np.pi * np.minimum(3 * t, 1)) + drop * (t * end) ** 1.3,
                    ],
                    1,
                ),
                3,
            )
            outer.append(ribbon(curve, 0.5))
            inner.append(ribbon(curve, 0.3))
    board = canvas.zeros()
    for a, b in zip(outer, inner, strict=True):
        board += canvas.fill(a, b, values=[1.0, 0.6])
    sternum = smooth(
        [(float(np.interp(r, rows, chest.left)) - 0.5, float(r)) for r in np.linspace(-9 * h, 7 * h, 6)], 4
    )  # type: ignore[arg-type]
    blade = np.array([(6.5, -13.0), (8.6, -6.0), (9.4, -1.5)])
    bone += 0.34 * board + 1.6 * canvas.fill(ribbon(sternum, 0.55)) + 0.5 * canvas.fill(ribbon(smooth(blade, 6), 0.35))
    return canvas.blur(bone, 0.08) * np.float32(anatomy.bone)


def _aorta(canvas: Canvas, anatomy: Anatomy, changes: Changes, chest: Chest) -> Array:
    cx, cy = chest.carina
    grow = 1 + 0.35 * anatomy.aorta + 0.3 * changes.mediastinum
    arch = smooth([(cx - 2.6, cy + 2.5), (cx - 2.6, cy - 2.0), (cx + 0.2, cy - 3.6), (cx + 2.8, cy - 1.4), (cx + 3.6, cy + 4),
                   (cx + 3.4, 8.0)], 6)  # fmt: skip
    return 1.5 * grow * canvas.fill(ribbon(arch, np.linspace(1.5, 1.15, len(arch)) * grow), blur=0.15)


def _vessels(layers: Layers, anatomy: Anatomy, changes: Changes) -> None:
    canvas, chest = layers.canvas, layers.chest
    rng = np.random.default_rng(anatomy.seed + 3)
    board = np.zeros((canvas.n, canvas.n), np.uint8)
    for side in (-1, 1):
        angles = np.array([-2.5, -1.9, -1.3, -0.5, 0.3, 0.9, 1.5, 2.1, 2.7]) + rng.normal(0, 0.15, 9)
        radii = np.where(np.sin(angles) < 0, 0.22 * (1 + 0.6 * changes.cephalisation), 0.3)
        curves, widths = tree(rng, chest.hila[side], angles, 3.2 * rng.uniform(0.8, 1.15, 9), radii)
        for curve, width in zip(curves, widths, strict=True):
            pixels = 2 * width * canvas.per_cm
            canvas.stroke(board, curve, min(1.0, width / 0.4) * min(1.0, pixels), max(1, round(pixels)))
    layers.vessels = (layers.vessels + canvas.blur(board.astype(np.float32) * np.float32(0.9 / 255), 0.06)) * (
        layers.air > 0.5
    )
