"""Findings of the pleura: effusion, pneumothorax, thickening and plaques."""

import numpy as np

from kontrast.data.phantom.canvas import Array, ribbon, smooth
from kontrast.data.phantom.layers import Layers
from kontrast.data.phantom.opacities import sides


def _below(layers: Layers, curve: Array, soft: float) -> Array:
    """1 below a curve given for each column, (n,), with an edge `soft` cm wide."""
    return np.clip((layers.canvas.y - curve[None, :]) / soft + 0.5, 0, 1)


def effusion(layers: Layers, severity: float, u: Array, rng: np.random.Generator, supine: bool) -> Array:
    """Fluid: it blunts the costophrenic angle and rises along the wall (meniscus); lying down it veils the lung."""
    canvas, chest = layers.canvas, layers.chest
    if chest.left is not None and chest.right is not None:
        return _effusion_lateral(layers, severity, u)
    total = canvas.zeros()
    for order, side in enumerate(sides(u, 0.45)):
        amount = severity * (1.0 if order == 0 else 0.45 + 0.5 * u[4])
        ax, ay = chest.angle[side]
        level = ay - 0.9 - 9.5 * amount**1.6
        reach = np.clip(side * canvas.x[0] / abs(ax), 0, 1.05)
        # Capillarity and the lung's recoil draw the fluid up at the wall: flat medially, steep laterally.
        dip = 1.9 + 1.4 * amount
        top = level + dip * (1 - reach ** (3.5 + 2 * u[5])) + 0.5 * (1 - reach)
        edge = np.clip(side * canvas.x - 1.4, 0, 1)
        fluid = _below(layers, top.astype(np.float32), 0.5) * edge
        if supine and u[6] < 0.45:
            veil = np.clip((canvas.y - (chest.apex + 5)) / (chest.base - chest.apex), 0, 1) * (0.10 + 0.40 * amount)
            fluid = np.maximum(0.92 * _below(layers, (top + 2.2).astype(np.float32), 0.9), veil) * edge
        total = np.maximum(total, fluid)
    layers.consolidate(0.97 * total)
    return total * 3 * (layers.air > 0.4)


