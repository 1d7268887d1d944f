"""How well heat maps point at the true place: pointing game, IoU, and what pointing at the centre would give.

CheXlocalize (Saporta et al. 2022, Nat. Mach. Intell. 4) measures both: the share of maps whose highest point lies in
the radiologists' outline, and IoU at a threshold for each finding that was tuned on its validation set.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kontrast.metrics.intervals import bootstrap, index_units, interval

TIE = 1e-6
"""Values within this share of the maximum count as maxima: interpolation leaves plateaus that differ by rounding."""


def pointing_game(maps: ArrayLike, masks: ArrayLike) -> NDArray[np.float64]:
    """Whether each map's highest point lies in the mask (Zhang et al. 2018, IJCV 126, without its 15 pixels' grace).

    Where several points are highest, the share of them that lie in the mask: a map of one value everywhere, zeros
    included, gets what pointing at random would.

    Args:
        maps: (n, H, W), at least 0.
        masks: (n, H, W) bool.

    Returns:
        (n,) in [0, 1], NaN where the mask is empty.

    Raises:
        ValueError: shapes differ.
    """
    heat, true = _flat(maps, masks)
    highest = heat >= heat.max(axis=1, keepdims=True) * (1 - TIE)
    return np.where(true.any(axis=1), (highest & true).sum(axis=1) / highest.sum(axis=1), np.nan)


def iou(maps: ArrayLike, masks: ArrayLike, threshold: float = 0.5) -> NDArray[np.float64]:
    """Intersection over union of the mask and the region at or above `threshold` times the map's maximum.

    Args:
        maps: (n, H, W), at least 0; a map of zeros has an empty region.
        masks: (n, H, W) bool.
        threshold: share of each map's own maximum, within (0, 1].

    Returns:
        (n,) in [0, 1], NaN where the mask is empty.

    Raises:
        ValueError: shapes differ.
    """
    return ious(maps, masks, (threshold,))[:, 0]


THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))
"""What is tried when a threshold is tuned: .1, .15 … .9. CheXlocalize's, tuned likewise, lie between .2 and .7."""


def ious(maps: ArrayLike, masks: ArrayLike, thresholds: Sequence[float] = THRESHOLDS) -> NDArray[np.float64]:
    """`iou` at several thresholds, (n, T)."""
    heat, true = _flat(maps, masks)
    top, known = heat.max(axis=1, keepdims=True), true.any(axis=1)
    found = np.full((len(heat), len(thresholds)), np.nan)
    for column, threshold in enumerate(thresholds):
        region = (heat >= threshold * top) & (heat > 0)
        union = (region | true).sum(axis=1)
        found[:, column] = np.where(known, (region & true).sum(axis=1) / np.maximum(union, 1), np.nan)
    return found


def best_threshold(values: ArrayLike, thresholds: Sequence[float] = THRESHOLDS) -> float | None:
    """The threshold with the highest mean IoU, of equals the lowest; None where no place is known.

    Args:
        values: (n, T) of `ious`; rows of NaN are left out.
        thresholds: T.
    """
    table = np.asarray(values, dtype=np.float64).reshape(-1, len(thresholds))
    table = table[~np.isnan(table).any(axis=1)]
    return float(thresholds[int(np.argmax(table.mean(axis=0)))]) if len(table) else None


def centre_prior(height: int, width: int) -> NDArray[np.float64]:
    """A map that knows nothing: 1 at the centre, falling linearly to 0 at the middle of the edges, (H, W).

    At half its maximum it is an ellipse of half the image's height and width.
    """
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in (height, width))
    return np.clip(1 - np.hypot(y[:, None], x[None, :]), 0, None)


def mean_interval(
    values: ArrayLike,
    patients: Sequence[Any] | NDArray[Any] | None = None,
    *,
    replicates: int = 1000,
    seed: int = 0,
    reason: str = "no image with a known place",
) -> dict[str, Any]:
    """The mean over images with its 95 % interval by the patient bootstrap, as `intervals.interval` gives it.

    Args:
        values: (n,), NaN = left out.
        patients: (n,) whose images are resampled together; None: images are resampled.
        replicates: bootstrap replicates.
        seed: of the draws.
        reason: why there is no mean, if there is none.
    """
    v = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(v)
    if not known.any():
        return interval(np.nan, np.empty(0), reason)
    units, total = index_units(np.arange(len(v))[known] if patients is None else np.asarray(patients)[known])
    sums = np.stack([np.bincount(units, weights=v[known]), np.bincount(units).astype(np.float64)])  # (2, U)

    def mean(w: NDArray[np.float64]) -> NDArray[np.float64]:
        numerator, denominator = sums @ w
        return (numerator / denominator)[None]  # never 0: every patient has an image

    return interval(float(v[known].mean()), bootstrap(mean, total, replicates=replicates, seed=seed)[0])


def _flat(maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    heat, true = np.asarray(maps, dtype=np.float64), np.asarray(masks, dtype=bool)
    if heat.ndim != 3 or heat.shape != true.shape:
        raise ValueError(f"Expected maps and masks of one shape (n, H, W), got {heat.shape} and {true.shape}.")
    return heat.reshape(len(heat), -1), true.reshape(len(true), -1)
