"""What labels give: score curves over label fractions with their bands, and how many labels another start saves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kontrast.metrics.scores import Array

RUNS = 5
"""With fewer runs at a fraction it is not known well enough how runs differ, so no interval is given."""


def resample_runs(places: Sequence[Sequence[Any]], replicates: int, seed: int = 0) -> list[Array]:
    """Bootstrap weights of the runs of each place, the same for a run wherever it stands.

    n - 1 of n seeds are drawn with replacement, and likewise of the draws of patients: n of n would make a mean over
    few runs too sure by the factor (n - 1) / n (Rao & Wu 1988). A run of a draw and a seed weighs their product (Owen &
    Eckles 2012).

    Args:
        places: the runs of each: a seed, or (draw, seed).
        replicates: R.
        seed: of the draws.

    Returns:
        (runs, R) for each place; columns sum to 1.
    """
    generator = np.random.default_rng([seed, 1])  # not the stream that the patients are drawn from

    def weights(levels: Sequence[Any]) -> dict[Any, Array]:
        take = max(len(levels) - 1, 1)
        drawn = generator.integers(0, len(levels), (take, replicates))
        return {level: (drawn == i).sum(axis=0).astype(np.float64) for i, level in enumerate(levels)}

    pairs = [[run if isinstance(run, tuple) else (None, run) for run in runs] for runs in places]
    seeds = weights(sorted({s for runs in pairs for _, s in runs}))
    draws = {None: np.ones(replicates)} | weights(
        sorted({d for runs in pairs for d, _ in runs if d is not None}) or [0]
    )
    found = [np.stack([draws[d] * seeds[s] for d, s in runs]) for runs in pairs]
    with np.errstate(invalid="ignore"):  # a place that lacks the runs drawn has no value in that replicate
        return [one / one.sum(axis=0) for one in found]


def rising(curves: Array) -> Array:
    """The non-decreasing curves closest to curves (K, R), by least squares (max-min formula, Robertson et al. 1988).

    More labels do not make a model worse but by chance: the first crossing of a curve that goes up and down comes too
    early.
    """
    count = len(curves)

    def least(a: int, i: int) -> Array:
        return np.min([curves[a : b + 1].mean(axis=0) for b in range(i, count)], axis=0)

    return np.stack([np.max([least(a, i) for a in range(i + 1)], axis=0) for i in range(count)])


def reached(fractions: Sequence[float], scores: Array, goal: Array) -> Array:
    """The smallest fraction at which curves reach their goals: the curves made `rising`, then interpolated on the
    logarithm of the fraction.

    Args:
        fractions: (K,) ascending, in (0, 1].
        scores: (K, R), a curve in each column.
        goal: (R,).

    Returns:
        (R,): in [fractions[0], fractions[-1]]; the lowest fraction where the curve is there already (so: at most
        that), infinity where it never is, NaN where a score or goal is undefined.
    """
    logs, curves = np.log(np.asarray(fractions, dtype=np.float64)), np.asarray(scores, dtype=np.float64)
    found, curves = np.full(curves.shape[1], np.inf), rising(curves)
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
        drawn: (K, R) their replicates, of patients and runs; R = 0: no interval.
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
        ends = [_known(kept[int(end(q * (len(kept) - 1)))]) for end, q in ((np.floor, 0.025), (np.ceil, 0.975))]
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
