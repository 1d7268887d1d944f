"""Two models on the same cases, finding by finding: paired differences, with p-values that allow for their number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from kontrast.metrics.delong import components, standard_error
from kontrast.metrics.intervals import paired_difference
from kontrast.metrics.scores import Array

METRICS = ("auroc", "ap")


def holm(p: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for how many they are, so that the chance of any false finding stays below the level.

    Args:
        p: (F,), None where undefined; those do not count.

    Source: Holm 1979: the smallest times their number, the next times one less, and so on, never falling.
    """
    known = sorted((value, place) for place, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        adjusted[place] = highest
    return adjusted


def paired_table(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    findings: Sequence[str],
    *,
    patients: NDArray[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The first model less the second, for AUROC and average precision: of each finding and of the macro.

    Args:
        truth: targets (n, F): 1, 0 or NaN = ignored.
        first: the first model's scores (n, F).
        second: the second's.
        findings: F names.
        patients: (n,) whose rows are resampled together; None: rows are resampled.
        replicates: bootstrap replicates; both models are scored on the same ones.
        seed: of the draws.

    Returns:
        `findings` {name: {auroc, ap}} and `macro` {auroc, ap}, each as `paired_difference` gives it; findings with
        `p_holm` beside `p`, adjusted over the findings, and AUROC with `p_delong`, a check in closed form.
    """
    y, one, two = (np.asarray(a, dtype=np.float64) for a in (truth, first, second))
    people = None if patients is None else list(patients)
    found: dict[str, Any] = {"findings": {name: {} for name in findings}, "macro": {}}
    for metric in METRICS:
        options: dict[str, Any] = {"metric": metric, "replicates": replicates, "seed": seed}
        found["macro"][metric] = paired_difference(y, one, two, people, **options)
        alone = [paired_difference(y[:, f], one[:, f], two[:, f], people, **options) for f in range(len(findings))]
        for name, entry, p in zip(findings, alone, holm([entry["p"] for entry in alone]), strict=True):
            found["findings"][name][metric] = entry | {"p_holm": p}
    for f, name in enumerate(findings):
        found["findings"][name]["auroc"]["p_delong"] = _delong_p(y[:, f], one[:, f], two[:, f], patients)
    return found


def _delong_p(y: Array, one: Array, two: Array, patients: NDArray[Any] | None) -> float | None:
    """Two-sided p of equal AUROCs from the clustered standard error of their difference; None where undefined."""
    known = ~np.isnan(y)
    y, one, two = y[known], one[known], two[known]
    if not 0 < y.sum() < len(y):
        return None
    (first, placed), (second, other) = components(y, one), components(y, two)
    error = standard_error(y, placed - other, None if patients is None else patients[known])
    if not error > 0:
        return None
    return float(2 * special.ndtr(-abs(first - second) / error))
