"""Scores of one finding's ranking, vectorised over weightings, so that a bootstrap is a handful of matrix products.

Every score takes weights `w`: None (each row once), shape (n,), or (n, R) for R weightings at once; it answers with
a float, or R of them. With integer weights a score is that of the rows repeated so often.

What cannot be computed is NaN, never 0 or 0.5. Scores that compare two classes need both: with one class only they
are NaN, even where a formula would still give a number (F1 without positives is 0 whatever the model does).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Array = NDArray[np.float64]

OPERATING = {
    f"{free}_at_{100 * level:.0f}_{fixed}": (fixed, level)
    for free, fixed in (("sensitivity", "specificity"), ("specificity", "sensitivity"))
    for level in (0.9, 0.95)
}
"""Points of the ROC curve, by their name in `scores.json` (`sensitivity_at_90_specificity` …): what is fixed, where."""


@dataclass(frozen=True)
class Ranks:
    """One ordering of n rows by score, reduced to what the ROC and the precision-recall curve are summed from.

    The G distinct scores that hold a positive are numbered from the highest. Both curves move up only there, so the
    negatives between two of them may be added up beforehand: what is left to do for each weighting grows with the
    positives, not with the rows. Rows of one unit (a patient) share a weight, so they share a column.

    Attributes:
        tally: sparse (3G + 1, U): weights of U units to weights of, in this order, the positives at each of the G
            scores (G), the negatives tied with them (G), the negatives strictly above each of them and below the
            one before (G), and those below the last (1).
        scores: G.
    """

    tally: Any
    scores: int

    @classmethod
    def of(
        cls, y: ArrayLike, s: ArrayLike, units: NDArray[np.int64] | None = None, total: int | None = None
    ) -> "Ranks":
        """Order rows by score.

        Args:
            y: targets (n,), 1 or 0.
            s: scores (n,), any order-preserving scale, infinities allowed.
            units: the unit that each row belongs to (n,); default: each row is its own.
            total: number of units U, when not all of them have a row here.

        Raises:
            ValueError: shapes differ, a target is neither 0 nor 1, or a score is NaN.
        """
        targets, values = binary(y), np.asarray(s, dtype=np.float64)
        if values.shape != targets.shape or np.isnan(values).any():
            raise ValueError("scores must be numbers, one for each target")
        n = len(targets)
        units = np.arange(n) if units is None else np.asarray(units)
        order = np.argsort(-values, kind="stable")
        values, positive, units = values[order], targets[order] == 1, units[order]
        starts = np.ones(n, dtype=bool)
        starts[1:] = values[1:] != values[:-1]
        group = np.cumsum(starts) - 1
        holds = np.zeros(int(starts.sum()), dtype=bool)
        holds[group[positive]] = True
        # For a group with positives its own number; for one without, the number of the next group below that has.
        index = (np.cumsum(holds) - holds)[group]
        count = int(holds.sum())
        part = np.where(positive, 0, np.where(holds[group], 1, 2))
        shape = (3 * count + 1, total if total is not None else n)
        return cls(sparse.csr_array((np.ones(n), (part * count + index, units)), shape=shape), count)

    def areas(self, w: Array) -> tuple[Array, Array]:
        """AUROC and average precision for each weighting (U, R): (R,) and (R,)."""
        return _Curves.of(self.tally @ w, self.scores).areas()

    def concordance(self, w: Array) -> tuple[Array, Array]:
        """The positives above negatives in pairs, ties counting half, and all such pairs, for each weighting (U, R)."""
        return _Curves.of(self.tally @ w, self.scores).concordance()

    def everything(self, w: Array) -> dict[str, Array]:
        """AUROC (`auroc`), average precision (`ap`) and the points of OPERATING for each weighting (U, R): (R,) each.

        Points are read off the curve of these rows themselves: sensitivity is the highest of all thresholds whose
        specificity is at least the level, and the other way round.
        """
        curves = _Curves.of(self.tally @ w, self.scores)
        area, average = curves.areas()
        found = {"auroc": area, "ap": average}
        both = (curves.all_positives > 0) & (curves.negatives > 0)
        for name, (fixed, level) in OPERATING.items():
            # Weights are sums of floats: a level reached but for rounding is reached.
            if fixed == "specificity":
                value = ratio(curves.right_within((1 - level + 1e-9) * curves.negatives), curves.all_positives)
            else:
                value = 1 - ratio(curves.wrong_when((level - 1e-9) * curves.all_positives), curves.negatives)
            found[name] = np.where(both, value, np.nan)
        return found


class _Curves(NamedTuple):
    """Both curves at G scores from the highest, for R weightings.

    Attributes:
        positives: weight of the positives at each score (G, R).
        tied: of the negatives at each score (G, R).
        right: of the positives at it and above (G, R).
        wrong: of the negatives at it and above (G, R).
        all_positives: (R,).
        negatives: (R,).
    """

    positives: Array
    tied: Array
    right: Array
    wrong: Array
    all_positives: Array
    negatives: Array

    @classmethod
    def of(cls, sums: Array, count: int) -> "_Curves":
        """From what `Ranks.tally` gives for weights; `sums` (3G + 1, R) is used up."""
        positives, tied, above = sums[:count], sums[count : 2 * count], sums[2 * count :]
        above[:-1] += tied
        wrong, right = _running(above), _running(positives.copy())
        total = right[-1] if count else np.zeros(sums.shape[1])
        return cls(positives, tied, right, wrong[:-1], total, wrong[-1])

    def areas(self) -> tuple[Array, Array]:
        """AUROC and average precision: (R,) and (R,)."""
        area, pairs = self.concordance()
        called = self.right + self.wrong
        # A score that no positive of this weighting has adds nothing to recall; before the first, 0 / 0 counts 0.
        precision = np.divide(self.right, np.maximum(called, np.finfo(float).tiny, out=called), out=called)
        average = ratio(np.einsum("gr,gr->r", self.positives, precision), self.all_positives)
        return ratio(area, pairs), np.where(self.negatives > 0, average, np.nan)

    def concordance(self) -> tuple[Array, Array]:
        """Pairs in which the positive scores above the negative, ties counting half, and all pairs: (R,) and (R,)."""
        # Products are summed as they are made: each (G, R) that is not written spares a walk over memory.
        over = np.einsum("gr,gr->r", self.positives, self.wrong) - np.einsum("gr,gr->r", self.positives, self.tied) / 2
        pairs = self.all_positives * self.negatives
        return pairs - over, pairs

    def right_within(self, limit: Array) -> Array:
        """The most positives called with no more negatives than `limit` (R,)."""
        count = _counted(self.wrong, limit, np.less_equal)
        return np.where(count > 0, self._at(self.right, count - 1), 0)

    def wrong_when(self, needed: Array) -> Array:
        """The fewest negatives called with as many positives as `needed` (R,)."""
        return self._at(self.wrong, _counted(self.right, needed, np.less))

    @staticmethod
    def _at(curve: Array, row: NDArray[np.int64]) -> Array:
        if not len(curve):
            return np.zeros(len(row))
        return np.asarray(curve[np.clip(row, 0, len(curve) - 1), np.arange(len(row))])


def _running(x: Array, block: int = 16) -> Array:
    """Sums (G, R) of each row and those above, in place: `np.cumsum(x, axis=0)`, but faster."""
    whole = len(x) // block * block
    parts = x[:whole].reshape(-1, block, x.shape[1])
    for row in range(1, block):
        parts[:, row] += parts[:, row - 1]
    if len(parts) > 1:
        parts[1:] += np.cumsum(parts[:-1, -1], axis=0)[:, None]
    rest = x[max(whole - 1, 0) :]
    np.cumsum(rest, axis=0, out=rest)
    return x


def _counted(rising: Array, limit: Array, compare: Any) -> NDArray[np.int64]:
    """How many entries of each rising column (G, R) are below its limit (R,), by bisection."""
    low, high = np.zeros(len(limit), np.int64), np.full(len(limit), len(rising))
    columns = np.arange(len(limit))
    while (open_ := low < high).any():
        middle = np.minimum((low + high) // 2, len(rising) - 1)
        below = compare(rising[middle, columns], limit)
        low, high = np.where(open_ & below, middle + 1, low), np.where(open_ & ~below, middle, high)
    return low


def ranks_within(
    y: Array, s: Array, units: NDArray[np.int64], total: int, strata: NDArray[Any] | None = None
) -> list[Ranks]:
    """The ordering of the rows with a target, one for each stratum: only scores of one scale are compared.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        s: scores (n,).
        units: the unit of each row (n,), numbered below `total`.
        total: number of units.
        strata: (n,) whose scores share a scale (the fold of each row); None: all do.
    """
    known = ~np.isnan(y)
    parts = [known] if strata is None else [known & (strata == one) for one in np.unique(strata)]
    return [Ranks.of(y[part], s[part], units[part], total) for part in parts]


def auroc_within(ranks: Sequence[Ranks], w: Array) -> Array:
    """AUROC within strata (R,) for weightings (U, R), averaged over them by their pairs of a positive and a negative.

    A stratum without one of the classes has no pairs, so it weighs nothing; NaN where none has any. Pooling scores of
    several fits instead is biased: each has an intercept of its own, lower where more positives were held out (Parker,
    Gunter & Bedo 2007; Airola et al. 2011).
    """
    right, pairs = np.sum([one.concordance(w) for one in ranks], axis=0)
    return np.asarray(ratio(right, pairs))


def auroc(y: ArrayLike, s: ArrayLike, w: ArrayLike | None = None) -> Any:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Args:
        y: targets (n,), 1 or 0.
        s: scores (n,), any order-preserving scale.
        w: weights (n,) or (n, R), not negative.

    Source: Hanley & McNeil 1982 (the Mann-Whitney form, midranks).
    """
    ranks = Ranks.of(y, s)
    return answer(ranks.areas(weightings(w, ranks.tally.shape[1]))[0], w)


