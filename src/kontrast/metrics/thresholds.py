"""Thresholds, chosen on validation and then frozen: a finding is called where its probability is >= the threshold.

A threshold chosen on the data that it is scored on flatters; so these are stored in the Classifier, and what scores
on other data only reads them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

RULES = ("f1", "youden")
"""`f1`: the highest F1. `youden`: the highest sensitivity + specificity - 1 (Youden 1950)."""


def choose(y: ArrayLike, p: ArrayLike, rule: str = "f1") -> dict[str, Any]:
    """The threshold of one finding.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        p: probabilities (n,), or any scores.
        rule: one of RULES.

    Returns:
        `value`: midway between the lowest score that is called and the highest that is not (so that rounding
        moves no case across), the highest such threshold where several are equally good; None with a `reason` where
        a class is missing. `rule`, and `positives`: how many it rests on.

    Raises:
        ValueError: an unknown rule, or scores that are not finite.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is none of {RULES}")
    targets, scores = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    known = ~np.isnan(targets)
    targets, scores = targets[known], scores[known]
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    positives = int((targets == 1).sum())
    answer: dict[str, Any] = {"value": None, "rule": rule, "reason": None, "positives": positives}
    if positives in (0, len(targets)):
        missing = "no labelled image" if not len(targets) else f"no {'negative' if positives else 'positive'} image"
        return answer | {"reason": f"{missing} to choose a threshold on"}
    order = np.argsort(-scores, kind="stable")
    scores, targets = scores[order], targets[order]
    last = np.append(scores[1:] != scores[:-1], True)
    tp, called = np.cumsum(targets)[last], (np.arange(len(scores)) + 1)[last]
    fp = called - tp
    quality = 2 * tp / (called + positives) if rule == "f1" else tp / positives - fp / (len(targets) - positives)
    best = int(np.argmax(quality))
    levels = scores[last]
    lowest = levels[best]
    next_lower = levels[best + 1] if best + 1 < len(levels) else lowest
    middle = (lowest + next_lower) / 2
    # The middle of two neighbouring floats may round to the lower one, which must stay uncalled.
    return answer | {"value": float(middle if middle > next_lower else lowest)}


def choose_all(y: ArrayLike, p: ArrayLike, findings: Sequence[str], rule: str = "f1") -> dict[str, dict[str, Any]]:
    """`choose` for each finding: y (n, F) with NaN = ignored, p (n, F), to {finding: {value, rule, reason, …}}."""
    targets, scores = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    return {name: choose(targets[:, f], scores[:, f], rule) for f, name in enumerate(findings)}
