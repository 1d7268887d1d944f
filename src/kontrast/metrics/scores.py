"""Scores of one finding, vectorised over weightings, so that a bootstrap is a handful of matrix products.

Every score takes weights `w`: None (each row once), shape (n,), or (n, R) for R weightings at once; it answers with
a float, or R of them. With integer weights a score is that of the rows repeated so often.

What cannot be computed is NaN, never 0 or 0.5. Scores that compare two classes need both: with one class only they
are NaN, even where a formula would still give a number (F1 without positives is 0 whatever the model does).
"""

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
        targets, values = _binary(y), np.asarray(s, dtype=np.float64)
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
        return self._areas(*self._sums(w))

    def everything(self, w: Array) -> dict[str, Array]:
        """AUROC (`auroc`), average precision (`ap`) and the points of OPERATING for each weighting (U, R): (R,) each.

        Points are read off the curve of these rows themselves: sensitivity is the highest of all thresholds whose
        specificity is at least the level, and the other way round.
        """
        positives, tied, above = self._sums(w)
        area, average = self._areas(positives, tied, above)
        found = {"auroc": area, "ap": average}
        right, wrong = np.cumsum(positives, axis=0), np.cumsum(above[:-1] + tied, axis=0)
        all_positives, negatives = positives.sum(axis=0), above.sum(axis=0) + tied.sum(axis=0)
        both = (all_positives > 0) & (negatives > 0)
        for name, (fixed, level) in OPERATING.items():
            # Weights are sums of floats: a level reached but for rounding is reached.
            if fixed == "specificity":
                reached = wrong <= (1 - level + 1e-9) * negatives
                value = _ratio(np.where(reached, right, 0).max(axis=0, initial=0), all_positives)
            else:
                reached = right >= (level - 1e-9) * all_positives
                value = 1 - _ratio(np.where(reached, wrong, np.inf).min(axis=0, initial=np.inf), negatives)
            found[name] = np.where(both, value, np.nan)
        return found

    def _sums(self, w: Array) -> tuple[Array, Array, Array]:
        """Weights of positives (G, R), of negatives tied with them (G, R), and of negatives above (G + 1, R)."""
        sums, count = self.tally @ w, self.scores
        return sums[:count], sums[count : 2 * count], sums[2 * count :]

    @staticmethod
    def _areas(positives: Array, tied: Array, above: Array) -> tuple[Array, Array]:
        wrong = np.cumsum(above[:-1] + tied, axis=0)  # negatives called when all of this score and above are
        right = np.cumsum(positives, axis=0)
        all_positives = positives.sum(axis=0)
        negatives = above.sum(axis=0) + tied.sum(axis=0)
        area = (positives * (negatives - wrong + 0.5 * tied)).sum(axis=0)
        # A score that no positive of this weighting has adds nothing to recall; before the first, 0 / 0 counts 0.
        called = right + wrong
        precision = np.divide(right, called, out=np.zeros_like(called), where=called > 0)
        average = _ratio((positives * precision).sum(axis=0), all_positives)
        return _ratio(area, all_positives * negatives), np.where(negatives > 0, average, np.nan)


def auroc(y: ArrayLike, s: ArrayLike, w: ArrayLike | None = None) -> Any:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Args:
        y: targets (n,), 1 or 0.
        s: scores (n,), any order-preserving scale.
        w: weights (n,) or (n, R), not negative.

    Source: Hanley & McNeil 1982 (the Mann-Whitney form, midranks).
    """
    ranks = Ranks.of(y, s)
    return _answer(ranks.areas(_weights(w, ranks.tally.shape[1]))[0], w)


def average_precision(y: ArrayLike, s: ArrayLike, w: ArrayLike | None = None) -> Any:
    """Average precision Σ (R_k - R_{k-1}) P_k over distinct scores from the highest, without interpolation.

    Arguments as for `auroc`. A model that knows nothing has the prevalence, not 0.5.
    """
    ranks = Ranks.of(y, s)
    return _answer(ranks.areas(_weights(w, ranks.tally.shape[1]))[1], w)


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


class Confusion(NamedTuple):
    """Weights of true positives, false positives, false negatives and true negatives: floats or (R,)."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any


