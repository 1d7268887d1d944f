"""Findings within the lung: edema, consolidation, pneumonia, atelectasis, lesions and unspecified haze.

Each painter changes the layers and returns where it did, as a map in [0, 1]. `severity` runs from 0 (just visible)
to 1; `u` holds the patient's own uniform numbers, so that a finding stays where it was from study to study.
"""

import numpy as np

from kontrast.data.phantom.canvas import Array, ribbon, smooth
from kontrast.data.phantom.layers import Layers
from kontrast.data.phantom.vessels import tree


def sides(u: Array, both: float) -> list[int]:
    """Which lungs a finding is in: one of them, or with probability `both` both."""
    first = -1 if u[0] < 0.52 else 1
    return [-1, 1] if u[1] < both else [first]


def place(layers: Layers, side: int, across: float, down: float) -> tuple[float, float]:
    """A point of a lung: `across` 0 at the mediastinum (lateral view: front) to 1 at the wall (back), `down` 0 to 1."""
    chest, canvas = layers.chest, layers.canvas
    y = chest.apex + (chest.base - 2.5 - chest.apex) * down
    if chest.left is not None and chest.right is not None:
        front, back = (float(np.interp(y, canvas.y[:, 0], edge)) for edge in (chest.left, chest.right))
        return front + (back - front) * across, y
    wall = float(np.interp(y, canvas.y[:, 0], chest.wall))
    return side * (2.5 + (wall - 2.5) * across), y


