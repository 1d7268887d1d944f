"""What labels give: score curves over label fractions with their bands, and how many labels another start saves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kontrast.metrics.scores import Array


def reached(fractions: Sequence[float], scores: Array, goal: Array) -> Array:
    """The smallest fraction at which curves reach their goals, by interpolation on the logarithm of the fraction.

    Args:
        fractions: (K,) ascending, in (0, 1].
        scores: (K, R), a curve in each column.
        goal: (R,).

    Returns:
        (R,): in [fractions[0], fractions[-1]]; the lowest fraction where the curve is there already (so: at most
        that), infinity where it never is, NaN where a score or goal is undefined.
    """
    logs, curves = np.log(np.asarray(fractions, dtype=np.float64)), np.asarray(scores, dtype=np.float64)
    found = np.full(curves.shape[1], np.inf)
    for r in range(curves.shape[1]):
        above = curves[:, r] >= goal[r]
        if not (np.isfinite(curves[:, r]).all() and np.isfinite(goal[r])):
            found[r] = np.nan
        elif above.any():
            k = int(above.argmax())
            if k == 0:
                found[r] = fractions[0]
                continue
            share = (goal[r] - curves[k - 1, r]) / (curves[k, r] - curves[k - 1, r])
            found[r] = np.exp(logs[k - 1] + share * (logs[k] - logs[k - 1]))
    return found


def labels_saved(fractions: Sequence[float], curve: Array, drawn: Array, goal: float, goals: Array) -> dict[str, Any]:
    """The fraction of labels at which a curve reaches a goal, with a percentile interval, and the share it saves.

    Args:
        fractions: (K,) ascending.
        curve: (K,) scores on the data.
        drawn: (K, R) their replicates.
        goal: the baseline's score with the most labels.
        goals: (R,) its replicates, on the same resampled patients.

    Returns:
        `fraction`, `low`, `high` (None beyond the largest fraction), `saved` with `saved_low` and `saved_high`
        (1 - fraction over the largest; None likewise), `censored` (`below`: reached with the fewest labels tried, so
        the fraction is at most that; `above`: not reached), `never`: the share of replicates that never reach it.
    """
    value = reached(fractions, np.asarray(curve)[:, None], np.array([goal]))[0]
    replicates = reached(fractions, drawn, goals)
    kept = np.sort(replicates[~np.isnan(replicates)])
    ends: list[float | None] = [None, None]
    if len(kept):  # order statistics: a mean of two would turn "never" into a number
        ends = [_known(kept[int(np.floor(q * (len(kept) - 1)))]) for q in (0.025, 0.975)]
    most = fractions[-1]
    saved = [None if end is None else 1 - end / most for end in (_known(value), ends[1], ends[0])]
    censored = "" if np.isnan(value) else "below" if value <= fractions[0] else "above" if np.isinf(value) else ""
    return {
        "fraction": _known(value), "low": ends[0], "high": ends[1],
        "saved": saved[0], "saved_low": saved[1], "saved_high": saved[2],
        "censored": censored, "never": float(np.isinf(kept).mean()) if len(kept) else None,
    }  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def band(replicates: Array) -> dict[str, float | None]:
    """The percentile interval of a curve's point: `low`, `high`."""
    kept = replicates[np.isfinite(replicates)]
    if not len(kept):
        return {"low": None, "high": None}
    low, high = np.quantile(kept, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
