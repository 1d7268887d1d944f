"""What a drawn chest consists of: maps of how much of each material every ray passes, and the shapes they came from."""

from dataclasses import dataclass, field

import numpy as np

from kontrast.data.phantom.canvas import Array, Canvas


@dataclass
class Chest:
    """The shapes that findings refer to, in cm.

    Attributes:
        wall: inner half-breadth of the chest for each row, (n,).
        dome: height of the diaphragm for each column, (n,).
        angle: for each side, the costophrenic angle (x, y).
        apex: y of the lungs' top.
        base: y of the lungs' lowest point.
        centre: of the heart.
        carina: where the trachea divides.
        hila: for each side, (x, y).
        ribs: for each (side, rib), its curve (k, 2) from back to front.
        left, right: in the lateral view, front and back of the lung for each row; frontal: None.
    """

    wall: Array
    dome: Array
    angle: dict[int, tuple[float, float]]
    apex: float
    base: float
    centre: tuple[float, float]
    carina: tuple[float, float]
    hila: dict[int, tuple[float, float]]
    ribs: dict[tuple[int, int], Array] = field(default_factory=dict)
    left: Array | None = None
    right: Array | None = None


@dataclass
class Layers:
    """Maps (n, n) float32 along each ray.

    Attributes:
        body: path through the body's outline, cm.
        air: path through lung, cm (before its own tissue is counted).
        airways: path through trachea and bronchi, and gas in the stomach, cm.
        bone: path through bone, cm of solid bone.
        vessels: path through lung vessels, cm.
        dense: share of the lung's air that a finding replaced, 0 to 1.
        empty: share of the lung's path that is free gas (pneumothorax), 0 to 1; vessels are gone from half on.
        extra: soft tissue or fluid that findings add on top, cm.
        metal: attenuation of devices, in nepers.
        lung: silhouette of the lungs, 0 to 1, each side by its sign (lateral: 1 only).
        heart: silhouette of the heart, 0 to 1.
        mediastinum: silhouette of the upper mediastinum, 0 to 1.
    """

    canvas: Canvas
    chest: Chest
    body: Array
    air: Array
    airways: Array
    bone: Array
    vessels: Array
    dense: Array
    empty: Array
    extra: Array
    metal: Array
    lung: dict[int, Array]
    heart: Array
    mediastinum: Array

    @property
    def lungs(self) -> Array:
        """Both silhouettes together."""
        first, *rest = self.lung.values()
        return np.maximum(first, rest[0]) if rest else first

    def consolidate(self, share: Array) -> None:
        """Replace `share` (0 to 1) of the remaining air by tissue or fluid."""
        self.dense = 1 - (1 - self.dense) * (1 - np.clip(share, 0, 1))
