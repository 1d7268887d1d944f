"""The standard error of AUROC in closed form, rows of one patient belonging together: a check on the bootstrap.

Source: DeLong et al. 1988 (components of a U-statistic); Obuchowski 1997, Biometrics 53, 567 (sums over clusters).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from kontrast.metrics.intervals import index_units
from kontrast.metrics.scores import Array

Z = float(special.ndtri(0.975))


def components(y: ArrayLike, s: ArrayLike) -> tuple[float, Array]:
    """AUROC and each row's placement: of a positive the share of negatives below it, of a negative of positives above.

    Args:
        y: targets (n,), 1 or 0, both present.
        s: scores (n,).

    Returns:
        AUROC, and (n,) placements in [0, 1], ties counting half; their mean over either class is the AUROC.
    """
    targets, scores = np.asarray(y) == 1, np.asarray(s, dtype=np.float64)
    positives, negatives = np.sort(scores[targets]), np.sort(scores[~targets])

    def below(sorted_: Array, values: Array) -> Array:
        """Share of `sorted_` below each value, ties half."""
        left, right = (np.searchsorted(sorted_, values, side) for side in ("left", "right"))
        return (left + right) / (2 * len(sorted_))

    placed = np.where(targets, below(negatives, scores), 1 - below(positives, scores))
    return float(placed[targets].mean()), placed


def standard_error(y: ArrayLike, placed: Array, patients: NDArray[Any] | None = None) -> float:
    """Standard error of the mean placement: of AUROC, or of a difference where `placed` is one model's less another's.

    Args:
        y: targets (n,), 1 or 0.
        placed: (n,), from `components`.
        patients: (n,) whose rows belong together; None: each row is its own, which gives DeLong's.

    Returns:
        NaN where fewer than two patients have a positive, or a negative.
    """
    targets = np.asarray(y) == 1
    units, total = index_units(np.arange(len(targets)) if patients is None else patients)
    centred = placed - placed[targets].mean()
    sums, counts = [], []
    for rows in (targets, ~targets):
        sums.append(np.bincount(units[rows], weights=centred[rows], minlength=total) / rows.sum())
        counts.append(len(np.unique(units[rows])))
    if min(counts) < 2:
        return float("nan")
    own = sum(n / (n - 1) * float(part @ part) for n, part in zip(counts, sums, strict=True))
    shared = total / (total - 1) * float(sums[0] @ sums[1])
    # Sums of squares, so below 0 only through the shared term of patients with rows of both classes.
    return float(np.sqrt(max(own + 2 * shared, 0.0)))


def delong(y: ArrayLike, s: ArrayLike, patients: NDArray[Any] | None = None) -> dict[str, Any]:
    """AUROC with its closed-form 95 % interval, made on the scale of its logit so that it stays within 0 and 1.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        s: scores (n,).
        patients: (n,) whose rows belong together.

    Returns:
        `value`, `low`, `high`, `se`; None where undefined (an AUROC of exactly 0 or 1 has no such interval).
    """
    targets, scores = np.asarray(y, dtype=np.float64), np.asarray(s, dtype=np.float64)
    known = ~np.isnan(targets)
    targets, scores = targets[known], scores[known]
    found: dict[str, Any] = {"value": None, "low": None, "high": None, "se": None}
    if not 0 < targets.sum() < len(targets):
        return found
    value, placed = components(targets, scores)
    error = standard_error(targets, placed, None if patients is None else np.asarray(patients)[known])
    found["value"] = value
    if not np.isfinite(error):
        return found
    found["se"] = error
    if 0 < value < 1:
        reach = Z * error / (value * (1 - value))
        found["low"], found["high"] = (float(special.expit(special.logit(value) + r)) for r in (-reach, reach))
    return found
