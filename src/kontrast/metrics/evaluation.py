"""The table of scores of one evaluation: the content of `scores.json`.

A finding's scores are replicated together, on the same resampled patients as every other finding's, so that macro
scores and differences get their intervals from whole replicates.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kontrast.metrics.delong import delong
from kontrast.metrics.finding import CALIBRATION, SCORES, FindingScorer
from kontrast.metrics.intervals import MAX_LEFT_OUT, METHODS, bootstrap, index_units, interval, jackknife, mean_defined
from kontrast.metrics.scores import Array, auroc_within, ranks_within
from kontrast.types import COMPETITION_FINDINGS

NO_THRESHOLD = "no threshold was given"


def score_table(
    truth: ArrayLike,
    scores: ArrayLike,
    findings: Sequence[str],
    *,
    patients: Sequence[Any] | NDArray[Any] | None = None,
    thresholds: Mapping[str, Mapping[str, Any]] | None = None,
    prevalence: Mapping[str, float] | None = None,
    label_policy: Mapping[str, Any] | None = None,
    split: str | None = None,
    replicates: int = 1000,
    seed: int = 0,
    method: str = "bca",
) -> dict[str, Any]:
    """Score each finding and their means, with 95 % intervals.

    Args:
        truth: targets (n, F) after the label policy: 1, 0 or NaN = ignored.
        scores: (n, F), higher = more likely; probabilities for Brier scores and calibration. Finite.
        findings: F names.
        patients: (n,) whose rows are resampled together; None: rows are resampled, which is too sure where
            patients have several.
        thresholds: {finding: {"value": float | None, "reason": str | None}}, as `thresholds.choose_all` gives; with
            `positives`, on how many a threshold rests is copied as `threshold_positives`.
        prevalence: {finding: share of positives, in (0, 1), at which PPV and NPV are given besides that of the data}.
        label_policy: how uncertain and blank labels became targets; copied.
        split: what was scored; copied.
        replicates: bootstrap replicates; 0 for no intervals.
        seed: of the resampling.
        method: `percentile` or `bca`.

    Returns:
        The content of `scores.json`, JSON-ready: what is undefined is None with a `reason`. `macro` is the mean over
        findings for which a score is defined (their names beside it); in a replicate it is the mean over those
        defined there, and `incomplete` counts the replicates that lacked some. Where those are many (`mixed`),
        `steady` is the same over the findings whose AUROC has an interval of its own: which ones depends on the
        labels alone, not on what is scored. `micro` pools the cells of all findings as if they were one.
        `competition` is the macro over CheXpert's five, where all are present.

    Raises:
        ValueError: shapes do not fit, a score is not finite, or no such method.
    """
    y, s = np.asarray(truth, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if y.ndim != 2 or y.shape != s.shape or y.shape[1] != len(findings):
        raise ValueError(f"truth {y.shape}, scores {s.shape} and {len(findings)} findings do not fit together")
    if method not in METHODS:
        raise ValueError(f"method {method!r} is none of {METHODS}")
    resampled = "rows" if patients is None else "patients"
    units, total = index_units(np.arange(len(y)) if patients is None else patients)
    limits = thresholds or {}
    scorers = [
        FindingScorer(y[:, f], s[:, f], limits.get(name, {}).get("value"), units, total, (prevalence or {}).get(name))
        for f, name in enumerate(findings)
    ]
    pool, why = _pool(y, s, findings, limits, units, total)
    drawn = _draw([*scorers, pool], total, replicates, seed, method)

    result: dict[str, Any] = {"split": split, "label_policy": dict(label_policy or {}), "rows": len(y)}
    result["patients"] = total if resampled == "patients" else None
    result["interval"] = {
        "level": 0.95, "method": f"{WORDS[method]} bootstrap", "resampled": resampled, "replicates": replicates,
        "seed": seed,
    }  # fmt: skip
    result["findings"] = {
        name: _finding(scorers[f], drawn.of(f), limits.get(name, {}), resampled, method)
        for f, name in enumerate(findings)
    }
    for f, name in enumerate(findings):
        result["findings"][name]["auroc_delong"] = delong(y[:, f], s[:, f], None if patients is None else units)
    calibrated = {name: result["findings"][name] for name in findings}
    result["macro"] = _means(range(len(findings)), findings, drawn, calibrated)
    if mixed(result["macro"]["auroc"], replicates):
        steady = [f for f, name in enumerate(findings) if result["findings"][name]["auroc"]["low"] is not None]
        result["steady"] = _means(steady, findings, drawn, calibrated)
    result["micro"] = _finding(pool, drawn.of(len(findings)), {"reason": why}, resampled, method)
    if set(COMPETITION_FINDINGS) <= set(findings):
        five = [list(findings).index(name) for name in COMPETITION_FINDINGS]
        result["competition"] = _means(five, findings, drawn, calibrated)
    return result


WORDS = {"percentile": "percentile", "bca": "BCa"}


class _Drawn(NamedTuple):
    """Every score of F findings: on the data (F, S), in the replicates (F, S, R), and for BCa with patients left out
    (F, S, G).
    """

    points: Array
    replicates: Array
    left_out: Array | None

    def of(self, f: int) -> "_Drawn":
        """One finding's."""
        return _Drawn(self.points[f], self.replicates[f], None if self.left_out is None else self.left_out[f])


def _draw(scorers: Sequence[FindingScorer], total: int, replicates: int, seed: int, method: str) -> _Drawn:
    def everything(w: Array) -> Array:
        return np.concatenate([scorer(w) for scorer in scorers])

    def parted(values: Array) -> Array:
        return values.reshape(len(scorers), len(SCORES), values.shape[1])

    points = parted(everything(np.ones((total, 1))))[:, :, 0]
    left_out = parted(jackknife(everything, total)) if method == "bca" and replicates else None
    return _Drawn(points, parted(bootstrap(everything, total, replicates=replicates, seed=seed)), left_out)


