"""Who is X-rayed and how: the patient's build, which lasts, and the pose and exposure, which change with each image.

Lengths are in cm in the patient's frame. Population means are those of adult chest radiographs: a cardiothoracic
ratio near 0.45, the right dome of the diaphragm about 1.3 cm above the left one, the left hilum above the right one.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

View = Literal["PA", "AP", "lateral"]


@dataclass(frozen=True)
class Anatomy:
    """One patient's build; drawn once."""

    sex: str
    """`F` or `M`."""
    age: int
    """Years, at the first study."""
    width: float
    """Scale of the chest's breadth (1: inner half-breadth 13.4 cm)."""
    height: float
    """Scale of the lungs' height."""
    fat: float
    """Subcutaneous fat and habitus, 0 (thin) to 1 (very large)."""
    heart: float
    """Cardiothoracic ratio in a PA view with a healthy heart."""
    aorta: float
    """Elongation of the aorta, 0 (young) to 1."""
    breasts: float
    """Breast thickness in cm (0: none seen)."""
    kyphosis: float
    """Curvature of the spine in the lateral view, 0 to 1."""
    scoliosis: float
    """Sideways bend of the spine in cm."""
    rib_slope: float
    """Scale of the ribs' downward course."""
    parenchyma: float
    """Share of the lung's volume that is tissue, 0.2 to 0.33."""
    bone: float
    """Mineral content, 1 for a young adult."""
    seed: int
    """Of the vessel tree and of small variations."""


@dataclass(frozen=True)
class Pose:
    """One image's geometry and exposure; drawn anew for each image, from nothing that knows the findings."""

    view: View
    tilt: float
    """Rotation in the image plane, degrees."""
    yaw: float
    """Rotation of the patient about the long axis: sine of the angle."""
    zoom: float
    """Magnification on the detector."""
    shift: tuple[float, float]
    """Of the patient on the detector, cm."""
    inspiration: float
    """Shift of the diaphragm, cm; positive is a deeper breath."""
    lordosis: float
    """How far the clavicles are projected above the apices, cm."""
    arms: float
    """How far the arms are abducted, 0 (hanging) to 1 (out of the field)."""
    dose: float
    """Photons per pixel at 256 px behind nothing, in thousands."""
    scatter: float
    """Scattered share of the signal."""
    sharpness: float
    """Strength of the unsharp mask that detectors apply."""
    blur: float
    """Focal spot and motion, cm."""
    low: float
    """How far below the darkest lung black lies, as a share of the shown range."""
    high: float
    """Percentile of the signal that is shown white."""
    gamma: float
    """Exponent of the display curve."""
    equalise: float
    """Share of histogram equalisation in the displayed grey, as in CheXpert's JPEG files."""
    collimation: tuple[float, float, float, float]
    """Black margins (left, right, top, bottom) in cm."""
    marker: int
    """Which letters are on the film, and where; 0 for none."""
    bits: int = 8
    seed: int = 0
    """Of the noise."""


@dataclass
class Changes:
    """What the findings do to the anatomy before it is drawn (they work through shape, not through paint)."""

    heart: float = 1.0
    """Scale of the heart's breadth."""
    mediastinum: float = 0.0
    """Widening to each side, cm."""
    knob: float = 0.0
    """Enlargement of the aortic knob, cm."""
    dome: dict[int, float] = field(default_factory=lambda: {-1: 0.0, 1: 0.0})
    """Upward shift of the diaphragm by side (-1: patient's right, drawn on the image's left), cm."""
    pull: float = 0.0
    """Shift of mediastinum, trachea and heart towards +x, cm."""
    cephalisation: float = 0.0
    """Redistribution of blood to the upper lobes, 0 to 1."""
    hilum: float = 0.0
    """Enlargement of the hila, 0 to 1."""
    fractures: list[tuple[int, int, float, float]] = field(default_factory=list)
    """(side, rib, angle along the rib in radians, step in cm)."""


def _clip(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """One patient. Ages and the share of men (59 %) are near CheXpert's."""
    sex = "F" if rng.random() < 0.41 else "M"
    age = int(_clip(rng.normal(60, 17), 18, 90))
    female = sex == "F"
    fat = _clip(rng.beta(1.7, 2.6), 0.02, 1)
    old = (age - 18) / 72
    return Anatomy(
        sex=sex, age=age,
        width=_clip(rng.normal(0.93 if female else 1.03, 0.045), 0.82, 1.14),
        height=_clip(rng.normal(0.95 if female else 1.02, 0.05), 0.82, 1.13),
        fat=fat,
        heart=_clip(rng.normal(0.43 + 0.03 * old + 0.015 * fat, 0.018), 0.37, 0.492),
        aorta=_clip(rng.normal(old, 0.15), 0, 1),
        breasts=float(rng.uniform(1.2, 3.0) + 1.8 * fat) if female else 0.0,
        kyphosis=_clip(0.25 + 0.5 * old * rng.random() + 0.1 * rng.standard_normal(), 0, 1),
        scoliosis=float(rng.normal(0, 0.35)),
        rib_slope=_clip(rng.normal(1, 0.12), 0.7, 1.3),
        parenchyma=float(rng.uniform(0.20, 0.32)),
        bone=_clip(rng.normal(1.1 - 0.35 * old, 0.1), 0.55, 1.3),
        seed=int(rng.integers(1 << 31)),
    )  # fmt: skip


def draw_pose(rng: np.random.Generator, view: View, sick: float) -> Pose:
    """One image of a patient who is `sick` (0 to 1: how badly the pose is controlled)."""
    ap = view == "AP"
    loose = (1.0 if ap else 0.45) * (0.7 + 0.6 * sick)
    margins = np.where(rng.random(4) < 0.22, rng.uniform(0.3, 2.2, 4), 0.0)
    return Pose(
        view=view,
        tilt=float(rng.normal(0, 2.6 * loose)),
        yaw=float(rng.normal(0, 0.055 * loose)),
        zoom=_clip(rng.normal({"AP": 1.05, "PA": 1.0, "lateral": 1.1}[view], 0.045), 0.88, 1.2),
        shift=(float(rng.normal(0, 0.8 * loose)), float(rng.normal(0, 1.0 * loose))),
        inspiration=_clip(rng.normal(-1.7 if ap else 0.0, 0.9), -4.2, 1.6),
        lordosis=float(rng.normal(1.1 if ap else 0.0, 0.6)),
        arms=_clip(rng.normal(0.25 if ap else 0.75, 0.2), 0, 1),
        dose=float(np.exp(rng.normal(np.log(45 if ap else 90), 0.5))),
        scatter=float(rng.uniform(0.25, 0.6) if ap else rng.uniform(0.12, 0.35)),
        sharpness=float(rng.uniform(0.3, 1.3)),
        blur=float(rng.uniform(0.05, 0.13) + (0.04 * rng.random() if ap else 0)),
        low=float(rng.uniform(0.02, 0.3)),
        high=float(rng.uniform(96.5, 99.8)),
        gamma=float(np.exp(rng.normal(0.0, 0.2))),
        equalise=float(rng.beta(2, 2)),
        collimation=tuple(float(m) for m in margins),  # type: ignore[arg-type]
        marker=int(rng.integers(0, 6)),
        seed=int(rng.integers(1 << 31)),
    )  # fmt: skip
