"""What every layout gives: one table of images with their patients, parts and labels, and what was wrong."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast.data import words
from kontrast.data.columns import ROLES, Roles
from kontrast.data.decode import DICOM, read_headers
from kontrast.errors import DataError
from kontrast.types import EXTRA_COLUMNS, counted

BASE = ("source", "patient", "study", "split", "view", "sex", "age")
HEADERS = ("patient", "study", "view", "sex", "age")
"""What DICOM headers may fill where no table does."""
HEADERS_READ: ContextVar[int | None] = ContextVar("headers_read", default=None)
"""At most so many headers are read, evenly spread; None for all. A scan sets it: 200,000 headers take many minutes."""


@dataclass(frozen=True)
class Records:
    """The images of a source.

    Attributes:
        table: one row per image, sorted by source: `source` (posix path below the source folder), `patient` and
            `study` (raw), `split` (`train`, `val`, `test`, or "" where it is still to be drawn), `view` (`AP`, `PA`,
            `lateral`, `frontal`, ""), `sex` (`F`, `M`, ""), `age` (years or NaN), then the findings (1, 0, -1, NaN),
            and last those of EXTRA_COLUMNS that the source gives.
        findings: their names, in column order.
        layout: its name.
        notes: lines to print: what was recognised, assumed or left out.
        official_split: "" (no part is given), `test` (the test part is given, the rest is to be divided into train
            and val) or `all`.
        patients_known: False where each image counts as its own patient.
        problems: (file, reason) of what is not in the table.
        roles: role → column of the source's table, for the card.
        boxes: boxes around findings, or None: `file` (its name in a table), `finding, x, y, width, height`, and
            `square`: the side in pixels of the square copies on which they were drawn, 0 for the images as they are.
        flow: how many images and patients were listed, and left by each choice of rows (`selection.choose_rows`).
    """

    table: pd.DataFrame
    findings: tuple[str, ...] = ()
    layout: str = ""
    notes: tuple[str, ...] = ()
    official_split: str = ""
    patients_known: bool = True
    problems: tuple[tuple[str, str], ...] = ()
    roles: dict[str, str] = field(default_factory=dict)
    boxes: pd.DataFrame | None = None
    flow: tuple[dict[str, Any], ...] = ()


def from_roles(
    table: pd.DataFrame, roles: Roles, sources: Sequence[str | None]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The columns of `Records.table` from a table's roles, and the names of its findings; rows are kept in order."""

    def text(name: str | None) -> pd.Series:
        return table[name] if name else pd.Series("", index=table.index)

    frame = pd.DataFrame(
        {
            "source": pd.Series(list(sources), index=table.index, dtype=object),
            "patient": text(roles.patient),
            "study": text(roles.study),
            "split": words.split_values(text(roles.split)),
            "view": words.view_values(text(roles.view)),
            "sex": words.sex_values(text(roles.sex)),
            "age": words.age_values(text(roles.age)),
        }
    )
    if roles.classes:
        labels = words.one_hot(table[roles.classes]).set_index(table.index)
    else:
        labels = pd.DataFrame({name: words.finding_values(table[name]) for name in roles.findings}, index=table.index)
    labels = labels.rename(columns=dict(roles.rename))
    clash = [name for name in labels.columns if name in BASE or list(labels.columns).count(name) > 1]
    if clash:
        raise DataError(
            f"Two columns would be called {clash[0]!r}.",
            fix=f"Name the finding otherwise: --column rename={clash[0]}:…",
        )
    return pd.concat([frame, labels], axis=1), tuple(labels.columns)


def _without_doubles(frame: pd.DataFrame, findings: Sequence[str]) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    again = frame.duplicated("source")
    if not again.any():
        return frame, []
    labels = ["source", *findings]
    # A row that repeats an earlier one wholly says nothing new; one with other labels is a contradiction.
    same = frame.duplicated(labels)
    reasons = same[again].map({True: "listed again", False: "listed again with other labels; the first row is used"})
    problems = list(zip(frame["source"][again].astype(str), reasons, strict=True))
    return frame[~again], problems


_PARSE: dict[str, Callable[[Iterable[str]], list[Any]]] = {
    "view": words.view_values,
    "sex": words.sex_values,
    "age": words.age_values,
}


