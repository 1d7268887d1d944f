"""Heat maps of a classifier on the images that have a finding, and how well they point at the true place."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack, slug
from kontrast.engine.features import to_input
from kontrast.metrics.localisation import (
    THRESHOLDS,
    best_threshold,
    centre_prior,
    iou,
    ious,
    mean_interval,
    pointing_game,
)
from kontrast.saliency.maps import make_maps

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


FIXED, FEWEST = 0.5, 5
"""Share of a map's maximum that marks the region where none can be tuned, and images of val that tuning takes."""

PRIORS = {"centre": "the centre of every image", "usual": "where the finding usually is: the mean place in train"}
"""What maps must beat: places that know nothing of the image."""


@dataclass(frozen=True)
class Rule:
    """How the maps of a finding are scored, fixed before the images to score are looked at.

    Attributes:
        threshold: share of a map's maximum from which on it counts as the marked region, for IoU.
        about: of `threshold`, for the card: how it was chosen, on how many images, and its IoU there.
        priors: name in PRIORS → (size, size) map and its own threshold.
    """

    threshold: float
    about: Mapping[str, Any] = field(default_factory=dict)
    priors: Mapping[str, tuple[np.ndarray, float]] = field(default_factory=dict)


def fix_rule(
    classifier: Classifier, pack: Pack, finding: str, *, threshold: float | None, kind: str, limit: int, seed: int,
    device: torch.device, batch_size: int,
) -> Rule:  # fmt: skip
    """The rule of a finding: thresholds tuned on the positive images of val whose place is known, priors from train.

    Each prior's threshold is tuned likewise, so that maps are not compared with a handicapped guess.

    Args:
        classifier: whose maps.
        pack: with the places.
        finding: its name.
        threshold: a fixed one in (0, 1]; None tunes it.
        kind: of maps.
        limit: most images of a split that are looked at.
        seed: draws these.
        device: where to compute.
        batch_size: images at a time.
    """
    maps = {"centre": centre_prior(pack.size, pack.size)}
    learnt = sample(pack, finding, pack.rows("train"), images=0, limit=limit, seed=seed)
    if learnt.scored and learnt.places:
        parts = (learnt.rows[i : i + 256] for i in range(0, learnt.scored, 256))
        maps["usual"] = sum(learnt.places(rows).sum(axis=0, dtype=np.float64) for rows in parts) / learnt.scored
    if threshold is not None:
        return Rule(threshold, {"value": threshold, "chosen": "as asked"}, {n: (m, threshold) for n, m in maps.items()})
    tuning = sample(pack, finding, pack.rows("val"), images=0, limit=limit, seed=seed)
    if tuning.scored < FEWEST:
        why = f"since fewer than {FEWEST} images of val have a known place"
        about = {"value": FIXED, "chosen": why, "n": tuning.scored}
        return Rule(FIXED, about, {name: (prior, FIXED) for name, prior in maps.items()})
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("heat", *maps)}
    for start in range(0, len(tuning.rows), batch_size):
        rows = tuning.rows[start : start + batch_size]
        heat, _ = maps_of(classifier, pack, finding, rows, kind, device)
        places = tuning.places(rows)  # type: ignore[misc]  # some are known
        found["heat"].append(ious(heat, places))
        for name, prior in maps.items():
            found[name].append(ious(np.broadcast_to(prior, heat.shape), places))
    tables = {name: np.concatenate(parts) for name, parts in found.items()}
    best = {name: best_threshold(table) or FIXED for name, table in tables.items()}
    at = tables["heat"][:, THRESHOLDS.index(best["heat"])]
    about = {"value": best["heat"], "chosen": "on val", "n": len(at), "iou": float(at.mean())}
    return Rule(best["heat"], about, {name: (prior, best[name]) for name, prior in maps.items()})


