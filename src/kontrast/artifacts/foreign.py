"""Any system's predictions and truth, from two CSV files whose columns are matched by name and rows by id.

Rows and columns may stand in any order. Ids never appear in a message: they often name the patient.
"""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast.config import choose, nearest
from kontrast.errors import DataError
from kontrast.types import TRUTH_COLUMNS

IDS = ("image_id", "study", "path", "image index", "study_id", "image", "filename", "file", "id")
"""Names of an id column, the likeliest first, when --id gives none (`Study` is CheXpert's); case does not count."""

PATIENTS = ("patient_id", "patient id", "patientid", "patient")

METADATA = {*TRUTH_COLUMNS, *IDS, *PATIENTS, "frontal/lateral", "ap/pa", "source", "sha256", "height", "width"}
"""Columns that are no findings even when both files have them; case does not count."""

CHEXPERT_PATIENT = re.compile(r"(?:^|/)(patient\d+)(?:/|$)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Matched:
    """Predictions beside their truth.

    Attributes:
        truth: n rows in the truth file's order: TRUTH_COLUMNS (blank where unknown) and F findings, 1, 0, -1 or NaN.
        scores: (n, F).
        findings: F names, in the truth file's order.
        patients_known: whether `truth.patient_id` says whose rows belong together.
        notes: what was decided or left out, to be said.
    """

    truth: pd.DataFrame
    scores: np.ndarray
    findings: tuple[str, ...]
    patients_known: bool
    notes: tuple[str, ...]


def match(predictions: Path, truth: Path, *, id_column: str | None = None, patient: str | None = None) -> Matched:
    """Read both files and match them.

    Args:
        predictions: CSV with an id column and one column of scores per finding.
        truth: CSV with the same id column, and one column per finding with 1, 0, -1 or blank.
        id_column: its name; recognised when None.
        patient: the column (of the truth, else of the predictions) that names patients; recognised when None.

    Raises:
        DataError: a file that is no such table, ids that are repeated, missing or do not match, no finding in
            common, labels or scores that are no numbers.
        UsageError: `id_column` or `patient` is no column.
    """
    predicted, given = _read(predictions), _read(truth)
    key = _id_column(predicted, given, id_column, (predictions, truth))
    notes = [f"rows are matched by {key[1]!r}"]
    predicted, note = _align(predicted, given, key, (predictions, truth))
    notes += note
    people, note = _patients(predicted, given, given[key[1]], patient)
    notes += note
    taken = {name.lower() for name in (*key, patient or "")} | METADATA
    columns = _common_findings(predicted, given, taken, (predictions, truth))
    missing = [c for c in _names(given) if c.lower() not in taken and c not in columns.values()]
    if missing:
        notes.append(f"no predictions for {', '.join(missing)}")
    labels = {theirs: _labels(given[theirs], truth) for theirs in columns.values()}
    scores = np.stack([_scores(predicted[ours], predictions) for ours in columns], axis=1)
    table = pd.DataFrame({name: _metadata(given, name) for name in TRUTH_COLUMNS}, index=given.index)
    table["image_id"], table["patient_id"] = given[key[1]], people if people is not None else ""
    outside = [name for f, name in enumerate(labels) if not ((scores[:, f] >= 0) & (scores[:, f] <= 1)).all()]
    if outside:
        notes.append(f"scores outside 0 to 1 for {', '.join(outside)}: ranked as they are, no Brier score")
    return Matched(
        truth=table.assign(**labels), scores=scores, findings=tuple(labels), patients_known=people is not None,
        notes=tuple(notes),
    )  # fmt: skip


def read_thresholds(path: Path, findings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Thresholds by finding, as `metrics.thresholds.choose_all` gives them.

    Args:
        path: JSON `{finding: value}`, CSV with the columns `finding,threshold`, or a Classifier (its folder or card).
        findings: those that are scored; one that is not in the file gets no threshold, with that as its reason.

    Raises:
        DataError: no such file, or one without thresholds for any of the findings.
    """
    path = path / "card.json" if path.is_dir() else path
    fix = 'Write JSON such as {"Edema": 0.31}, CSV with finding,threshold, or name a Classifier\'s folder.'
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise DataError(f"--thresholds {path} cannot be read.", fix=fix) from None
    try:
        if text.lstrip().startswith("{"):
            values = json.loads(text)
            values = values.get("content", values)
            values = values.get("thresholds", values)
        else:
            values = {row["finding"]: row["threshold"] for row in csv.DictReader(text.splitlines())}
        found = {name: _threshold(value) for name, value in values.items() if name in findings}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"--thresholds {path} holds no thresholds by finding.", fix=fix) from None
    if not found:
        raise DataError(
            f"--thresholds {path} has none for the findings scored: {', '.join(findings)}.",
            fix="Use the same names there.",
        )
    absent: dict[str, Any] = {"value": None, "rule": None, "reason": "no threshold in the file"}
    return {name: found.get(name, absent) for name in findings}


def _threshold(value: Any) -> dict[str, Any]:
    entry = value if isinstance(value, dict) else {"value": value, "rule": "given", "reason": None}
    number = entry["value"]
    number = None if number in (None, "") else float(number)
    if number is not None and not np.isfinite(number):
        raise ValueError("a threshold must be finite")
    return {"value": number, "rule": entry.get("rule"), "reason": entry.get("reason")}


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is not a file.", fix="Name an existing CSV file.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig", header=None)
    except (ValueError, UnicodeDecodeError):
        raise DataError(f"{path} is not a CSV table.", fix="Save it as comma-separated text, UTF-8.") from None
    names = [str(name).strip() for name in table.iloc[0]]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has two columns named {repeated[0]!r}.", fix="Give every column its own name.")
    table = table.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    if table.empty:
        raise DataError(f"{path} has a header but no rows.", fix="Name a table with one row per case.")
    return table


def _named(table: pd.DataFrame, word: str) -> str | None:
    """The column of that name: exactly, or else whatever its case."""
    names = _names(table)
    return word if word in names else next((name for name in names if name.lower() == word.lower()), None)


def _names(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table]


def _id_column(
    predicted: pd.DataFrame, given: pd.DataFrame, asked: str | None, paths: tuple[Path, Path]
) -> tuple[str, str]:
    if asked is not None:
        for table, path in zip((predicted, given), paths, strict=True):
            choose(asked, table.columns, f"--id column of {path.name}")
        return asked, asked
    for word in IDS:
        ours, theirs = _named(predicted, word), _named(given, word)
        if ours is not None and theirs is not None:
            return ours, theirs
    raise DataError(
        f"{paths[0].name} and {paths[1].name} have no id column in common that is recognised. "
        f"Columns of the first: {', '.join(_names(predicted)[:8])}; of the second: {', '.join(_names(given)[:8])}.",
        fix="Name it with --id COLUMN.",
    )


def _align(
    predicted: pd.DataFrame, given: pd.DataFrame, key: tuple[str, str], paths: tuple[Path, Path]
) -> tuple[pd.DataFrame, list[str]]:
    """Predictions in the truth's order, one row each."""
    for table, name, path in zip((predicted, given), key, paths, strict=True):
        table[name] = table[name].str.strip()
        repeated = int(table[name].duplicated().sum())
        if repeated:
            raise DataError(
                f"{path} names {repeated:,} of its {len(table):,} cases more than once in {name!r}.",
                fix="Keep one row per case, or name another column with --id.",
            )
    known = given[key[1]].isin(predicted[key[0]])
    if not known.any():
        raise DataError(
            f"No case of {paths[1]} has a prediction in {paths[0]}: their ids ({key[1]!r}) have none in common.",
            fix="Write the ids alike in both files (folders, endings), or name another column with --id.",
        )
    if not known.all():
        raise DataError(
            f"{int((~known).sum()):,} of the {len(given):,} cases of {paths[1]} have no prediction in {paths[0]}.",
            fix="Add them, or take them out of the truth: leaving out hard cases would flatter.",
        )
    extra = len(predicted) - len(given)
    notes = [f"{extra:,} predictions have no truth and are left out"] if extra else []
    return predicted.set_index(key[0]).loc[given[key[1]]].reset_index(drop=True), notes


def _patients(
    predicted: pd.DataFrame, given: pd.DataFrame, ids: pd.Series, asked: str | None
) -> tuple[pd.Series | None, list[str]]:
    """The patient of each row, or None where nothing tells."""
    if asked is not None and asked not in given and asked not in predicted:
        choose(asked, dict.fromkeys([*given, *predicted]), "--patient column")
    for table in (given, predicted):
        names = [asked] if asked is not None else [_named(table, word) for word in PATIENTS]
        name = next((n for n in names if n is not None and n in table), None)
        if name is None or not table[name].str.strip().ne("").any():
            continue
        people = table[name].str.strip()
        blank = people == ""
        notes = [f"{int(blank.sum()):,} rows without {name!r} count as their own patients"] if blank.any() else []
        return people.where(~blank, "row of " + ids), [f"patients are read from {name!r}", *notes]
    found = ids.str.extract(CHEXPERT_PATIENT, expand=False)
    if found.notna().all():
        return found, ["patients are read from the ids, as CheXpert writes them"]
    return None, ["no patients are given: rows are resampled, which is too sure where a patient has several"]


def _common_findings(
    predicted: pd.DataFrame, given: pd.DataFrame, taken: set[str], paths: tuple[Path, Path]
) -> dict[str, str]:
    """Prediction column to truth column, in the truth's order."""
    columns = {
        ours: theirs
        for theirs in _names(given)
        if theirs.lower() not in taken and (ours := _named(predicted, theirs)) is not None
    }
    if not columns:
        example = next((c for c in _names(predicted) if c.lower() not in taken), None)
        guess = nearest(example, _names(given)) if example else None
        hint = f" ({example!r} may be {guess!r}.)" if guess else ""
        raise DataError(
            f"{paths[0]} and {paths[1]} have no finding in common.",
            fix=f"Name the columns alike in both files.{hint}",
        )
    return columns


def _labels(column: pd.Series, path: Path) -> np.ndarray:
    values, faults = _numbers(column, blank=np.nan)
    faults |= ~(np.isnan(values) | np.isin(values, (-1, 0, 1)))
    if faults.any():
        raise DataError(
            f"{path}: column {column.name!r} should hold 1, 0, -1 or blank, but {int(faults.sum()):,} of "
            f"{len(column):,} rows hold something else.",
            fix="Mend these labels, or take the column out if it is no finding.",
        )
    return values


def _scores(column: pd.Series, path: Path) -> np.ndarray:
    values, faults = _numbers(column, blank=np.nan)
    faults |= np.isnan(values)
    if faults.any():
        raise DataError(
            f"{path}: column {column.name!r} should hold a number in each row, but {int(faults.sum()):,} of "
            f"{len(column):,} are blank or none.",
            fix="Give every case a score; a system that abstains needs one too.",
        )
    return values


def _numbers(column: pd.Series, blank: float) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) and where a cell is no number (n,) bool."""
    values, faults = np.empty(len(column)), np.zeros(len(column), dtype=bool)
    for row, text in enumerate(column.str.strip()):
        try:
            values[row] = float(text) if text else blank
        except ValueError:
            values[row], faults[row] = np.nan, True
    return values, faults


def _metadata(given: pd.DataFrame, name: str) -> Any:
    found = _named(given, name)
    return given[found].str.strip() if found is not None else ""
