"""What a Classifier still tells when the part of the image that should matter is gone, or its edges are.

A score that stays high without the lungs, or falls without the borders (markers, letters, the machine's frame), rests
on something else than the lungs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine.features import predict
from kontrast.metrics.evaluation import repeated_auroc
from kontrast.metrics.intervals import paired_difference

BORDER = 0.1
"""Share of the picture's height and width that is taken from each of its sides."""

WITHOUT_LUNGS, WITHOUT_BORDERS = "lungs masked out", "borders cropped"


def without_borders(images: np.ndarray) -> np.ndarray:
    """Images (n, H, W) whose outer tenth is black, counted within the picture, not within its padding."""
    out = np.zeros_like(images)
    for image, kept in zip(images, out, strict=True):
        inside = []
        for axis in (1, 0):
            held = np.flatnonzero(image.any(axis=axis))
            if not len(held):
                break
            first, last = held[0], held[-1] + 1
            cut = round(BORDER * (last - first))
            inside.append(slice(first + cut, last - cut))
        else:
            kept[tuple(inside)] = image[tuple(inside)]
    return out


def without(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Images (n, H, W) with the mean grey of the rest where the masks (n, H, W) are; the outline can still be seen."""
    out = images.copy()
    for image, mask in zip(out, masks, strict=True):
        rest = image[~mask & (image > 0)]  # padding is no part of the picture
        image[mask] = rest.mean().round() if len(rest) else 0
    return out


def lung_masks(pack: Pack) -> tuple[str, ...]:
    """The names of a Pack's masks that are of lungs: `lungs`, `Left lung`; not `Lung Opacity`, which is a finding."""
    words = {name: name.lower().replace("_", " ").split() for name in pack.mask_names}
    return tuple(name for name, parts in words.items() if "lungs" in parts or parts[-1:] == ["lung"])


def lungs(pack: Pack, rows: np.ndarray) -> np.ndarray:
    """Where the lungs are, by all masks of lungs: (n, H, W) bool."""
    found = np.zeros((len(rows), pack.size, pack.size), dtype=bool)
    for name in lung_masks(pack):
        found |= pack.mask(name, rows)
    return found


def score_alterations(
    classifier: Classifier,
    pack: Pack,
    rows: np.ndarray,
    truth: np.ndarray,
    probabilities: np.ndarray,
    device: torch.device,
    batch_size: int = 256,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """AUROC of the same images as they are and altered, and the paired difference.

    Args:
        classifier: predicts.
        pack: whose images.
        rows: which, (n,).
        truth: (n, F) targets of the classifier's findings, NaN = ignored.
        probabilities: (n, F) of the images as they are.
        device: where to predict.
        batch_size: images at a time.
        options: `replicates` and `seed` of the intervals.

    Returns:
        By alteration `n` (images), `intact` and `altered` (macro AUROC over the findings defined, with intervals),
        `difference` (altered less intact) and `interval` (what was resampled how often); or a `reason`.
    """
    masked = np.array([], dtype=np.int64)
    if lung_masks(pack):
        parts = [lungs(pack, rows[i : i + batch_size]).any(axis=(1, 2)) for i in range(0, len(rows), batch_size)]
        masked = np.flatnonzero(np.concatenate(parts))
    chosen = {WITHOUT_LUNGS: masked, WITHOUT_BORDERS: np.arange(len(rows))}
    changes = {
        WITHOUT_LUNGS: lambda images, part: without(images, lungs(pack, part)),
        WITHOUT_BORDERS: lambda images, part: without_borders(images),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, places in chosen.items():
        if not len(places):
            found[name] = {"reason": "the Pack has no masks of lungs for these images"}
            continue
        other = predict(classifier, pack, rows[places], device, batch_size, change=changes[name])
        people = list(pack.table["patient_id"].iloc[rows[places]]) if pack.patients_known else None
        found[name] = _compared(truth[places], probabilities[places], other, classifier.findings, people, options)
    return found


def _compared(
    truth: np.ndarray,
    intact: np.ndarray,
    altered: np.ndarray,
    findings: Sequence[str],
    people: Sequence[str] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    scores = [repeated_auroc(truth, [p], findings, patients=people, **options)["macro"] for p in (intact, altered)]
    difference = paired_difference(truth, altered, intact, people, **options)
    how = {"level": 0.95, "resampled": "rows" if people is None else "patients"} | dict(options)
    return {"n": len(truth), "intact": scores[0], "altered": scores[1], "difference": difference, "interval": how}
