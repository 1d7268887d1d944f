"""Images of one study as one case."""

import numpy as np

from kontrast.metrics.intervals import index_units


def by_study(
    truth: np.ndarray,
    scores: np.ndarray,
    studies: np.ndarray,
    over_views: str = "max",
    patients: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One row a study: positive where any of its images is, ignored where all of them are.

    Args:
        truth: (n, F) targets: 1, 0 or NaN = ignored.
        scores: (n, F).
        studies: (n,) names; an image without one is a study of its own.
        over_views: `max` or `mean` of the scores of all its images.
        patients: (n,) whose each image is: tables often number the studies of each patient anew (`study1`), and two
            people's are never one case. None: names of studies are taken to be of one person each.

    Returns:
        truth (S, F), scores (S, F) and each study's first row (S,), in the order in which studies appear.
    """
    alone = studies == ""
    names = np.where(alone, np.char.add("\0", np.arange(len(studies)).astype(str)), studies.astype(str))
    index, total = index_units(names)
    if patients is not None:
        people, count = index_units(patients)
        index, total = index_units(index * count + people)
    first = np.full(total, len(studies))
    np.minimum.at(first, index, np.arange(len(studies)))
    merged = np.full((total, truth.shape[1]), -1.0)  # -1: nothing known yet
    np.maximum.at(merged, index, np.where(np.isnan(truth), -1.0, truth))
    if over_views == "max":
        pooled = np.full((total, scores.shape[1]), -np.inf)
        np.maximum.at(pooled, index, scores)
    else:
        pooled = np.zeros((total, scores.shape[1]))
        np.add.at(pooled, index, scores)
        pooled /= np.bincount(index, minlength=total)[:, None]
    return np.where(merged < 0, np.nan, merged), pooled, first