def _soft_step(values: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def consolidation(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """Dense, lobar, with air bronchograms; the horizontal fissure bounds it where it lies in the right upper lobe."""
    canvas = layers.canvas
    lateral = layers.chest.left is not None
    side = sides(u, 0)[0]
    lower = u[2] < 0.62
    cx, cy = place(layers, side, 0.35 + 0.35 * u[3], (0.78 + 0.1 * u[4]) if lower else (0.3 + 0.15 * u[4]))
    radius = 2.0 + 2.6 * severity
    field = canvas.blob(cx, cy, radius, radius * (0.75 + 0.4 * u[5]), 0.5 * (u[6] - 0.5))
    share = _soft_step(9 * (field + 0.10 * canvas.texture(rng, 1.6) + 0.05 * canvas.texture(rng, 0.6) - 0.42))
    share = share * np.clip(6 * field - 0.4, 0, 1)
    if not lower and side < 0 and not lateral:
        share = share * _soft_step((layers.chest.hila[-1][1] + 0.4 - canvas.y) / 0.12)
    start = layers.chest.hila[side] if not lateral else (cx - 1.5, cy - 1.5)
    towards = np.arctan2(cy - start[1], cx - start[0])
    curves, widths = tree(
        rng, start, towards + np.array([-0.35, 0.0, 0.35]), np.full(3, radius * 0.75), np.full(3, 0.2)
    )
    airy = canvas.zeros()
    for curve, width in zip(curves[:21], widths[:21], strict=True):
        airy = np.maximum(airy, canvas.line(curve, 2 * width))
    share = share * (0.5 + 0.38 * severity) * (1 - 0.55 * airy)
    layers.consolidate(share)
    return share * 2.2 * layers.lungs


def pneumonia(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """Patchy: a cluster of ill-defined, mottled shadows, often in both lungs."""
    canvas = layers.canvas
    share = canvas.zeros()
    for side in sides(u, 0.35):
        for k in range(3 + int(3 * severity)):
            a, d = (
                0.25 + 0.6 * rng.random(),
                np.clip((0.72 if u[2] < 0.7 else 0.35) + 0.16 * rng.standard_normal(), 0.12, 0.95),
            )
            cx, cy = place(layers, side, a, d)
            r = (0.9 + 1.1 * rng.random()) * (0.8 + 0.6 * severity)
            share = np.maximum(share, canvas.blob(cx, cy, r, r * (0.8 + 0.5 * rng.random())) * (1 - 0.06 * k))
    mottle = 1 + 0.13 * canvas.texture(rng, 0.7) + 0.22 * canvas.texture(rng, 1.5)
    share = share * np.clip(mottle, 0.2, 1.8) * (0.24 + 0.34 * severity)
    layers.consolidate(share)
    return share * 3.2 * layers.lungs


def edema(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """Perihilar haze like a bat's wings, both sides, the periphery spared, with septal lines at the bases."""
    canvas, chest = layers.canvas, layers.chest
    haze = canvas.zeros()
    mottle = 1 + 0.13 * canvas.texture(rng, 0.8) + 0.14 * canvas.texture(rng, 2.2)
    lateral = chest.left is not None
    for side in (-1, 1) if not lateral else (1,):
        hx, hy = chest.hila[side]
        even = 0.8 + 0.4 * (u[3] if side > 0 else 1 - u[3])
        wing = canvas.blob(hx + 2.0 * side * (not lateral), hy + 1.6, 3.0 + severity, 4.2 + severity, 0.12 * side)
        low = canvas.blob(hx + 2.5 * side * (not lateral), hy + 6.5, 4.2, 4.0)
        haze = np.maximum(haze, even * np.maximum(wing, 0.55 * low))
    share = (0.04 + 0.44 * severity) * haze * mottle + 0.04 * severity
    layers.consolidate(share)
    board = np.zeros((canvas.n, canvas.n), np.uint8)
    for _ in range(int(8 + 22 * severity)):
        # Kerley's B lines: short, thin, horizontal, reaching the pleura at the bases.
        side = -1 if rng.random() < 0.5 else 1
        x, y = place(layers, side, 0.985, 0.70 + 0.3 * rng.random())
        length = 0.8 + 0.9 * rng.random()
        inward = -length * side if not lateral else -length
        canvas.stroke(board, np.array([(x, y), (x + inward, y + 0.15 * rng.standard_normal())]), 0.35 + 0.3 * severity)
    lines = board.astype(np.float32) * np.float32(1 / 255)
    layers.extra = layers.extra + 0.8 * lines * layers.lungs
    return np.maximum(share * 3.0, lines) * layers.lungs


def atelectasis(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """Plates of airless lung at the bases, or, when severe, a lower lobe collapsed behind the heart."""
    canvas, chest = layers.canvas, layers.chest
    share = canvas.zeros()
    lateral = chest.left is not None
    for side in sides(u, 0.4):
        for k in range(1 + int(1.3 * severity + 0.7 * u[4])):
            cx, cy = place(layers, side, 0.3 + 0.45 * rng.random(), 0.80 + 0.13 * rng.random() - 0.05 * k)
            length, tilt = 1.6 + 2.2 * severity * rng.random() + 1.2 * rng.random(), 0.35 * rng.standard_normal()
            t = np.linspace(-1, 1, 5)
            curve = np.stack([cx + length * t, cy + length * np.tan(0.6 * tilt) * t - 0.25 * (1 - t * t)], 1)
            width = (0.10 + 0.24 * severity) * (1.1 - 0.85 * t * t) * (0.6 + 0.8 * rng.random())
            share = np.maximum(
                share, canvas.fill(ribbon(smooth(curve, 4), np.interp(np.linspace(-1, 1, 17), t, width)), blur=0.1)
            )
        if severity > 0.55 and u[5] < 0.6 and not lateral:
            cx, cy = chest.centre[0] + (1.0 if side > 0 else -1.5), chest.base - 1.0
            wedge = np.array([(cx, cy - 9.5), (cx + side * 5.8, cy), (cx - side * 1.0, cy)])
            share = np.maximum(share, 0.9 * canvas.fill(wedge, blur=0.15))
    share = share * (0.22 + 0.36 * severity) * (0.6 if lateral else 1.0)
    layers.consolidate(share)
    # Less air below the raised dome crowds the vessels: a faint veil around the plates.
    layers.consolidate(0.3 * severity * canvas.blur(share, 1.0))
    return share * 3 * np.maximum(layers.lungs, layers.heart * (severity > 0.55))


def lesion(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """A nodule or mass (a ball of tissue, its edge lobulated or spiculated), at times several."""
    canvas = layers.canvas
    lateral = layers.chest.left is not None
    count = 1 if u[2] < 0.7 else 2 + int(4 * u[3])
    where = canvas.zeros()
    for k in range(count):
        side = sides(rng.random(2) if k else u, 0)[0]
        radius = (0.55 + 1.9 * severity**1.5) * (1.0 if k == 0 else 0.4 + 0.4 * rng.random())
        cx, cy = place(
            layers,
            side,
            0.22 + 0.6 * (u[4] if k == 0 else rng.random()),
            0.15 + 0.65 * (u[5] if k == 0 else rng.random()),
        )
        if lateral:
            cx, _ = place(layers, side, 0.2 + 0.6 * (u[6] if k == 0 else rng.random()), 0.5)
        wobble = 1 + 0.22 * canvas.texture(rng, max(0.9 * radius, 0.5))
        ball = np.maximum(canvas.disc(cx, cy, radius, radius * (0.85 + 0.3 * rng.random())) * 1.0, 0) * wobble
        chord = 2 * radius * np.sqrt(np.clip(ball, 0, 1))
        if u[7] < 0.4 and radius > 0.8:
            for angle in rng.uniform(0, 2 * np.pi, 11):
                tip = radius * rng.uniform(1.25, 1.7)
                spike = np.array([(cx, cy), (cx + tip * np.cos(angle), cy + tip * np.sin(angle))])
                chord = np.maximum(chord, 0.5 * canvas.line(spike, 0.12))
        layers.extra = layers.extra + canvas.blur(chord, 0.07) * 1.1 * (layers.air > 0.6)
        where = np.maximum(where, chord * 2)
    return where


def haze(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """An opacity that no more specific word fits: a vague veil over one zone."""
    canvas = layers.canvas
    side = sides(u, 0)[0]
    cx, cy = place(layers, side, 0.3 + 0.5 * u[2], 0.25 + 0.6 * u[3])
    veil = canvas.blob(cx, cy, 2.4 + 1.5 * u[4], 2.6 + 1.8 * u[5]) * (1 + 0.2 * canvas.texture(rng, 1.4))
    share = (0.2 + 0.3 * severity) * veil
    layers.consolidate(share)
    return share * 3.5 * layers.lungs