def average_precision(y: ArrayLike, s: ArrayLike, w: ArrayLike | None = None) -> Any:
    """Average precision Σ (R_k - R_{k-1}) P_k over distinct scores from the highest, without interpolation.

    Arguments as for `auroc`. A model that knows nothing has the prevalence, not 0.5.
    """
    ranks = Ranks.of(y, s)
    return answer(ranks.areas(weightings(w, ranks.tally.shape[1]))[1], w)


def macro_auroc(y: ArrayLike, s: ArrayLike) -> float:
    """The mean AUROC over the findings for which it is defined; NaN where there is none.

    Args:
        y: targets (n, F): 1, 0 or NaN = ignored.
        s: scores (n, F).
    """
    targets, scores = np.asarray(y, dtype=np.float64), np.asarray(s, dtype=np.float64)
    known = ~np.isnan(targets)
    values = np.array([auroc(targets[k, f], scores[k, f]) for f, k in enumerate(known.T)])
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def ratio(numerator: Any, denominator: Any) -> Any:
    """`numerator / denominator`, NaN where the denominator is not above 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)[()]


def binary(y: ArrayLike) -> Array:
    """Targets (n,) as numbers.

    Raises:
        ValueError: one of them is neither 0 nor 1.
    """
    targets = np.asarray(y, dtype=np.float64)
    if targets.ndim != 1 or not np.isin(targets, (0, 1)).all():
        raise ValueError("targets must be a row of 0 and 1")
    return targets


def weightings(w: ArrayLike | None, n: int) -> Array:
    """Weights as (n, R), R = 1 for a row of them; ones for None.

    Raises:
        ValueError: there are not n rows.
    """
    weights = np.ones((n, 1)) if w is None else np.asarray(w, dtype=np.float64)
    if len(weights) != n:
        raise ValueError(f"{n} rows but {len(weights)} weights")
    return weights if weights.ndim == 2 else weights[:, None]


def answer(values: Array, w: ArrayLike | None) -> Any:
    """Scores (R,) in the form in which weights were given: R of them, or one float."""
    return values if w is not None and np.ndim(w) == 2 else float(values[0])
