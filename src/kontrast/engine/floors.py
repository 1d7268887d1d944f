"""What can be told without looking at the image: a floor beneath every AUROC."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.engine.linear import fit_path
from kontrast.metrics.evaluation import repeated_auroc, score_table
from kontrast.metrics.studies import by_study

METADATA = {
    "view, age, sex": ("view", "sex", "age"),
    "with image size": ("view", "sex", "age", "height", "width"),
    "with all that is known": ("view", "sex", "age", "height", "width", "device", "Support Devices"),
}
"""Baselines: the columns that each may read, as far as a Pack has them. The size of the source image often tells the
scanner; `device` is its maker and model, where the files say it; "Support Devices" are tubes, lines and pacemakers, as
labelled, for the other findings."""

WORDS = ("view", "sex", "device")
"""Columns whose values are words; of the others they are numbers."""

LABELLED = "Support Devices"

PENALTY = 0.01
"""L2 penalty of the baseline's logistic regression: mild, since it has some ten inputs."""


def baselines(pack: Pack) -> dict[str, tuple[str, ...]]:
    """The baselines of METADATA that this Pack's columns tell apart, each with the columns it has."""
    found: dict[str, tuple[str, ...]] = {}
    for name, columns in METADATA.items():
        there = tuple(column for column in columns if column in pack.table)
        if there not in found.values():
            found[name] = there
    return found


def metadata_probabilities(
    pack: Pack, columns: Sequence[str], rows: np.ndarray, uncertain: str, blank: str
) -> np.ndarray:
    """Probabilities (n, F) of the Pack's findings for some rows, from metadata alone; NaN where nothing is labelled.

    A logistic regression for each finding on the columns (words one-hot, numbers as a line and a square, "unknown" as
    a value of its own), fitted on the train split.
    """
    train = pack.rows("train")
    y, w = targets(pack.labels(train), pack.findings, uncertain, blank)
    found = _fitted(pack, columns, train, rows, y, w)
    if LABELLED in columns:  # a finding is no floor of its own
        itself = [pack.findings.index(LABELLED)]
        others = [column for column in columns if column != LABELLED]
        found[:, itself] = _fitted(pack, others, train, rows, y[:, itself], w[:, itself])
    return np.where(w.sum(axis=0) > 0, found, np.nan)


def _fitted(
    pack: Pack, columns: Sequence[str], train: np.ndarray, rows: np.ndarray, y: np.ndarray, w: np.ndarray
) -> np.ndarray:
    x = design(pack.table, columns, train)
    return fit_path(x[train], y, w, penalties=(PENALTY,))[0].probabilities(x[rows])


def metadata_baseline(
    pack: Pack, uncertain: str, blank: str, *, replicates: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """How well findings are told without looking at the image, fitted on train and scored on test.

    Returns:
        {name of METADATA: {"columns": […], "scores": the content of a scores.json}}, or {} where a split is empty
        or nothing is labelled.
    """
    train, test = pack.rows("train"), pack.rows("test")
    if not len(train) or not len(test) or not pack.findings:
        return {}
    y, w = targets(pack.labels(test), pack.findings, uncertain, blank)
    found = {}
    for name, columns in baselines(pack).items():
        p = metadata_probabilities(pack, columns, test, uncertain, blank)
        truth = np.where((w > 0) & np.isfinite(p), y, np.nan)
        found[name] = {
            "columns": list(columns),
            "scores": score_table(
                truth, np.nan_to_num(p), pack.findings,
                patients=pack.table["patient_id"].to_numpy()[test] if pack.patients_known else None,
                label_policy={"uncertain": uncertain, "blank": blank}, split="test", replicates=replicates, seed=seed,
            ),
        }  # fmt: skip
    return found


def floor(
    pack: Pack,
    rows: np.ndarray,
    truth: np.ndarray,
    findings: Sequence[str],
    policy: Mapping[str, str],
    *,
    over_views: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The AUROC that the Pack's metadata alone reach on the cases that a Classifier is scored on.

    Args:
        pack: labelled, with a train split; `rows` are none of it.
        rows: the cases.
        truth: (n, F) targets of the findings, NaN = ignored.
        findings: F of the Pack's.
        policy: `uncertain` and `blank` of scoring, by which the baseline is fitted too.
        over_views: `max` or `mean` where cases are studies; None: images.
        options: `replicates` and `seed` of the intervals.

    Returns:
        `columns` read, `findings` (name → AUROC with interval) and their `macro`; or a `reason`.
    """
    if not len(pack.rows("train")):
        return {"reason": "this Pack has no training images to fit it on"}
    columns = list(baselines(pack).values())[-1]
    p = metadata_probabilities(pack, columns, rows, policy["uncertain"], policy["blank"])
    p = p[:, [pack.findings.index(finding) for finding in findings]]
    known, p = np.where(np.isfinite(p), truth, np.nan), np.nan_to_num(p)
    table = pack.table.iloc[rows]
    people = table["patient_id"].to_numpy()
    if over_views is not None:
        known, p, first = by_study(known, p, table["study_id"].to_numpy(), over_views)
        people = people[first]
    patients = people if pack.patients_known else None
    return {"columns": list(columns)} | repeated_auroc(known, [p], findings, patients=patients, **options)


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
        if name in WORDS:
            parts += [(column == word).to_numpy(float) for word in sorted(set(column.iloc[train]))]
            continue
        values = column.to_numpy(float)
        missing = np.isnan(values)
        known = values[train][~missing[train]]
        mean, std = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
        line = np.where(missing, 0.0, (values - mean) / (std if std > 0 else 1.0))
        parts += [line, line**2, missing.astype(float)]
    return np.stack(parts, axis=1) if parts else np.zeros((len(table), 0))
