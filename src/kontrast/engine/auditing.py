"""What can be wrong with data before any model is: shared patients and images, and labels that metadata gives away."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.engine.linear import fit_path
from kontrast.metrics.evaluation import score_table
from kontrast.types import SPLITS

UNITS = {"patients": "patient_id", "studies": "study_id", "images": "sha256"}
"""What may be shared, and the column that tells. Images are compared by the checksum of their source files."""

METADATA = {"view, age, sex": ("view", "sex", "age"), "with image size": ("view", "sex", "age", "height", "width")}
"""Baselines: the columns that each may read. The size of the source image often tells the device."""

AGE_BANDS = ((0, 20), (20, 40), (40, 60), (60, 80), (80, 200))

FEW_ROWS = 50
"""Subgroups smaller than this are named but not scored."""

PENALTY = 0.01
"""L2 penalty of the baseline's logistic regression: mild, since it has some ten inputs."""


def within(pack: Pack) -> list[dict[str, Any]]:
    """What each pair of a Pack's splits shares: `{"splits", "patients", "studies", "images"}`; None = unknown."""
    return [
        {"splits": [a, b]} | _shared(pack.table.iloc[pack.rows(a)], pack.table.iloc[pack.rows(b)], pack.patients_known)
        for a, b in combinations(SPLITS, 2)
        if len(pack.rows(a)) and len(pack.rows(b))
    ]


def repeated_images(pack: Pack) -> int:
    """Images of a Pack that are a byte-for-byte copy of an earlier one."""
    return int(pack.table["sha256"].duplicated().sum())


def between(first: Pack, second: Pack) -> list[dict[str, Any]]:
    """What each split of one Pack shares with each split of another; patients and studies None = unknown.

    Patients can be compared only when both Packs name them and hashed them with the same key.
    """
    comparable = first.patients_known and second.patients_known and first.key_id == second.key_id
    return [
        {"splits": [a, b]} | _shared(first.table.iloc[first.rows(a)], second.table.iloc[second.rows(b)], comparable)
        for a in SPLITS
        for b in SPLITS
        if len(first.rows(a)) and len(second.rows(b))
    ]


def _shared(first: pd.DataFrame, second: pd.DataFrame, comparable: bool) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for unit, column in UNITS.items():
        both = (set(first[column]) & set(second[column])) - {""}
        found[unit] = len(both) if comparable or unit == "images" else None
    return found


def metadata_baseline(
    pack: Pack, uncertain: str, blank: str, *, replicates: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """How well findings are told without looking at the image: a floor for every AUROC on this Pack.

    A logistic regression for each finding on view, sex and age (as bands and a line, with "unknown" as a value of its
    own), fitted on the train split and scored on test.

    Returns:
        {name of METADATA: {"columns": […], "scores": the content of a scores.json}}, or {} where a split is empty
        or nothing is labelled.
    """
    train, test = pack.rows("train"), pack.rows("test")
    if not len(train) or not len(test) or not pack.findings:
        return {}
    y, w = targets(pack.labels(train), pack.findings, uncertain, blank)
    y_test, w_test = targets(pack.labels(test), pack.findings, uncertain, blank)
    known = w.sum(axis=0) > 0
    found = {}
    for name, columns in METADATA.items():
        x = design(pack.table, columns, train)
        head = fit_path(x[train], y, w, penalties=(PENALTY,))[0]
        truth = np.where((w_test > 0) & known, y_test, np.nan)
        found[name] = {
            "columns": list(columns),
            "scores": score_table(
                truth, head.probabilities(x[test]), pack.findings,
                patients=pack.table["patient_id"].to_numpy()[test] if pack.patients_known else None,
                label_policy={"uncertain": uncertain, "blank": blank}, split="test", replicates=replicates, seed=seed,
            ),
        }  # fmt: skip
    return found


def design(table: pd.DataFrame, columns: Sequence[str], train: np.ndarray) -> np.ndarray:
    """Metadata as numbers (N, D): words one-hot as in the training rows, numbers standardised, and "unknown".

    Args:
        table: a Pack's.
        columns: which.
        train: rows that define categories and scale, so that nothing is learnt from the test rows.
    """
    parts = []
    for name in columns:
        column = table[name]
        if name in ("view", "sex"):
            parts += [(column == word).to_numpy(float) for word in sorted(set(column.iloc[train]))]
            continue
        values = column.to_numpy(float)
        missing = np.isnan(values)
        known = values[train][~missing[train]]
        mean, std = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
        line = np.where(missing, 0.0, (values - mean) / (std if std > 0 else 1.0))
        parts += [line, line**2, missing.astype(float)]
    return np.stack(parts, axis=1) if parts else np.zeros((len(table), 0))


def subgroups(table: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Rows (bool) of each subgroup, by sex, age band, view, and sex × age band; blank values are "unknown"."""
    age = table["age"].to_numpy(float)
    bands = {
        f"{low} to {high - 1}" if high < 200 else f"{low}+": (age >= low) & (age < high) for low, high in AGE_BANDS
    }
    bands["unknown"] = np.isnan(age)
    words = {
        name: {word or "unknown": (table[name] == word).to_numpy() for word in sorted(set(table[name]))}
        for name in ("sex", "view")
    }
    crossed = {f"{s}, {a}": sex & band for s, sex in words["sex"].items() for a, band in bands.items()}
    groups = {"sex": words["sex"], "age": bands, "view": words["view"], "sex and age": crossed}
    return {name: {k: rows for k, rows in parts.items() if rows.any()} for name, parts in groups.items()}


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
    """The scores of each subgroup of n rows, as `score_table` gives them; small ones are null with a reason.

    Args:
        table: n rows with view, sex, age and patient_id.
        truth: (n, F) targets, NaN = ignored.
        probabilities: (n, F).
        findings: F names.
        patients_known: whether patient_id says whose rows belong together.
        thresholds: the Classifier's.
        label_policy: copied.
        replicates: bootstrap replicates of each subgroup.
        seed: of the bootstraps.
    """
    result: dict[str, dict[str, Any]] = {}
    people = table["patient_id"].to_numpy()
    for name, parts in subgroups(table).items():
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