def _effusion_lateral(layers: Layers, severity: float, u: Array) -> Array:
    canvas, chest = layers.canvas, layers.chest
    front, back = float(chest.left[-1 - canvas.n // 4]), float(chest.right[-1 - canvas.n // 4])  # type: ignore[index]
    level = chest.base - 0.8 - 7.5 * severity**1.5
    across = np.clip((canvas.x[0] - front) / (back - front), 0, 1)
    top = level + 3.2 * (1 - np.abs(2 * across - 1) ** 3) * (0.4 + 0.6 * severity) + 2.2 * (1 - across)
    fluid = _below(layers, top.astype(np.float32), 0.4)
    share = (0.95 if u[1] < 0.45 else 0.55) * fluid
    layers.consolidate(share)
    return fluid * 3 * (layers.air > 0.4)


def pneumothorax(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """Free air between lung and wall: a thin white pleural edge, and no vessel beyond it."""
    canvas, chest = layers.canvas, layers.chest
    if chest.left is not None and chest.right is not None:
        return _pneumothorax_lateral(layers, severity, rng)
    side = sides(u, 0)[0]
    apical = 1.3 + 4.5 * severity
    lateral = 0.35 + 3.6 * severity**1.3
    base = 0.15 + (2.5 * severity if u[3] < 0.4 else 0.4 * severity)
    rows = np.linspace(chest.apex + apical, chest.base + 0.5, 14)
    share = np.linspace(0, 1, 14)
    gap = lateral * (1 - share) ** 0.5 + base * share + 0.12 * rng.standard_normal(14)
    wall = np.interp(rows, canvas.y[:, 0], chest.wall) - gap
    shoulder = np.clip(share / 0.28, 0, 1)
    wall = 2.6 + (wall - 2.6) * np.sqrt(1 - (1 - shoulder) ** 2)
    edge = smooth(np.stack([side * wall, rows], 1), 4)
    closed = np.vstack([edge, [(0, chest.base + 6), (0, rows[0])]])
    lung = canvas.fill(closed)
    free = (1 - lung) * layers.lung[side]
    # Free air lies around the lung, so a frontal ray crosses it in front of and behind what is left of the lung too.
    layers.empty = np.maximum(layers.empty, (0.55 + 0.3 * severity) * free)
    layers.extra = layers.extra + 0.55 * canvas.blur(canvas.line(edge, 0.14), 0.04) * layers.lung[side]
    # The lung that is left holds the same tissue in less room.
    layers.consolidate((0.04 + 0.16 * severity) * lung * layers.lung[side])
    return free


def _pneumothorax_lateral(layers: Layers, severity: float, rng: np.random.Generator) -> Array:
    canvas, chest = layers.canvas, layers.chest
    gap = 0.8 + 2.2 * severity
    xs = np.linspace(-12, 12, 9)
    edge = smooth(np.stack([xs, chest.apex + gap + 0.035 * (xs - 1) ** 2 + 0.1 * rng.standard_normal(9)], 1), 4)
    top = np.interp(canvas.x[0], edge[:, 0], edge[:, 1]).astype(np.float32)
    free = (1 - _below(layers, top, 0.1)) * layers.lung[1]
    layers.empty = np.maximum(layers.empty, 0.5 * free)
    layers.extra = layers.extra + 0.45 * canvas.line(edge, 0.14) * layers.lung[1]
    return free


def pleural_other(layers: Layers, severity: float, u: Array, rng: np.random.Generator) -> Array:
    """Thickened pleura along the wall or over the apex; calcified plaques, white and map-like."""
    canvas, chest = layers.canvas, layers.chest
    total = canvas.zeros()
    lateral = chest.left is not None
    rows = np.linspace(chest.apex + 0.6, chest.base - 0.6, 24)
    height = np.linspace(0, 1, 24)
    for side in sides(u, 0.35) if not lateral else (1,):
        source = chest.right if lateral else chest.wall
        wall = np.interp(rows, canvas.y[:, 0], source) * (1 if lateral else side)  # type: ignore[arg-type]
        centre = 0.0 if u[2] < 0.35 else 0.45 + 0.5 * u[3]
        band = np.exp(-(((height - centre) / (0.10 + 0.16 * severity)) ** 2)) * (0.5 + 0.8 * severity)
        band = band * np.clip(1 + 0.35 * rng.standard_normal(24), 0.4, 1.7) + 0.02
        shape = ribbon(smooth(np.stack([wall, rows], 1), 2), np.interp(np.linspace(0, 1, 47), height, band))
        thick = canvas.fill(shape, blur=0.08) * (canvas.y > chest.apex) * layers.lungs
        total = np.maximum(total, thick)
        if u[4] < 0.6:
            x = (0.45 + 0.4 * u[6]) * float(wall[14])
            y = chest.apex + (0.35 + 0.4 * u[5]) * (chest.base - chest.apex)
            grain = canvas.texture(rng, 0.9) + 0.7 * canvas.texture(rng, 0.45)
            spot = canvas.blob(x, y, 0.9 + 1.1 * severity, 0.6 + 0.6 * severity, 0.6)
            plaque = (spot > 0.45 + 0.12 * grain) & (spot > 0.15)
            flakes = canvas.blur(plaque.astype(np.float32), 0.06) * layers.lungs
            layers.bone = layers.bone + (0.2 + 0.35 * severity) * flakes * np.clip(1 + 0.3 * grain, 0.4, 1.6)
            total = np.maximum(total, flakes)
    layers.extra = layers.extra + (2.6 + 2.4 * severity) * np.minimum(total, 1) * (layers.air > 0.3)
    return total * 2