def confusion(y: ArrayLike, called: ArrayLike, w: ArrayLike | None = None) -> Confusion:
    """Confusion counts of calls (n,), True = called positive, against targets (n,), 1 or 0.

    Raises:
        ValueError: shapes differ or a target is neither 0 nor 1.
    """
    targets, calls = _binary(y), np.asarray(called, dtype=bool)
    if calls.shape != targets.shape:
        raise ValueError("calls and targets differ in length")
    cells = confusion_cells(targets, calls) @ _weights(w, len(targets))
    return Confusion(*(_answer(cell, w) for cell in cells))


def confusion_cells(y: Array, called: NDArray[np.bool_]) -> Array:
    """Indicators (4, n) of tp, fp, fn, tn: times weights (n, R), the four counts."""
    positive = y == 1
    return np.stack([positive & called, ~positive & called, positive & ~called, ~positive & ~called]).astype(np.float64)


def sensitivity(c: Confusion) -> Any:
    """Share of the positives that are called positive (recall, true positive rate)."""
    return _ratio(c.tp, c.tp + c.fn)


def specificity(c: Confusion) -> Any:
    """Share of the negatives that are called negative (true negative rate)."""
    return _ratio(c.tn, c.tn + c.fp)


def balanced_accuracy(c: Confusion) -> Any:
    """The mean of sensitivity and specificity."""
    return (sensitivity(c) + specificity(c)) / 2


def ppv(c: Confusion) -> Any:
    """Positive predictive value (precision) at the prevalence of these data; undefined where nothing is called."""
    return _both(c, _ratio(c.tp, c.tp + c.fp))


def npv(c: Confusion) -> Any:
    """Negative predictive value at the prevalence of these data; undefined where everything is called."""
    return _both(c, _ratio(c.tn, c.tn + c.fn))


def f1(c: Confusion) -> Any:
    """F1 = 2 tp / (2 tp + fp + fn)."""
    return _both(c, _ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn))


def kappa(c: Confusion) -> Any:
    """Cohen's kappa: agreement beyond chance, 2 (tp tn - fn fp) / ((tp+fp)(fp+tn) + (tp+fn)(fn+tn))."""
    chance = (c.tp + c.fp) * (c.fp + c.tn) + (c.tp + c.fn) * (c.fn + c.tn)
    return _both(c, _ratio(2 * (c.tp * c.tn - c.fn * c.fp), chance))


def mcc(c: Confusion) -> Any:
    """Matthews' correlation coefficient; undefined where all calls are the same."""
    margins = np.sqrt(c.tp + c.fp) * np.sqrt(c.tp + c.fn) * np.sqrt(c.tn + c.fp) * np.sqrt(c.tn + c.fn)
    return _ratio(c.tp * c.tn - c.fp * c.fn, margins)


def ppv_at(c: Confusion, prevalence: float) -> Any:
    """Positive predictive value at another prevalence than that of these data, by Bayes' rule.

    Args:
        c: of calls.
        prevalence: share of positives where the classifier is to be used, in (0, 1).
    """
    right, wrong = sensitivity(c) * prevalence, (1 - specificity(c)) * (1 - prevalence)
    return _ratio(right, right + wrong)


def npv_at(c: Confusion, prevalence: float) -> Any:
    """Negative predictive value at another prevalence, as `ppv_at`."""
    right, wrong = specificity(c) * (1 - prevalence), (1 - sensitivity(c)) * prevalence
    return _ratio(right, right + wrong)


THRESHOLDED = {
    "f1": f1,
    "kappa": kappa,
    "mcc": mcc,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "balanced_accuracy": balanced_accuracy,
    "ppv": ppv,
    "npv": npv,
}
"""Scores of calls at a threshold, by their name in `scores.json`."""


def _both(c: Confusion, value: Any) -> Any:
    defined = (np.asarray(c.tp + c.fn) > 0) & (np.asarray(c.fp + c.tn) > 0)
    return np.where(defined, value, np.nan)[()]


def _ratio(numerator: Any, denominator: Any) -> Any:
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)[()]


def _binary(y: ArrayLike) -> Array:
    targets = np.asarray(y, dtype=np.float64)
    if targets.ndim != 1 or not np.isin(targets, (0, 1)).all():
        raise ValueError("targets must be a row of 0 and 1")
    return targets


def _weights(w: ArrayLike | None, n: int) -> Array:
    weights = np.ones((n, 1)) if w is None else np.asarray(w, dtype=np.float64)
    if len(weights) != n:
        raise ValueError(f"{n} rows but {len(weights)} weights")
    return weights if weights.ndim == 2 else weights[:, None]


def _answer(values: Array, w: ArrayLike | None) -> Any:
    return values if w is not None and np.ndim(w) == 2 else float(values[0])
