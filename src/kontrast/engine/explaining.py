"""Grad-CAM of a classifier on the images that have a finding, and how well it points at the true place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack, slug
from kontrast.engine.features import to_input
from kontrast.metrics.localisation import centre_prior, iou, mean_interval, pointing_game
from kontrast.saliency.gradcam import weigh_maps

Places = Callable[[np.ndarray], np.ndarray]
"""Rows of a Pack → (n, size, size) bool: where the finding is; all False where that is not known."""


@dataclass(frozen=True)
class Sample:
    """The images on which one finding is explained.

    Attributes:
        finding: its name.
        positives: images of the split that are labelled 1.
        rows: of these, the ones used: those whose place is known first, in a random order that the seed fixes.
        scored: how many of `rows`, from the start, have a known place.
        places: gives the place, or None when the Pack knows none for this finding.
    """

    finding: str
    positives: int
    rows: np.ndarray
    scored: int
    places: Places | None


def find_places(pack: Pack, finding: str) -> Places | None:
    """Where a finding is known to be: the Pack's mask of its name, else its boxes, else None."""
    names = {slug(name): name for name in pack.mask_names}
    if slug(finding) in names:
        return partial(pack.mask, names[slug(finding)])
    if pack.boxes is None:
        return None
    boxes = pack.boxes[pack.boxes["finding"].map(slug) == slug(finding)]
    return partial(_fill_boxes, pack, boxes) if len(boxes) else None


def _fill_boxes(pack: Pack, boxes: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    filled = np.zeros((len(rows), pack.size, pack.size), dtype=bool)
    position = {name: i for i, name in enumerate(pack.table["image_id"].iloc[rows])}
    for name, x, y, width, height in boxes[["image_id", "x", "y", "width", "height"]].itertuples(index=False):
        if name in position:
            top, left, bottom, right = (max(0, round(v)) for v in (y, x, y + height, x + width))
            filled[position[name], top:bottom, left:right] = True
    return filled


def sample(pack: Pack, finding: str, rows: np.ndarray, *, images: int, limit: int, seed: int) -> Sample:
    """Choose the images on which a finding is explained.

    Only label 1 counts as positive, whatever a policy makes of -1: who asks where it is must know that it is there.

    Args:
        pack: labelled with the finding.
        finding: its name.
        rows: to choose from.
        images: how many are to be shown.
        limit: most images to score.
        seed: fixes the order.
    """
    positive = rows[pack.labels(rows)[:, pack.findings.index(finding)] == 1]
    positive = np.random.default_rng(seed).permutation(positive)
    places = find_places(pack, finding)
    known = np.zeros(len(positive), dtype=bool)
    for start in range(0, len(positive) if places else 0, 256):
        part = slice(start, start + 256)
        known[part] = places(positive[part]).any(axis=(1, 2))  # type: ignore[misc]
    scored = positive[known][:limit]
    more = positive[~known][: max(0, images - len(scored))]
    return Sample(finding, len(positive), np.concatenate([scored, more]), len(scored), places)


def map_shape(classifier: Classifier) -> tuple[int, int]:
    """Places of the map that Grad-CAM weighs, (h, w), at the classifier's own image size."""
    with torch.no_grad():
        maps = classifier.encoder.feature_maps(torch.zeros(1, 1, classifier.spec.size, classifier.spec.size))
    return maps.shape[2], maps.shape[3]


@dataclass(frozen=True)
class Explained:
    """One image explained.

    Attributes:
        row: in the Pack.
        probability: of the finding.
        heat: (size, size) float32 in [0, 1], at the Pack's size.
        place: (size, size) bool, the true place, or None.
        scores: `hit`, `iou`, `centre_hit`, `centre_iou`, `area` (of the place, as a share of the image); NaN where
            the place is not known.
    """

    row: int
    probability: float
    heat: np.ndarray
    place: np.ndarray | None
    scores: dict[str, float]


def explain_sample(
    classifier: Classifier, pack: Pack, chosen: Sample, *, threshold: float, device: torch.device, batch_size: int
) -> Iterator[Explained]:
    """Explain the images of a sample, one after the other, in its order."""
    index = classifier.findings.index(chosen.finding)
    classifier.to(device).eval()
    centre = centre_prior(pack.size, pack.size)
    for start in range(0, len(chosen.rows), batch_size):
        rows = chosen.rows[start : start + batch_size]
        with torch.no_grad():
            maps = classifier.encoder.feature_maps(to_input(pack.images(rows), classifier.spec, device))
            logits = classifier.head(classifier.encoder.pool(maps))[:, index]
        heat = weigh_maps(classifier, maps, index, (pack.size, pack.size)).cpu().numpy()
        empty = np.zeros(heat.shape, dtype=bool)
        places = chosen.places(rows) if chosen.places else empty
        guess = np.broadcast_to(centre, heat.shape)
        scores = {
            "hit": pointing_game(heat, places),
            "iou": iou(heat, places, threshold),
            "centre_hit": pointing_game(guess, places),
            "centre_iou": iou(guess, places, threshold),
            "area": np.where(places.any(axis=(1, 2)), places.mean(axis=(1, 2)), np.nan),
        }
        probabilities = logits.double().sigmoid().cpu().numpy()
        for i, row in enumerate(rows):
            yield Explained(
                row=int(row),
                probability=float(probabilities[i]),
                heat=heat[i],
                place=places[i] if places[i].any() else None,
                scores={name: float(values[i]) for name, values in scores.items()},
            )


def summarise(
    chosen: Sample, scores: pd.DataFrame, patients: np.ndarray | None, *, replicates: int, seed: int
) -> dict[str, Any]:
    """A finding's localisation, ready for JSON: counts, and each score's mean with its interval by patient.

    Args:
        chosen: the sample.
        scores: one row per image of the sample, with the columns of `Explained.scores`.
        patients: (n,) ids of the same images; None: images are resampled.
        replicates: bootstrap replicates.
        seed: of the bootstrap.
    """
    if chosen.positives == 0:
        reason = f"no image of this split is labelled with {chosen.finding}"
    elif chosen.places is None:
        reason = f"this Pack holds no mask and no box of {chosen.finding}"
    else:
        reason = "no positive image of this split has a known place"
    means = {
        name: mean_interval(scores[name], patients, replicates=replicates, seed=seed, reason=reason)
        for name in ("hit", "iou", "centre_hit", "centre_iou", "area")
    }
    return {"positives": chosen.positives, "n": chosen.scored} | means
