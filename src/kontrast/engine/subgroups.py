"""A Classifier's scores and calls in groups of the test images: by sex, age, view and their crossings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kontrast.data.groups import FEW_ROWS, UNKNOWN, groups
from kontrast.metrics.evaluation import score_table
from kontrast.metrics.fairness import call_rates


def score_subgroups(
    table: pd.DataFrame,
    truth: np.ndarray,
    probabilities: np.ndarray,
    findings: Sequence[str],
    *,
    patients_known: bool,
    thresholds: dict[str, dict[str, Any]],
    label_policy: dict[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The scores of each group of n rows, as `score_table` gives them; small ones are null with a reason.

    Args:
        table: n rows with view, sex, age and patient_id.
        truth: (n, F) targets, NaN = ignored.
        probabilities: (n, F).
        findings: F names.
        patients_known: whether patient_id says whose rows belong together.
        thresholds: the Classifier's.
        label_policy: copied.
        replicates: bootstrap replicates of each group.
        seed: of the bootstraps.
    """
    result: dict[str, dict[str, Any]] = {}
    people = table["patient_id"].to_numpy()
    for name, parts in groups(table).items():
        result[name] = {}
        for word, rows in parts.items():
            count = int(rows.sum())
            if count < FEW_ROWS:
                result[name][word] = {"rows": count, "reason": f"fewer than {FEW_ROWS} images: not scored"}
                continue
            result[name][word] = score_table(
                truth[rows], probabilities[rows], findings, patients=people[rows] if patients_known else None,
                thresholds=thresholds, label_policy=label_policy, split="test", replicates=replicates, seed=seed,
            )  # fmt: skip
    return result


def rates_by_group(
    table: pd.DataFrame,
    truth: np.ndarray,
    probabilities: np.ndarray,
    findings: Sequence[str],
    *,
    patients_known: bool,
    thresholds: dict[str, dict[str, Any]],
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Calls at the frozen thresholds: TPR, FPR and under-diagnosis in the groups that are large enough, and the gaps.

    Args as `score_subgroups`. Cases whose group is unknown are in none. Returns, by what the groups are made of, what
    `metrics.fairness.call_rates` gives, or a `reason` below two groups.
    """
    limits = {name: thresholds.get(name, {}).get("value") for name in findings}
    people = table["patient_id"].to_numpy() if patients_known else None
    found: dict[str, dict[str, Any]] = {}
    for name, parts in groups(table).items():
        large = {k: rows for k, rows in parts.items() if rows.sum() >= FEW_ROWS and UNKNOWN not in k.split(", ")}
        if len(large) < 2:
            found[name] = {"reason": f"fewer than two groups of {FEW_ROWS} images"}
            continue
        found[name] = call_rates(
            truth, probabilities, findings, limits, large, patients=people, replicates=replicates, seed=seed
        )
    return found
