"""Support devices: tubes, lines, pacemakers, wires and electrodes, in the combinations in which they come."""

import numpy as np

from kontrast.data.phantom.canvas import Array, ribbon, smooth
from kontrast.data.phantom.layers import Layers


class Kit:
    """Collects radio-opaque things, then draws them onto one map, the faintest first."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.canvas = layers, layers.canvas
        self._strokes: list[tuple[float, Array, float]] = []
        self._plates: list[tuple[float, Array]] = []

    def wire(self, points: list[tuple[float, float]], width: float, opacity: float, closed: bool = False) -> None:
        """A line `width` cm thick whose attenuation at its centre is `opacity` nepers."""
        curve = smooth(points, 8)
        self._strokes.append((opacity, np.vstack([curve, curve[:1]]) if closed else curve, width))

    def tube(self, points: list[tuple[float, float]], width: float, opacity: float) -> None:
        """A hollow tube: two walls and a radio-opaque stripe."""
        curve = smooth(points, 8)
        self._plates.append((0.55 * opacity, ribbon(curve, width / 2)))
        self._plates.append((0.25 * opacity, ribbon(curve, width / 2 - 0.14)))
        self._strokes.append((opacity, curve + np.array([0.15 * width, 0]), 0.12))

    def solid(self, outline: Array, opacity: float) -> None:
        """A flat thing of even density with a denser rim."""
        self._plates.append((0.75 * opacity, outline))
        self._strokes.append((opacity, np.vstack([outline, outline[:1]]), 0.15))

    def draw(self) -> tuple[Array, Array]:
        """The attenuation in nepers, and where anything is as a map in [0, 1]."""
        metal = self.canvas.zeros()
        if self._plates:
            shapes = [shape for _, shape in self._plates]
            metal = 3 * self.canvas.fill(*shapes, values=[min(o / 3, 1) for o, _ in self._plates])
        board = np.zeros((self.canvas.n, self.canvas.n), np.uint8)
        for opacity, curve, width in sorted(self._strokes, key=lambda stroke: stroke[0]):
            pixels = width * self.canvas.per_cm
            self.canvas.stroke(board, curve, opacity / 3 * min(pixels, 1.0), max(1, round(pixels)))
        metal = np.maximum(metal, board.astype(np.float32) * np.float32(3 / 255))
        return metal, (metal > 0.05).astype(np.float32)


def devices(layers: Layers, severity: float, u: Array, rng: np.random.Generator, supine: bool) -> Array:
    """The devices of one patient; what is inserted depends on how ill the patient is (`severity`) and on chance."""
    kit = Kit(layers)
    if layers.chest.left is not None:
        _lateral(kit, u, rng)
    else:
        _frontal(kit, severity, u, rng, supine)
    metal, where = kit.draw()
    layers.metal = np.maximum(layers.metal, layers.canvas.blur(metal, 0.04))
    return where


def _frontal(kit: Kit, severity: float, u: Array, rng: np.random.Generator, supine: bool) -> None:
    chance = [0.55 * severity + 0.05, 0.55, 0.22, 0.22, 0.18 + 0.3 * severity * supine, 0.12 + 0.15 * severity,
              0.35 + 0.3 * supine]  # fmt: skip
    chosen = [bool(a < b) for a, b in zip(u[2:9], chance, strict=True)]
    if not any(chosen[:6]):
        chosen[1 if u[9] < 0.6 else 2] = True
    if chosen[6]:
        _electrodes(kit, rng)
    if chosen[0]:
        _intubation(kit, u, rng)
    if chosen[1]:
        _central_line(kit, u, rng)
    if chosen[2]:
        _pacemaker(kit, u, rng)
    if chosen[3]:
        _sternal_wires(kit, rng)
    if chosen[4] and not chosen[0]:
        _feeding_tube(kit, rng)
    if chosen[5]:
        _chest_tube(kit, u, rng)


def _intubation(kit: Kit, u: Array, rng: np.random.Generator) -> None:
    cx, cy = kit.layers.chest.carina
    tip = cy - 1.5 - 3.0 * u[10]
    kit.tube([(0.3, -22), (0.15 + 0.2 * rng.standard_normal(), -16), (cx - 0.05, tip)], 1.0, 0.55)
    _feeding_tube(kit, rng)


def _feeding_tube(kit: Kit, rng: np.random.Generator) -> None:
    chest = kit.layers.chest
    y = float(np.interp(5, kit.canvas.x[0], chest.dome))
    kit.wire([(-0.3, -22), (-0.5, -14), (0.5, chest.carina[1]), (0.7, 2), (1.6, y - 0.5), (4.5, y + 2.5),
              (6.0 + rng.standard_normal(), y + 5.0)], 0.3, 0.5)  # fmt: skip


def _central_line(kit: Kit, u: Array, rng: np.random.Generator) -> None:
    cx, cy = kit.layers.chest.carina
    end = (cx - 2.2, cy + 1.5 + 3.0 * u[11])
    jitter = 0.3 * rng.standard_normal()
    if u[9] < 0.45:  # internal jugular
        points = [(-4.0, -22), (-3.2 + jitter, -16.5), (-2.3, -11.5), (-2.3, -7), end]
    elif u[9] < 0.7:  # PICC from the arm
        side = -1 if u[12] < 0.5 else 1
        points = [
            (side * 21.0, -4.0),
            (side * 16.5, -9.0),
            (side * 11, -11.0 + jitter),
            (side * 5, -10.4),
            (-1.0, -8.6),
            end,
        ]
    else:  # subclavian, with a port in four of ten
        side = -1 if u[12] < 0.6 else 1
        points = [(side * 8.5, -7.0), (side * 8.8, -10.0), (side * 5.5, -10.9 + jitter), (side * 1.5 - 0.5, -9.2), end]
        if u[13] < 0.4:
            t = np.linspace(0, 2 * np.pi, 24)
            kit.solid(np.stack([side * 8.5 + 1.25 * np.cos(t), -6.4 + 1.25 * np.sin(t)], 1), 0.9)
    kit.wire(points, 0.24, 0.55)


def _pacemaker(kit: Kit, u: Array, rng: np.random.Generator) -> None:
    side = 1 if u[10] < 0.85 else -1
    cx, cy = side * (9.3 + 0.8 * u[11]), -8.3 + 1.2 * rng.standard_normal()
    t = np.linspace(0, 2 * np.pi, 40)
    box = np.stack(
        [np.sign(np.cos(t)) * np.abs(np.cos(t)) ** 0.6 * 2.3, np.sign(np.sin(t)) * np.abs(np.sin(t)) ** 0.6 * 2.0], 1
    )
    kit.solid(box + np.array([cx, cy]), 2.6)
    hx, hy = kit.layers.chest.centre
    header = (cx - side * 0.5, cy - 1.8)
    vein = [header, (side * 6.2, -11.4), (side * 2.6, -10.4), (-1.6, -8.6), (-2.4, -4)]
    kit.wire([*vein, (hx - 4.2, hy - 2.0), (hx - 2.2, hy + 3.2), (hx + 3.2, hy + 3.6)], 0.2, 1.0)
    kit.wire([(hx + 2.8, hy + 3.55), (hx + 3.4, hy + 3.65)], 0.34, 1.6)
    if u[12] < 0.75:
        kit.wire([*vein, (hx - 4.6, hy + 1.0), (hx - 3.6, hy + 0.2), (hx - 3.2, hy - 1.4)], 0.2, 1.0)
    if u[12] < 0.3:  # defibrillator coil
        kit.wire([(hx - 1.2, hy + 3.3), (hx + 1.0, hy + 3.6), (hx + 2.6, hy + 3.6)], 0.45, 1.3)


def _sternal_wires(kit: Kit, rng: np.random.Generator) -> None:
    t = np.linspace(0, 2 * np.pi, 14)
    for k in range(6):
        cx, cy = (
            0.25 * rng.standard_normal() + kit.layers.chest.carina[0] * 0.8,
            -7.5 + 2.6 * k + 0.2 * rng.standard_normal(),
        )
        a = 0.35 * rng.standard_normal()
        loop = np.stack([0.8 * np.cos(t), 0.42 * np.sin(t)], 1) @ np.array(
            [(np.cos(a), np.sin(a)), (-np.sin(a), np.cos(a))]
        )
        kit.wire([(float(p[0]) + cx, float(p[1]) + cy) for p in loop], 0.1, 1.1)
        kit.wire([(cx + 0.1, cy + 0.4), (cx + 0.4, cy + 0.8)], 0.13, 1.2)


def _chest_tube(kit: Kit, u: Array, rng: np.random.Generator) -> None:
    side = -1 if u[0] < 0.52 else 1
    y = 5.5 + rng.standard_normal()
    wall = float(np.interp(y, kit.canvas.y[:, 0], kit.layers.chest.wall))
    up = -9.5 + 3 * u[11]
    kit.tube([(side * (wall + 7), y + 4), (side * (wall + 0.5), y), (side * (wall - 3), y - 3.5),
              (side * (0.62 * wall), up + 4), (side * 0.45 * wall, up)], 0.8, 0.55)  # fmt: skip


def _electrodes(kit: Kit, rng: np.random.Generator) -> None:
    t = np.linspace(0, 2 * np.pi, 20)
    for x, y in ((-10, -9.5), (10.5, -9.0), (9.5, 8.5), (-8.5, 9.5))[: rng.integers(2, 5)]:
        cx, cy = x + 1.5 * rng.standard_normal(), y + 1.5 * rng.standard_normal()
        kit.solid(np.stack([cx + 0.55 * np.cos(t), cy + 0.55 * np.sin(t)], 1), 0.8)
        out = (22.0 if x > 0 else -22.0, cy + rng.uniform(-3, 9))
        mid = (0.5 * (cx + out[0]), 0.5 * (cy + out[1]) + 1.5 * rng.standard_normal())
        kit.wire([(cx, cy), mid, out], 0.16, 0.5)


def _lateral(kit: Kit, u: Array, rng: np.random.Generator) -> None:
    """Seen from the side: lines along trachea and great veins, wires behind the sternum, a box on the chest wall."""
    chest = kit.layers.chest
    cx, cy = chest.carina
    hx, hy = chest.centre
    assert chest.left is not None
    if u[5] < 0.22:
        front = np.interp(np.linspace(-6, 7, 6), kit.canvas.y[:, 0], chest.left)
        for x, y in zip(front, np.linspace(-6, 7, 6), strict=True):
            kit.wire([(x - 1.0, y - 0.3), (x - 0.3, y + 0.35 * rng.standard_normal())], 0.16, 1.3)
    if u[4] < 0.22:
        at = np.array([float(chest.left.min()) + 1.6, -6.0])
        box = at + np.array([(-1.0, -1.9), (-0.2, -2.1), (0.2, 1.7), (-0.7, 1.9)])
        kit.solid(box, 2.4)
        kit.wire([(box[0, 0], -8), (cx - 2.5, -11), (cx - 2.0, cy), (hx + 0.5, hy), (hx - 3.2, hy + 3.0)], 0.2, 1.0)
    elif u[3] < 0.55 or u[5] >= 0.22:
        kit.wire([(cx - 1.5, -22), (cx - 2.2, -13), (cx - 1.9, cy + 2.0 + 2 * u[11])], 0.24, 0.55)
    if u[8] < 0.5:
        _electrodes(kit, rng)
