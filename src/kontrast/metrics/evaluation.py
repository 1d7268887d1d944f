"""The table of scores of one evaluation: the content of `scores.json`.

A finding's scores are replicated together, on the same resampled patients as every other finding's, so that macro
scores and differences get their intervals from whole replicates.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from kontrast.metrics.intervals import MAX_LEFT_OUT, bootstrap, index_units, interval, mean_defined
from kontrast.metrics.scores import THRESHOLDED, Array, Confusion, Ranks, confusion_cells
from kontrast.types import COMPETITION_FINDINGS

SCORES: tuple[str, ...] = ("auroc", "ap", *THRESHOLDED, "brier")
"""What is scored, by its name in `scores.json`."""

FEW, FEWER = 30, 10
"""Fewer positive or negative patients than this, and a finding's intervals are marked: below 30 a percentile interval
that says 95 % covers less (see `intervals`), below 10 it is so wide, and covers so much less, that it hardly tells."""


class FindingScorer:
    """All scores of one finding as a function of the patients' weights.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        s: scores (n,).
        threshold: called positive where s >= threshold; None: scores of calls are NaN.
        units: the patient of each row (n,), numbered below `total`.
        total: number of patients U.

    Attributes:
        n, positives, patients: rows with a target, those with 1, patients they come from.
        units_with: patients with a positive row, and with a negative one.
        in_range: whether every score lies in [0, 1], without which there is no Brier score.
    """

    def __init__(self, y: Array, s: Array, threshold: float | None, units: NDArray[np.int64], total: int) -> None:
        known = ~np.isnan(y)
        y, s, units = y[known], s[known], units[known]
        self.n, self.positives, self.patients = len(y), int(y.sum()), len(np.unique(units))
        self.units_with = {word: len(np.unique(units[y == v])) for word, v in (("positive", 1), ("negative", 0))}
        self.threshold = threshold
        self.in_range = bool(((s >= 0) & (s <= 1)).all())
        self._ranks = Ranks.of(y, s, units, total)
        rows = []
        if threshold is not None:
            rows.append(confusion_cells(y, s >= threshold))
        if self.in_range:
            rows += [((s - y) ** 2)[None], np.ones((1, self.n))]
        # Sparse, like the ranks: a dense product would wake the threads of BLAS, which stall on a busy machine.
        sums = [np.bincount(units, weights=row, minlength=total) for row in np.concatenate(rows)] if rows else []
        self._sums = sparse.csr_array(np.reshape(sums, (len(sums), total)))

    def __call__(self, w: Array) -> Array:
        """Scores (len(SCORES), R) for weights (U, R), NaN where undefined."""
        undefined = np.full(w.shape[1], np.nan)
        values = dict(zip(("auroc", "ap"), self._ranks.areas(w), strict=True))
        sums = self._sums @ w
        if self.threshold is not None:
            counts = Confusion(*sums[:4])
            values |= {name: score(counts) for name, score in THRESHOLDED.items()}
        if self.in_range:
            values["brier"] = np.divide(sums[-2], sums[-1], out=undefined.copy(), where=sums[-1] > 0)
        return np.stack([values.get(name, undefined) for name in SCORES])

    def reason(self, score: str, no_threshold: str) -> str:
        """Why a score is undefined on these data."""
        if self.n == 0:
            return "no labelled image"
        if score == "brier":
            return "scores are not all between 0 and 1"
        if score in THRESHOLDED and self.threshold is None:
            return no_threshold
        if self.positives == 0:
            return f"no positive among {self.n} labelled images"
        if self.positives == self.n:
            return f"no negative among {self.n} labelled images"
        return "every image is called the same" if score in THRESHOLDED else "undefined on these data"

    def note(self, resampled: str) -> str | None:
        """What a reader must know about a small sample, or None."""
        noun = "patient" if resampled == "patients" else "case"
        few = [f"{n} {word} {noun}{'' if n == 1 else 's'}" for word, n in self.units_with.items() if n < FEW]
        if not few:
            return None
        if min(self.units_with.values()) < FEWER:
            return f"wide: only {' and '.join(few)}, so the intervals cover less than 95 % and hardly tell"
        return f"few: only {' and '.join(few)}, so the intervals cover somewhat less than 95 %"


def score_table(
    truth: ArrayLike,
    scores: ArrayLike,
    findings: Sequence[str],
    *,
    patients: Sequence[Any] | NDArray[Any] | None = None,
    thresholds: Mapping[str, Mapping[str, Any]] | None = None,
    label_policy: Mapping[str, Any] | None = None,
    split: str | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score each finding and their means, with 95 % intervals.

    Args:
        truth: targets (n, F) after the label policy: 1, 0 or NaN = ignored.
        scores: (n, F), higher = more likely; probabilities for Brier scores. Finite.
        findings: F names.
        patients: (n,) whose rows are resampled together; None: rows are resampled, which is too sure where
            patients have several.
        thresholds: {finding: {"value": float | None, "reason": str | None}}, as `thresholds.choose_all` gives.
        label_policy: how uncertain and blank labels became targets; copied.
        split: what was scored; copied.
        replicates: bootstrap replicates; 0 for no intervals.
        seed: of the resampling.

    Returns:
        The content of `scores.json`, JSON-ready: what is undefined is None with a `reason`. `macro` is the mean over
        findings for which a score is defined (their names beside it); in a replicate it is the mean over those
        defined there, and `incomplete` counts the replicates that lacked some. Where those are many (`mixed`),
        `steady` is the same over the findings whose AUROC has an interval of its own: which ones depends on the
        labels alone, not on what is scored. `competition` is the same over CheXpert's five, where all are present.

    Raises:
        ValueError: shapes do not fit, or a score is not finite.
    """
    y, s = np.asarray(truth, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if y.ndim != 2 or y.shape != s.shape or y.shape[1] != len(findings):
        raise ValueError(f"truth {y.shape}, scores {s.shape} and {len(findings)} findings do not fit together")
    resampled = "rows" if patients is None else "patients"
    units, total = index_units(np.arange(len(y)) if patients is None else patients)
    limits = thresholds or {}
    scorers = [
        FindingScorer(y[:, f], s[:, f], limits.get(name, {}).get("value"), units, total)
        for f, name in enumerate(findings)
    ]

    points, drawn = _replicated(scorers, total, replicates, seed)
    result: dict[str, Any] = {"split": split, "label_policy": dict(label_policy or {}), "rows": len(y)}
    result["patients"] = total if resampled == "patients" else None
    result["interval"] = {
        "level": 0.95, "method": "percentile bootstrap", "resampled": resampled, "replicates": replicates, "seed": seed,
    }  # fmt: skip
    result["findings"] = {
        name: _finding(scorers[f], points[f], drawn[f], limits.get(name, {}), resampled)
        for f, name in enumerate(findings)
    }
    result["macro"] = _means(range(len(findings)), findings, points, drawn)
    if mixed(result["macro"]["auroc"], replicates):
        steady = [f for f, name in enumerate(findings) if result["findings"][name]["auroc"]["low"] is not None]
        result["steady"] = _means(steady, findings, points, drawn)
    if set(COMPETITION_FINDINGS) <= set(findings):
        five = [list(findings).index(name) for name in COMPETITION_FINDINGS]
        result["competition"] = _means(five, findings, points, drawn)
    return result


def _replicated(scorers: Sequence[FindingScorer], total: int, replicates: int, seed: int) -> tuple[Array, Array]:
    """Every score of every finding: on the data (F, S) and in the replicates (F, S, R)."""

    def everything(w: Array) -> Array:
        return np.concatenate([scorer(w) for scorer in scorers]) if scorers else np.empty((0, w.shape[1]))

    points = everything(np.ones((total, 1)))[:, 0].reshape(len(scorers), len(SCORES))
    drawn = bootstrap(everything, total, replicates=replicates, seed=seed)
    return points, drawn.reshape(len(scorers), len(SCORES), drawn.shape[1])


def repeated_auroc(
    truth: ArrayLike,
    runs: Sequence[ArrayLike],
    findings: Sequence[str],
    *,
    patients: Sequence[Any] | NDArray[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """AUROC averaged over repetitions of one training on the same cases (from other initial weights).

    Args:
        truth: targets (n, F): 1, 0 or NaN = ignored.
        runs: the scores (n, F) of each repetition.
        findings: F names.
        patients: (n,) whose rows are resampled together; None: rows are resampled.
        replicates: bootstrap replicates.
        seed: of the resampling.

    Returns:
        `findings` and `macro` as `score_table` gives for AUROC. Intervals are of the cases alone, not of the
        repetitions.
    """
    y, every = np.asarray(truth, dtype=np.float64), [np.asarray(s, dtype=np.float64) for s in runs]
    known = ~np.isnan(y)
    units, total = index_units(np.arange(len(y)) if patients is None else patients)
    ranks = [
        [Ranks.of(y[k, f], s[k, f], units[k], total) for f, k in enumerate(known.T)] for s in every
    ]  # repetitions × F

    def aurocs(w: Array) -> Array:
        return np.mean([[one.areas(w)[0] for one in by_finding] for by_finding in ranks], axis=0)

    points, drawn = aurocs(np.ones((total, 1)))[:, 0], bootstrap(aurocs, total, replicates=replicates, seed=seed)
    by_name = {name: interval(points[f], drawn[f], "one class only") for f, name in enumerate(findings)}
    return {"macro": _mean(range(len(findings)), findings, points, drawn), "findings": by_name}


def mixed(mean: Mapping[str, Any], replicates: int) -> bool:
    """Whether so many replicates of a mean lacked one of its findings that its interval is marked: over a tenth.

    The interval stays, for what else could be done covers less (`benchmarks/macro_coverage.py`): over the complete
    replicates alone it leaves out just the ones in which a rare finding matters, and one with an absent finding held
    at its value takes that for known.

    Args:
        mean: an entry of `score_table`'s means, or of `paired_difference`.
        replicates: how many were drawn.
    """
    return mean.get("incomplete", 0) > MAX_LEFT_OUT * replicates


def _finding(
    scorer: FindingScorer, points: Array, drawn: Array, threshold: Mapping[str, Any], resampled: str
) -> dict[str, Any]:
    """One finding's entry: points (S,), drawn (S, R)."""
    entry: dict[str, Any] = {"n": scorer.n, "positives": scorer.positives}
    entry["prevalence"] = scorer.positives / scorer.n if scorer.n else None
    entry["patients"] = scorer.patients if resampled == "patients" else None
    no_threshold = threshold.get("reason") or "no threshold was given"
    for index, name in enumerate(SCORES):
        entry[name] = interval(points[index], drawn[index], scorer.reason(name, no_threshold))
    entry["threshold"] = scorer.threshold
    if scorer.threshold is None:
        entry["threshold_reason"] = no_threshold
    note = scorer.note(resampled)
    return entry | ({"note": note} if note else {})


def _means(chosen: Sequence[int], findings: Sequence[str], points: Array, drawn: Array) -> dict[str, Any]:
    """Means of every score over the chosen findings: points (F, S), drawn (F, S, R)."""
    return {name: _mean(chosen, findings, points[:, s], drawn[:, s]) for s, name in enumerate(SCORES)}


def _mean(chosen: Sequence[int], findings: Sequence[str], points: Array, drawn: Array) -> dict[str, Any]:
    """The mean of one score over those of the chosen findings for which it is defined: points (F,), drawn (F, R)."""
    defined = [f for f in chosen if np.isfinite(points[f])]
    if not defined:
        return interval(np.nan, np.empty(0), "undefined for every finding") | {"findings": []}
    replicates = drawn[defined]
    entry = interval(float(np.mean(points[defined])), mean_defined(replicates))
    incomplete = int((~np.isfinite(replicates)).any(axis=0).sum())
    entry |= {"findings": [findings[f] for f in defined]}
    return entry | ({"incomplete": incomplete} if incomplete else {})
