"""ROC curves, and where readers stand beside them."""

from typing import Any

import numpy as np

from kontrast.metrics.scores import Array


def roc_curve(y: Array, s: Array) -> tuple[Array, Array]:
    """False-positive and true-positive rates at every threshold, from (0, 0) to (1, 1).

    Args:
        y: targets (n,): 1, 0 or NaN = ignored; both classes are there.
        s: scores (n,).
    """
    known = ~np.isnan(y)
    order = np.argsort(-s[known], kind="stable")
    hits, ranked = y[known][order], s[known][order]
    last = np.append(np.diff(ranked) != 0, True)  # a tie is one step
    counts = [np.append(0, np.cumsum(part)[last]) for part in (1 - hits, hits)]
    return counts[0] / counts[0][-1], counts[1] / counts[1][-1]


def reader_point(y: Array, s: Array, called: Array) -> dict[str, Any]:
    """A reader's operating point, and what the scores reach at the reader's own specificity.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        s: a system's scores (n,).
        called: the reader's calls (n,): 1, 0 or NaN = none given.

    Returns:
        `n`, `sensitivity`, `specificity`, and `system_sensitivity` at that specificity on the system's ROC curve
        (interpolated) over the cases that the reader called; or a `reason` where a class is missing.
    """
    known = ~np.isnan(y) & ~np.isnan(called)
    truth, calls = y[known] == 1, called[known] == 1
    if not truth.any() or truth.all():
        return {"n": int(known.sum()), "reason": "one class only among the cases called"}
    specificity = float((~calls[~truth]).mean())
    x, hit = roc_curve(y[known], s[known])
    return {
        "n": int(known.sum()),
        "sensitivity": float(calls[truth].mean()),
        "specificity": specificity,
        "system_sensitivity": float(np.interp(1 - specificity, x, hit)),
    }