def _pool(
    y: Array, s: Array, findings: Sequence[str], limits: Mapping[str, Any], units: NDArray[np.int64], total: int
) -> tuple[FindingScorer, str]:
    """All findings' cells as if of one, each called at its own threshold, and why there are no calls."""
    values = [limits.get(name, {}).get("value") for name in findings]
    lacking = [name for name, value in zip(findings, values, strict=True) if value is None]
    calls = None if lacking else np.tile(np.array(values, dtype=np.float64), len(y))
    why = f"no threshold for {', '.join(lacking)}" if limits and len(lacking) < len(findings) else NO_THRESHOLD
    return FindingScorer(y.ravel(), s.ravel(), calls, np.repeat(units, len(findings)), total), why


def repeated_auroc(
    truth: ArrayLike,
    runs: Sequence[ArrayLike],
    findings: Sequence[str],
    *,
    patients: Sequence[Any] | NDArray[Any] | None = None,
    strata: NDArray[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """AUROC averaged over repetitions of one training on the same cases (from other initial weights).

    Args:
        truth: targets (n, F): 1, 0 or NaN = ignored.
        runs: the scores (n, F) of each repetition.
        findings: F names.
        patients: (n,) whose rows are resampled together; None: rows are resampled.
        strata: (n,) rows whose scores share a scale (folds): AUROC is taken within each, as `scores.auroc_within`.
        replicates: bootstrap replicates.
        seed: of the resampling.

    Returns:
        `findings` and `macro` as `score_table` gives for AUROC, with BCa intervals. These are of the cases alone, not
        of the repetitions.
    """
    y, every = np.asarray(truth, dtype=np.float64), [np.asarray(s, dtype=np.float64) for s in runs]
    units, total = index_units(np.arange(len(y)) if patients is None else patients)
    ranks = [
        [ranks_within(y[:, f], s[:, f], units, total, strata) for f in range(len(findings))] for s in every
    ]  # repetitions × F × strata

    def aurocs(w: Array) -> Array:
        return np.mean([[auroc_within(one, w) for one in by_finding] for by_finding in ranks], axis=0)

    points, drawn = aurocs(np.ones((total, 1)))[:, 0], bootstrap(aurocs, total, replicates=replicates, seed=seed)
    without = jackknife(aurocs, total)
    by_name = {name: interval(points[f], drawn[f], "one class only", without[f]) for f, name in enumerate(findings)}
    return {"macro": _mean(range(len(findings)), findings, points, drawn, without), "findings": by_name}


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
    scorer: FindingScorer, drawn: _Drawn, threshold: Mapping[str, Any], resampled: str, method: str
) -> dict[str, Any]:
    """One finding's entry, or the pool's."""
    entry: dict[str, Any] = {"n": scorer.n, "positives": scorer.positives}
    entry["prevalence"] = scorer.positives / scorer.n if scorer.n else None
    entry["patients"] = scorer.patients if resampled == "patients" else None
    no_threshold = threshold.get("reason") or NO_THRESHOLD
    for i, name in enumerate(SCORES):
        left_out = None if drawn.left_out is None else drawn.left_out[i]
        entry[name] = interval(drawn.points[i], drawn.replicates[i], scorer.reason(name, no_threshold), left_out)
    entry |= scorer.calibration()
    if scorer.prevalence is not None:
        entry["stated_prevalence"] = scorer.prevalence
    if not isinstance(scorer.threshold, np.ndarray):
        entry["threshold"] = scorer.threshold
        if scorer.threshold is not None and threshold.get("positives") is not None:
            entry["threshold_positives"] = int(threshold["positives"])
    if scorer.threshold is None:
        entry["threshold_reason"] = no_threshold
    # The note is about intervals of AUROC: where none is given, the reason says why.
    note = scorer.note(resampled, method, drawn.points[0]) if entry["auroc"]["low"] is not None else None
    return entry | ({"note": note} if note else {})


def _means(
    chosen: Sequence[int], findings: Sequence[str], drawn: _Drawn, entries: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Means of every score over the chosen findings; those of calibration, which is not resampled, without interval."""
    result = {}
    for s, name in enumerate(SCORES):
        left_out = None if drawn.left_out is None else drawn.left_out[:, s]
        result[name] = _mean(chosen, findings, drawn.points[:, s], drawn.replicates[:, s], left_out)
    for name in CALIBRATION:
        values = {findings[f]: entries[findings[f]][name]["value"] for f in chosen}
        known = [one for one, value in values.items() if value is not None]
        why = "no interval: it is not resampled" if known else "undefined for every finding"
        mean = float(np.mean([values[one] for one in known])) if known else None
        result[name] = {"value": mean, "low": None, "high": None, "reason": why, "findings": known}
    return result


def _mean(
    chosen: Sequence[int], findings: Sequence[str], points: Array, drawn: Array, left_out: Array | None = None
) -> dict[str, Any]:
    """The mean of one score over those of the chosen findings for which it is defined: points (F,), drawn (F, R)."""
    defined = [f for f in chosen if np.isfinite(points[f])]
    if not defined:
        return interval(np.nan, np.empty(0), "undefined for every finding") | {"findings": []}
    replicates = drawn[defined]
    without = None if left_out is None else mean_defined(left_out[defined])
    entry = interval(float(np.mean(points[defined])), mean_defined(replicates), left_out=without)
    incomplete = int((~np.isfinite(replicates)).any(axis=0).sum())
    entry |= {"findings": [findings[f] for f in defined]}
    return entry | ({"incomplete": incomplete} if incomplete else {})
