"""The findings of one study put into one image: first through shape, then through paint; masks come back.

`No Finding` is not painted. Every painter is given random numbers of its own, so that leaving one finding out changes
nothing else in the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kontrast.data.phantom import devices, opacities, pleura
from kontrast.data.phantom.anatomy import Anatomy, Changes, Pose
from kontrast.data.phantom.bones import rib_index
from kontrast.data.phantom.canvas import Array, ribbon
from kontrast.data.phantom.layers import Layers
from kontrast.types import FINDINGS

PAINTED = FINDINGS[1:]
MASKS: tuple[str, ...] = ("lungs", "heart", *PAINTED)
"""The names of the bits of a mask file, lowest first."""
UNSPECIFIED = "Lung Opacity"
"""As a painted finding, the opacity that is none of its more specific children."""
OPACITIES = ("Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis")


@dataclass(frozen=True)
class Finding:
    """One finding of one study.

    Attributes:
        severity: 0 (just visible) to 1.
        u: 16 uniform numbers of the patient's, for side and place.
        seed: for texture.
    """

    severity: float
    u: Array
    seed: int


def reshape(findings: Mapping[str, Finding]) -> Changes:
    """What the findings do to the shape of the chest."""
    changes = Changes()
    for name, finding in findings.items():
        s, u = finding.severity, finding.u
        if name == "Cardiomegaly":
            changes.heart = 1.18 + 0.32 * s
        elif name == "Enlarged Cardiomediastinum":
            changes.mediastinum = 0.6 + 1.9 * s
            changes.knob = 0.3 + 0.9 * s * u[2]
        elif name == "Edema":
            changes.cephalisation, changes.hilum = 0.1 + 0.9 * s, 0.05 + 0.8 * s
        elif name == "Atelectasis":
            first = opacities.sides(u, 0.4)
            for side in first:
                changes.dome[side] += 0.3 + 1.5 * s
            if len(first) == 1:
                changes.pull += 0.9 * s * first[0]
        elif name == "Pneumothorax" and s > 0.8:
            changes.pull -= 1.6 * opacities.sides(u, 0)[0]
        elif name == "Pleural Effusion" and s > 0.75 and u[1] >= 0.45:
            changes.pull -= 0.8 * opacities.sides(u, 0)[0]
        elif name == "Fracture":
            changes.fractures = _fractures(finding)
    return changes


def _fractures(finding: Finding) -> list[tuple[int, int, float, float]]:
    u, side = finding.u, opacities.sides(finding.u, 0)[0]
    first = 3 + int(5 * u[2])
    count = 1 + int(3.2 * finding.severity * u[3] + 0.5)
    at = 0.75 + 0.7 * u[4]
    return [
        (side, min(first + k, 10), at + 0.08 * k, (0.65 + 0.7 * finding.severity) * (1 if u[5] < 0.7 else -1))
        for k in range(count)
    ]


def paint(
    layers: Layers, findings: Mapping[str, Finding], changes: Changes, anatomy: Anatomy, pose: Pose
) -> dict[str, Array]:
    """Paint what is painted and return a boolean mask (n, n) for each of MASKS."""
    supine = pose.view == "AP"
    where: dict[str, Array] = {}
    for name in PAINTED:
        finding = findings.get(name)
        if finding is None:
            continue
        rng = np.random.default_rng(finding.seed)
        s, u = finding.severity, finding.u
        if name == "Pleural Effusion":
            where[name] = pleura.effusion(layers, s, u, rng, supine)
        elif name == "Support Devices":
            where[name] = devices.devices(layers, s, u, rng, supine)
        elif name in _PAINTERS:
            where[name] = _PAINTERS[name](layers, s, u, rng)
    masks = {name: found > 0.5 for name, found in where.items()}
    masks["lungs"], masks["heart"] = layers.lungs > 0.5, layers.heart > 0.5
    if "Cardiomegaly" in findings:
        masks["Cardiomegaly"] = masks["heart"]
    if "Enlarged Cardiomediastinum" in findings:
        upper = layers.canvas.y < layers.chest.hila[1][1] + 2.5
        masks["Enlarged Cardiomediastinum"] = (layers.mediastinum > 0.5) & upper & (layers.canvas.y > layers.chest.apex)
    if "Fracture" in findings:
        masks["Fracture"] = _fracture_mask(layers, changes)
    children = [masks[name] for name in (*OPACITIES, UNSPECIFIED) if name in masks]
    if children:
        masks["Lung Opacity"] = np.logical_or.reduce(children)
    return masks


_PAINTERS = {
    "Lung Opacity": opacities.haze,
    "Lung Lesion": opacities.lesion,
    "Edema": opacities.edema,
    "Consolidation": opacities.consolidation,
    "Pneumonia": opacities.pneumonia,
    "Atelectasis": opacities.atelectasis,
    "Pneumothorax": pleura.pneumothorax,
    "Pleural Other": pleura.pleural_other,
}


def _fracture_mask(layers: Layers, changes: Changes) -> Array:
    shapes = []
    for side, rib, at, _ in changes.fractures:
        curve = layers.chest.ribs.get((side, rib))
        if curve is not None:
            index = rib_index(at)
            shapes.append(ribbon(curve[index - 2 : index + 3], 1.1))
    return layers.canvas.fill(*shapes) > 0.5 if shapes else np.zeros((layers.canvas.n,) * 2, bool)


def pack_masks(masks: Mapping[str, Array]) -> Array:
    """Boolean masks as bit planes, in the order of MASKS: uint16 (n, n)."""
    bits = None
    for bit, name in enumerate(MASKS):
        if name in masks:
            plane = masks[name].astype(np.uint16) << np.uint16(bit)
            bits = plane if bits is None else bits | plane
    assert bits is not None
    return bits
