"""Rates of calls in groups of cases, and how far apart groups are.

A rate is the share of events among the cases that it is about: sensitivity (TPR) is calls among positives, FPR calls
among negatives, under-diagnosis "healthy" calls among the ill (Seyyed-Kalantari et al. 2021, Nature Medicine 27, where
it is the false-positive rate of "No Finding"). Thresholds are frozen beforehand; nothing is chosen here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kontrast.metrics.finding import FEW
from kontrast.metrics.intervals import bootstrap, index_units, interval, jackknife
from kontrast.metrics.scores import Array


def compare_rates(
    events: ArrayLike,
    among: ArrayLike,
    groups: Mapping[str, NDArray[np.bool_]],
    *,
    patients: Sequence[Any] | NDArray[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The rate in each group, and the difference between the groups where it is highest and lowest.

    Args:
        events: (n,) bool, what is counted.
        among: (n,) bool, the cases that count.
        groups: name → (n,) bool, its cases.
        patients: (n,) whose cases are resampled together; None: cases are resampled.
        replicates: bootstrap replicates, the same for all groups; 0: no intervals.
        seed: of the draws.

    Returns:
        `groups`: name → `value`, `low`, `high` (BCa; None with a `reason` where no case counts) and `n`, the cases that
        count, and `patients` (cases where `patients` is None), whose they are. `gap`: highest less lowest among the
        groups with FEW patients or more, with a percentile interval of the difference between these two groups and
        their names in `between`; None with a `reason` below two such groups. Where every case of one of the two has
        the same outcome, resampling shows no spread, so the gap has no interval, with a reason. Smaller groups are
        listed with why they stand `apart` and are in no gap: the extreme of many groups is else the smallest, by
        chance. Which two they are was read off the same data: of equal groups noise alone makes a gap, so one whose
        interval holds 0 says nothing.
    """
    hit, counts = np.asarray(events, dtype=bool), np.asarray(among, dtype=bool)
    units, total = index_units(np.arange(len(hit)) if patients is None else patients)
    names = list(groups)
    rows = [part for name in names for part in (groups[name] & counts & hit, groups[name] & counts)]
    sums = np.array([np.bincount(units, weights=row, minlength=total) for row in rows]).reshape(len(rows), total)

    def rates(w: Array) -> Array:
        found = sums @ w
        return np.divide(found[::2], found[1::2], out=np.full(found[::2].shape, np.nan), where=found[1::2] > 0)

    points = rates(np.ones((total, 1)))[:, 0]
    people = (sums[1::2] > 0).sum(axis=1)
    drawn, without = bootstrap(rates, total, replicates=replicates, seed=seed), jackknife(rates, total)
    found = {
        name: interval(points[i], drawn[i], "no case counts here", without[i] if replicates else None)
        | {"n": int((groups[name] & counts).sum()), "patients": int(people[i])}
        for i, name in enumerate(names)
    }
    noun = "cases" if patients is None else "patients"
    for i, name in enumerate(names):
        if 0 < people[i] < FEW:
            found[name]["apart"] = f"counts fewer than {FEW} {noun}: not in the gap"
    return {"groups": found, "gap": _gap(names, points, drawn, people >= FEW, noun)}


def _gap(names: Sequence[str], points: Array, drawn: Array, enough: NDArray[np.bool_], noun: str) -> dict[str, Any]:
    known = np.flatnonzero(enough)
    if len(known) < 2:
        reason = f"fewer than two groups in which {FEW} {noun} count"
        return interval(np.nan, np.empty(0), reason) | {"between": []}
    high, low = known[np.argmax(points[known])], known[np.argmin(points[known])]
    found = interval(float(points[high] - points[low]), drawn[high] - drawn[low])
    alike = [names[i] for i in (high, low) if points[i] in (0, 1)]
    if alike and found["low"] is not None:
        why = f"no interval: every case of {' and '.join(alike)} is called the same, so resampling shows no spread"
        found |= {"low": None, "high": None, "reason": why}
    return found | {"between": [names[high], names[low]]}


def call_rates(
    truth: Array,
    probabilities: Array,
    findings: Sequence[str],
    thresholds: Mapping[str, float | None],
    groups: Mapping[str, NDArray[np.bool_]],
    **options: Any,
) -> dict[str, Any]:
    """TPR and FPR of every finding, and the under-diagnosis rate, by group.

    Args:
        truth: targets (n, F): 1, 0 or NaN = ignored.
        probabilities: (n, F).
        findings: F names.
        thresholds: finding → threshold; those without one are left out.
        groups: name → (n,) bool.
        options: of `compare_rates`.

    Returns:
        `tpr` and `fpr` by finding, and `underdiagnosis` (with `means`, what it counts), each as `compare_rates` gives.
    """
    limits = {name: value for name in findings if (value := thresholds.get(name)) is not None}
    column = {name: list(findings).index(name) for name in findings}
    called = {name: probabilities[:, column[name]] >= value for name, value in limits.items()}
    found: dict[str, Any] = {"tpr": {}, "fpr": {}}
    for name in called:
        y = truth[:, column[name]]
        for rate, wanted in (("tpr", 1), ("fpr", 0)):
            found[rate][name] = compare_rates(called[name], y == wanted, groups, **options)
    return found | {"underdiagnosis": _underdiagnosis(truth, column, called, groups, options)}


HEALTHY, NO_ILLNESS = "No Finding", ("No Finding", "Support Devices")


def _underdiagnosis(
    truth: Array,
    column: Mapping[str, int],
    called: Mapping[str, NDArray[np.bool_]],
    groups: Mapping[str, NDArray[np.bool_]],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    ill: NDArray[np.bool_]
    if HEALTHY in called:
        ill, missed = truth[:, column[HEALTHY]] == 0, called[HEALTHY]
        means = 'images that are not "No Finding" and are called so'
    else:
        names = [name for name in called if name not in NO_ILLNESS]
        if not names:
            return {"reason": "no finding that is an illness has a threshold"}
        ill = np.any(truth[:, [column[name] for name in names]] == 1, axis=1)
        missed = np.logical_not(np.stack([called[name] for name in names]).any(axis=0))
        means = f"images with one of {len(names)} findings, of which none is called"
    return compare_rates(missed, ill, groups, **options) | {"means": means}
