"""ROC and precision-recall curves with pointwise 95 % bands by the patient bootstrap.

The curve is that of the cases; the band holds, at each point of a fixed grid, 95 % of the replicates' values (vertical
averaging, Fawcett 2006, section 8.2). It is not a band within which the whole curve lies with 95 %.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kontrast.metrics.intervals import MAX_LEFT_OUT, index_units, resamples
from kontrast.metrics.scores import Array

GRID = np.linspace(0, 1, 101)
"""False positive rates at which sensitivity is given, and recalls at which precision is."""


def curves(
    y: ArrayLike, scores: ArrayLike, patients: Sequence[Any] | NDArray[Any] | None = None, *, replicates: int = 400,
    seed: int = 0,
) -> dict[str, Any] | None:  # fmt: skip
    """Both curves of one finding on GRID; None where a class is missing.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        scores: (n,), the higher the more likely.
        patients: (n,) whose rows are resampled together; None: rows are.
        replicates: of the bootstrap; replicates with one class are left out, and with more than a tenth of these
            there is no band.
        seed: of the draws.

    Returns:
        `roc` and `pr`, each `value` (101,), and `low` and `high` (101,) or None; `prevalence`. Sensitivity between two
        thresholds is on the line between them (chance can reach it); precision is that of the first threshold that
        reaches the recall, as average precision sums it; at recall 0 that of the first that finds anything.
    """
    target, score = np.asarray(y, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    known = ~np.isnan(target)
    target, score = target[known], score[known]
    if not 0 < target.sum() < len(target):
        return None
    units, total = index_units(np.arange(len(target)) if patients is None else np.asarray(patients)[known])
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(score[order]) != 0]))  # of equal scores

    def draw(weights: Array) -> tuple[Array, Array]:
        """Weights (U, r) to sensitivity and precision on GRID, (r, 101) each; NaN where a class is missing."""
        row = weights[units[order]]  # (n, r)
        ones = target[order, None]
        true, false = (np.add.reduceat(row * part, starts, axis=0).cumsum(axis=0).T for part in (ones, 1 - ones))
        found = np.full((2, weights.shape[1], len(GRID)), np.nan)
        for r, (tp, fp) in enumerate(zip(true, false, strict=True)):
            if tp[-1] > 0 and fp[-1] > 0:
                found[0, r] = _sensitivity(tp / tp[-1], fp / fp[-1])
                reach = np.maximum(GRID * (1 - 1e-12), 1e-12) * tp[-1]  # at recall 0: the first that finds anything
                at = np.minimum(np.searchsorted(tp, reach), len(tp) - 1)
                found[1, r] = tp[at] / np.maximum(tp[at] + fp[at], 1e-300)
        return found[0], found[1]

    values = draw(np.ones((total, 1)))
    drawn = [draw(weights) for weights in resamples(total, replicates, seed)] if replicates else []
    result: dict[str, Any] = {"prevalence": float(target.mean())}
    for place, name in enumerate(("roc", "pr")):
        kept = np.concatenate([part[place] for part in drawn]) if drawn else np.empty((0, len(GRID)))
        kept = kept[~np.isnan(kept).any(axis=1)]
        band = len(kept) > (1 - MAX_LEFT_OUT) * replicates > 0
        low, high = np.quantile(kept, [0.025, 0.975], axis=0) if band else (None, None)
        result[name] = {"value": values[place][0], "low": low, "high": high}
    return result


def _sensitivity(tpr: Array, fpr: Array) -> Array:
    """Sensitivity on GRID: on the line between thresholds, and where the curve rises steeply the upper end.

    `np.interp` does both with rates that repeat: from the last of equal ones on the left to the first on the right.
    """
    return np.interp(GRID, np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr]))