def spread(count: int, limit: int) -> np.ndarray:
    """`limit` of `count` row numbers, evenly spread, or all where there are not more."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))


def _from_headers(
    src: Path, frame: pd.DataFrame, known: bool, may: Sequence[str]
) -> tuple[pd.DataFrame, bool, list[str]]:
    """Fill what no table gave, of what `may` come from DICOM headers."""
    rows = [source for source in frame["source"] if _may_be_dicom(source)]
    empty = [c for c in HEADERS if (frame[c].isna() if c == "age" else frame[c] == "").all()]
    wanted = [name for name in empty if name in may] + [name for name in EXTRA_COLUMNS if name not in frame]
    if not rows or not wanted:
        return frame, known, []
    limit, total = HEADERS_READ.get(), len(rows)
    rows = [rows[i] for i in spread(total, limit)] if limit is not None else rows
    headers = dict(zip(rows, read_headers(src, rows), strict=True))
    frame = frame.copy()
    notes = []
    for name in wanted:
        raw = pd.Series([str(headers.get(source, {}).get(name) or "") for source in frame["source"]], index=frame.index)
        if (raw == "").all():
            continue
        frame[name] = _PARSE[name](raw) if name in _PARSE else raw
        notes.append(name)
    of = f" ({len(rows):,} of {total:,} read)" if len(rows) < total else ""
    text = [f"{', '.join(notes)} from DICOM headers{of}"] if notes else []
    # Images of one study are of one person, even where the person's id was taken out.
    same = (frame["patient"] == "") & (frame["study"] != "")
    if "study" in notes and same.any():
        frame["patient"] = frame["patient"].where(~same, frame["study"])
        text.append(f"{counted(int(same.sum()), 'image')} without a patient id: the study counts as the patient")
        known = True
    return frame, known or "patient" in notes, text


def _may_be_dicom(source: str) -> bool:
    if ".npz/" in source:  # an image in an archive
        return False
    suffix = Path(source).suffix.lower()
    return suffix in DICOM or not suffix or suffix[1:].isdigit()  # `1.2.840.10008` has no suffix either


def _label_notes(frame: pd.DataFrame, findings: Sequence[str]) -> list[str]:
    single = [name for name in findings if not {0.0, 1.0} <= set(frame[name].fillna(0.0).unique())]
    if not single:
        return []
    return [f"one class only, so no score can be given for: {', '.join(single)}"]


def finish(
    src: Path,
    frame: pd.DataFrame,
    *,
    findings: Sequence[str],
    layout: str,
    notes: Sequence[str],
    official_split: str = "",
    patients_known: bool,
    problems: Sequence[tuple[str, str]] = (),
    roles: Roles | None = None,
    headers: Sequence[str] = HEADERS,
    boxes: pd.DataFrame | None = None,
) -> Records:
    """Drop doubles, sort by source, give images without a patient their own, and say what is to be said."""
    frame, doubles = _without_doubles(frame, findings)
    frame, patients_known, header_notes = _from_headers(src, frame, patients_known, headers)
    lines = [*notes, *header_notes]
    blank = frame["patient"] == ""
    if not patients_known:
        lines.append("no patient ids: each image counts as its own patient, so the same person may be on both sides")
    elif blank.any():
        lines.append(f"{counted(int(blank.sum()), 'image')} without a patient id: each counts as a patient")
    if patients_known and len(frame) > 20 and frame["patient"].nunique() == 1:
        lines.append("all images carry the same patient id (a placeholder?), so they cannot be divided by patient")
    frame = frame.assign(patient=frame["patient"].where(~blank, frame["source"]))
    frame = frame.astype(dict.fromkeys(("age", *findings), np.float64))
    frame = frame.sort_values("source", kind="stable").reset_index(drop=True)
    return Records(
        table=frame[[*BASE, *findings, *[n for n in EXTRA_COLUMNS if n in frame and n not in findings]]],
        findings=tuple(findings),
        layout=layout,
        notes=(*lines, *_label_notes(frame, findings)),
        official_split=official_split,
        patients_known=patients_known,
        problems=(*problems, *doubles),
        roles={role: name for role in ROLES if isinstance(name := getattr(roles, role, None), str)},
        boxes=boxes,
    )
