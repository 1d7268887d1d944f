"""95 % intervals by the patient-clustered bootstrap, and paired differences on the same replicates.

A replicate draws as many patients as there are, with replacement, each with all of its rows; a patient drawn twice
counts twice. That is a weight for each patient, so a replicate is a column of weights and scores are computed for
many columns at once (`scores`). Source: Efron & Tibshirani 1993, chapters 13 and 16; clusters: Field & Welsh 2007.

A replicate in which a class is missing has no such score: it is left out and counted. When more than a tenth are
left out (a finding with one or two positives), the rest no longer stands for what another sample would have given,
and no interval is given.

Intervals are BCa (bias-corrected and accelerated, Efron 1987) or plain percentiles. Measured for AUROC on 2,000
simulated studies each, with patients of several images (`benchmarks/results/interval_coverage.json`): with 30 or more
patients of each class and an AUROC up to .91 BCa covers 94.0 to 95.7 %, percentile 91.6 to 95.1 %. Above that, and with
fewer patients, both cover less: `finding.COVERED`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from kontrast.metrics.scores import Array, Ranks, auroc_within, ranks_within

METHODS = ("percentile", "bca")
"""How replicates become an interval."""

JACKKNIFE_GROUPS = 1000
"""More patients than this are left out in groups: with so many the correction for skewness is next to nothing."""

MAX_LEFT_OUT = 0.1
"""Share of replicates that may be left out before an interval is withheld."""

BLOCK_CELLS = 2**19
"""Weights held at once (units × replicates): 4 MiB, so that products of a few times that stay near the processor."""


def index_units(patients: Sequence[Any] | NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """Number the patients of n rows by first appearance: ((n,) indices, how many).

    By first appearance, not by name: then the draws depend on the order of the rows alone, and stay the same when
    patients are renamed (another hashing key).
    """
    names, first, inverse = np.unique(np.asarray(patients), return_index=True, return_inverse=True)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(names))
    return rank[inverse], len(names)


def resamples(units: int, replicates: int, seed: int) -> Iterator[Array]:
    """Bootstrap weights in blocks (units, r): how often each unit is drawn in each replicate, r replicates at once.

    Draws depend on `seed`, `units` and the replicate's number only, not on how they are cut into blocks.
    """
    generator = np.random.default_rng(seed)
    block = max(1, min(replicates, BLOCK_CELLS // max(units, 1)))
    for start in range(0, replicates, block):
        weights = np.empty((min(block, replicates - start), units))
        for row in weights:
            row[:] = np.bincount(generator.integers(0, units, size=units), minlength=units)
        yield np.ascontiguousarray(weights.T)


def bootstrap(statistic: Callable[[Array], Array], units: int, *, replicates: int = 1000, seed: int = 0) -> Array:
    """Replicates (K, R) of K statistics.

    Args:
        statistic: weights (U, r) to values (K, r), NaN where undefined.
        units: U, what is resampled (patients).
        replicates: R.
        seed: of the draws; the same seed gives two models the same replicates.
    """
    if replicates < 1 or units < 1:
        return np.empty((len(statistic(np.ones((units, 1)))), 0))
    return np.concatenate([statistic(w) for w in resamples(units, replicates, seed)], axis=1)


def jackknife(statistic: Callable[[Array], Array], units: int) -> Array:
    """Values (K, G) of K statistics with each of the units left out in turn, or each of 1,000 groups of them.

    Args:
        statistic: weights (U, r) to values (K, r), NaN where undefined.
        units: U.
    """
    groups = min(units, JACKKNIFE_GROUPS)
    member = np.arange(units) % max(groups, 1)
    block = max(1, BLOCK_CELLS // max(units, 1))
    parts = [np.arange(start, min(start + block, groups)) for start in range(0, groups, block)]
    if not parts:
        return np.empty((len(statistic(np.ones((units, 1)))), 0))
    return np.concatenate([statistic((member[:, None] != part).astype(np.float64)) for part in parts], axis=1)


def bca_levels(value: float, kept: Array, left_out: Array) -> Array | None:
    """The two quantiles of the replicates that bound a bias-corrected and accelerated 95 % interval (Efron 1987).

    Args:
        value: the score of the data.
        kept: its replicates, all defined.
        left_out: its values with patients left out, from `jackknife`.

    Returns:
        (2,), or None where the correction is undefined (all replicates on one side of the value).
    """
    below = (np.mean(kept < value) + np.mean(kept <= value)) / 2  # ties count half
    if not 0 < below < 1:
        return None
    shift = special.ndtri(below)
    influence = left_out[np.isfinite(left_out)]
    influence = influence.mean() - influence if len(influence) else influence
    spread = 6 * float((influence**2).sum()) ** 1.5
    acceleration = float((influence**3).sum()) / spread if spread > 0 else 0.0
    z = shift + special.ndtri([0.025, 0.975])
    return np.asarray(special.ndtr(shift + z / (1 - acceleration * z)))


def interval(
    value: float, replicates: Array, reason: str | None = None, left_out: Array | None = None
) -> dict[str, Any]:
    """A score with its 95 % interval, ready for JSON: `value`, `low`, `high`, and what must be said.

    Args:
        value: the score of the data themselves; NaN if undefined.
        replicates: its bootstrap replicates (R,), NaN where left out.
        reason: why the value is undefined.
        left_out: its values with patients left out, from `jackknife`: the interval is then BCa, else percentile.

    `left_out` counts replicates without a value, where there are any; `reason` says why something is null; `note`
    says when an interval is empty because every replicate is the same (a perfect score on few cases).
    """
    result: dict[str, Any] = {"value": None, "low": None, "high": None}
    if not np.isfinite(value):
        return result | {"reason": reason or "undefined on these data"}
    result["value"] = float(value)
    if len(replicates) == 0:
        return result | {"reason": "no replicates were asked for"}
    kept = replicates[np.isfinite(replicates)]
    absent = len(replicates) - len(kept)
    if absent:
        result["left_out"] = absent
    if absent > MAX_LEFT_OUT * len(replicates):
        return result | {"reason": f"no interval: {absent} of {len(replicates)} replicates lack what the score needs"}
    levels = None if left_out is None else bca_levels(value, kept, left_out)
    low, high = np.quantile(kept, [0.025, 0.975] if levels is None else levels)
    result |= {"low": float(low), "high": float(high)}
    if left_out is not None and levels is None:
        result["note"] = "percentile: every replicate is on one side of the value, so there is no BCa interval"
    if low == high:
        result["note"] = "every replicate is the same: the width of the interval says nothing"
    return result


def paired_difference(
    y: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[Any] | None = None,
    metric: str = "auroc",
    *,
    groups: Sequence[int] | None = None,
    strata: NDArray[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """How much better the first model is than the second on the same cases: metric(first) - metric(second).

    Args:
        y: targets (n,) or (n, F): 1, 0 or NaN = ignored. With F findings: of the means over findings defined.
        first: the first model's scores, shaped as y.
        second: the second model's.
        patients: (n,) whose rows are resampled together; None: rows are resampled.
        metric: `auroc` or `ap`.
        groups: (F,) which columns belong together (the findings of one training); the difference is then of the means
            over groups of the groups' means, so that a group of many columns weighs no more than one of few.
        strata: (n,) rows whose scores share a scale (folds): AUROC is taken within each, as `scores.auroc_within`.
        replicates: bootstrap replicates; both models are scored on the same ones.
        seed: of the draws.

    Returns:
        `value`, `low`, `high` as `interval`, and `p`, two-sided: how often the replicates' difference is on the other
        side of zero, doubled; its least value is 2 / (replicates + 1). `incomplete`, where there are any: replicates
        in which some finding lacked a class, whose difference is of the means over the others.

    Raises:
        ValueError: shapes differ, or a metric that is not one of these, or strata for average precision.
    """
    targets, one, two = (np.asarray(a, dtype=np.float64) for a in (y, first, second))
    if not targets.shape == one.shape == two.shape:
        raise ValueError("targets and both models' scores must have the same shape")
    if metric not in ("auroc", "ap"):
        raise ValueError(f"metric {metric!r} is neither 'auroc' nor 'ap'")
    if strata is not None and metric != "auroc":
        raise ValueError("only AUROC is averaged over strata")
    if targets.ndim == 1:
        targets, one, two = targets[:, None], one[:, None], two[:, None]
    units, total = index_units(np.arange(len(targets)) if patients is None else patients)
    label = np.zeros(targets.shape[1], dtype=np.int64) if groups is None else np.asarray(groups)
    models = [
        [ranks_within(targets[:, f], s[:, f], units, total, strata) for f in range(targets.shape[1])]
        for s in (one, two)
    ]
    both = [f for f, r in enumerate(models[0]) if np.isfinite(_score(r, metric, np.ones((total, 1)))[0])]
    if not both:
        return interval(np.nan, np.empty(0), "a class is missing in every finding") | {"p": None}

    def difference(w: Array) -> Array:
        """The difference, and how many findings are defined: (2, r)."""
        values = [np.stack([_score(ranks[f], metric, w) for f in both]) for ranks in models]
        first, second = (mean_of_groups(v, label[both]) for v in values)
        return np.stack([first - second, np.isfinite(values[0]).sum(axis=0)])

    drawn, defined = bootstrap(difference, total, replicates=replicates, seed=seed)
    result = interval(float(difference(np.ones((total, 1)))[0, 0]), drawn)
    kept = drawn[np.isfinite(drawn)]
    tail = (min((kept <= 0).sum(), (kept >= 0).sum()) + 1) / (len(kept) + 1)
    incomplete = int((defined < len(both)).sum())
    result |= {"incomplete": incomplete} if incomplete else {}
    return result | {"p": float(min(1.0, 2 * tail)) if result["low"] is not None else None}


def mean_of_groups(values: Array, groups: NDArray[np.int64]) -> Array:
    """The mean (R,) over groups of the groups' means of what is defined: values (F, R), groups (F,)."""
    return mean_defined(np.stack([mean_defined(values[groups == g]) for g in np.unique(groups)]))


def mean_defined(values: Array) -> Array:
    """The mean (R,) over findings (F, R) of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    return np.divide(np.where(defined, values, 0).sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)


def _score(ranks: Sequence[Ranks], metric: str, w: Array) -> Array:
    return auroc_within(ranks, w) if metric == "auroc" else ranks[0].areas(w)[1]