def maps_of(
    classifier: Classifier, pack: Pack, finding: str, rows: np.ndarray, kind: str, device: torch.device,
    size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Maps of one finding, (n, size, size), of the Pack's size when left out, and calibrated probabilities, (n,)."""
    index = classifier.findings.index(finding)
    classifier.to(device).eval()
    x = to_input(pack.images(rows), classifier.spec, device)
    heat, logits = make_maps(classifier, x, index, size or pack.size, kind)
    probabilities = classifier.calibrated(logits.double().sigmoid().cpu().numpy())
    return heat.cpu().numpy(), probabilities[:, index]


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
        probability: of the finding, calibrated as an evaluation's are.
        heat: (size, size) float32 in [0, 1], at the Pack's size.
        place: (size, size) bool, the true place, or None.
        scores: `hit`, `iou`, for each prior `NAME_hit` and `NAME_iou`, and `area` (of the place, as a share of the
            image); NaN where the place is not known.
    """

    row: int
    probability: float
    heat: np.ndarray
    place: np.ndarray | None
    scores: dict[str, float]

    @property
    def empty(self) -> bool:
        """Whether the map is 0 everywhere: no place raises the output, or its gradient is 0."""
        return not self.heat.any()


def explain_sample(
    classifier: Classifier, pack: Pack, chosen: Sample, *, rule: Rule, device: torch.device, batch_size: int,
    kind: str = "gradcam",
) -> Iterator[Explained]:  # fmt: skip
    """Explain the images of a sample, one after the other, in its order."""
    for start in range(0, len(chosen.rows), batch_size):
        rows = chosen.rows[start : start + batch_size]
        heat, probabilities = maps_of(classifier, pack, chosen.finding, rows, kind, device)
        places = chosen.places(rows) if chosen.places else np.zeros(heat.shape, dtype=bool)
        scores = {"hit": pointing_game(heat, places), "iou": iou(heat, places, rule.threshold)}
        for name, (prior, threshold) in rule.priors.items():
            guess = np.broadcast_to(prior, heat.shape)
            scores |= {f"{name}_hit": pointing_game(guess, places), f"{name}_iou": iou(guess, places, threshold)}
        scores["area"] = np.where(places.any(axis=(1, 2)), places.mean(axis=(1, 2)), np.nan)
        for i, row in enumerate(rows):
            yield Explained(
                row=int(row),
                probability=float(probabilities[i]),
                heat=heat[i],
                place=places[i] if places[i].any() else None,
                scores={name: float(values[i]) for name, values in scores.items()},
            )


def summarise(
    chosen: Sample,
    scores: pd.DataFrame,
    patients: np.ndarray | None,
    *,
    cutoff: float | None,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """A finding's localisation, ready for JSON: counts (`patients` are those of the `n` images with a known place, None
    where they are not known), and each score's mean with its interval by patient.

    Beside all positive images with a known place stand the true positives, those that the classifier calls positive
    (CheXlocalize's slice): asking where something is only makes sense where it was seen.

    Args:
        chosen: the sample.
        scores: one row per image of the sample: `prob` and the columns of `Explained.scores`.
        patients: (n,) ids of the same images; None: images are resampled.
        cutoff: the classifier's threshold of the finding; None where it has none.
        replicates: bootstrap replicates.
        seed: of the bootstrap.
    """
    if chosen.positives == 0:
        reason = f"no image of this split is labelled with {chosen.finding}"
    elif chosen.places is None:
        reason = f"this Pack holds no mask and no box of {chosen.finding}"
    else:
        reason = "no positive image of this split has a known place"

    def mean(values: pd.Series, rows: np.ndarray, why: str = reason) -> dict[str, Any]:
        whose = None if patients is None else patients[rows]
        return mean_interval(values[rows], whose, replicates=replicates, seed=seed, reason=why)

    every = np.ones(len(scores), dtype=bool)
    names = [name for name in scores.columns if name != "prob" and name not in ("finding", "image_id")]
    found = {name: mean(scores[name], every) for name in names}
    for prior in PRIORS:
        if f"{prior}_hit" in scores:  # on the same images, so the difference is paired
            found[f"hit_over_{prior}"] = mean(scores["hit"] - scores[f"{prior}_hit"], every)
    if cutoff is None:
        called, why = ~every, "the classifier has no threshold for this finding"
    else:
        called, why = (scores["prob"] >= cutoff).to_numpy(bool), reason if found["hit"]["value"] is None else ""
    why = why or "the classifier calls none of these images positive"
    seen = {name: mean(scores[name], called, why) for name in ("hit", "iou")}
    count = int((called & scores["hit"].notna().to_numpy()).sum()) if cutoff is not None else None
    placed = scores["hit"].notna().to_numpy(bool)
    people = None if patients is None else len(set(patients[placed]))
    counts = {"positives": chosen.positives, "n": chosen.scored, "patients": people}
    return {**counts, **found, "true_positives": {"n": count, **seen}}
