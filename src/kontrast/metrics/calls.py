"""Scores of one finding's calls at a threshold, from the four counts; weights and NaN as in `metrics.scores`."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kontrast.metrics.scores import Array, answer, binary, ratio, weightings


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
    targets, calls = binary(y), np.asarray(called, dtype=bool)
    if calls.shape != targets.shape:
        raise ValueError("calls and targets differ in length")
    cells = confusion_cells(targets, calls) @ weightings(w, len(targets))
    return Confusion(*(answer(cell, w) for cell in cells))


def confusion_cells(y: Array, called: NDArray[np.bool_]) -> Array:
    """Indicators (4, n) of tp, fp, fn, tn: times weights (n, R), the four counts."""
    positive = y == 1
    return np.stack([positive & called, ~positive & called, positive & ~called, ~positive & ~called]).astype(np.float64)


def sensitivity(c: Confusion) -> Any:
    """Share of the positives that are called positive (recall, true positive rate)."""
    return ratio(c.tp, c.tp + c.fn)


def specificity(c: Confusion) -> Any:
    """Share of the negatives that are called negative (true negative rate)."""
    return ratio(c.tn, c.tn + c.fp)


def balanced_accuracy(c: Confusion) -> Any:
    """The mean of sensitivity and specificity."""
    return (sensitivity(c) + specificity(c)) / 2


def ppv(c: Confusion) -> Any:
    """Positive predictive value (precision) at the prevalence of these data; undefined where nothing is called."""
    return _both(c, ratio(c.tp, c.tp + c.fp))


def npv(c: Confusion) -> Any:
    """Negative predictive value at the prevalence of these data; undefined where everything is called."""
    return _both(c, ratio(c.tn, c.tn + c.fn))


def f1(c: Confusion) -> Any:
    """F1 = 2 tp / (2 tp + fp + fn)."""
    return _both(c, ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn))


def kappa(c: Confusion) -> Any:
    """Cohen's kappa: agreement beyond chance, 2 (tp tn - fn fp) / ((tp+fp)(fp+tn) + (tp+fn)(fn+tn))."""
    chance = (c.tp + c.fp) * (c.fp + c.tn) + (c.tp + c.fn) * (c.fn + c.tn)
    return _both(c, ratio(2 * (c.tp * c.tn - c.fn * c.fp), chance))


def mcc(c: Confusion) -> Any:
    """Matthews' correlation coefficient; undefined where all calls are the same."""
    margins = np.sqrt(c.tp + c.fp) * np.sqrt(c.tp + c.fn) * np.sqrt(c.tn + c.fp) * np.sqrt(c.tn + c.fn)
    return ratio(c.tp * c.tn - c.fp * c.fn, margins)


def ppv_at(c: Confusion, prevalence: float) -> Any:
    """Positive predictive value at another prevalence than that of these data, by Bayes' rule.

    Args:
        c: of calls.
        prevalence: share of positives where the classifier is to be used, in (0, 1).
    """
    right, wrong = sensitivity(c) * prevalence, (1 - specificity(c)) * (1 - prevalence)
    return ratio(right, right + wrong)


def npv_at(c: Confusion, prevalence: float) -> Any:
    """Negative predictive value at another prevalence, as `ppv_at`."""
    right, wrong = specificity(c) * (1 - prevalence), (1 - sensitivity(c)) * prevalence
    return ratio(right, right + wrong)


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
