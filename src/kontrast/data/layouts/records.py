"""What every layout gives: one table of images with their patients, parts and labels, and what was wrong."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast.data import words
from kontrast.data.columns import ROLES, Roles
from kontrast.data.label_words import finding_values, one_hot
from kontrast.data.layouts.doubles import as_one
from kontrast.data.layouts.headers import HEADERS, from_headers
from kontrast.errors import DataError
from kontrast.types import EXTRA_COLUMNS, counted

BASE = ("source", "patient", "study", "split", "view", "sex", "age")


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
        warnings: those of the notes that must not be missed.
        official_split: "" (no part is given), `test` (the test part is given, the rest is to be divided into train
            and val) or `all`.
        patients_known: False where each image counts as its own patient.
        problems: (file, reason) of what is not in the table.
        roles: role → column of the source's table, for the card.
        boxes: boxes around findings, or None: `file` (its name in a table), `finding, x, y, width, height`, and
            `square`: the side in pixels of the square copies on which they were drawn, 0 for the images as they are.
        doubt: (what is not known, what to say) where labels may be people's names or free text; () where all is clear.
        flow: how many images and patients were listed, and left by each choice of rows (`selection.choose_rows`).
        passed_over: how many files of each suffix are no images (`source.with_passed_over`).
    """

    table: pd.DataFrame
    findings: tuple[str, ...] = ()
    layout: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    official_split: str = ""
    patients_known: bool = True
    problems: tuple[tuple[str, str], ...] = ()
    roles: dict[str, str] = field(default_factory=dict)
    boxes: pd.DataFrame | None = None
    doubt: tuple[str, ...] = ()
    flow: tuple[dict[str, Any], ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)


def from_roles(
    table: pd.DataFrame, roles: Roles, sources: Sequence[str | None]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The columns of `Records.table` from a table's roles, and the names of its findings; rows are kept in order.

    Raises:
        DataError: words in the column of splits that name none, or two columns of one name.
    """

    def text(name: str | None) -> pd.Series:
        return table[name] if name else pd.Series("", index=table.index)

    if roles.split:
        _refuse_unknown_parts(table[roles.split])
    frame = pd.DataFrame(
        {
            "source": pd.Series(list(sources), index=table.index, dtype=object),
            "patient": words.id_values(text(roles.patient)),
            "study": words.id_values(text(roles.study)),
            "split": words.split_values(text(roles.split)),
            "view": words.view_values(text(roles.view)),
            "sex": words.sex_values(text(roles.sex)),
            "age": words.age_values(text(roles.age)),
        }
    )
    if roles.classes:
        labels = one_hot(table[roles.classes]).set_index(table.index)
    else:
        labels = pd.DataFrame(
            {name: finding_values(table[name], dict(roles.words)) for name in roles.findings}, index=table.index
        )
    labels = labels.rename(columns=dict(roles.rename))
    clash = [name for name in labels.columns if name in BASE or list(labels.columns).count(name) > 1]
    if clash:
        raise DataError(
            f"Two columns would be called {clash[0]!r}.",
            fix=f"Name the finding otherwise: --column rename={clash[0]}:…",
        )
    return pd.concat([frame, labels], axis=1), tuple(labels.columns)


def _refuse_unknown_parts(column: pd.Series) -> None:
    """A `holdout` that was taken for a blank would be drawn, into train for the most part."""
    words_of = column[column != ""]
    others = words_of[[not part for part in words.split_values(words_of)]]
    if others.empty:
        return
    # Words beside train and test are of their kind and may be shown; a column of something else may hold names.
    shown = others.value_counts().head(3) if len(others) * 2 < len(words_of) else pd.Series(dtype=int)
    named = ", ".join(f"{word!r} ({count:,})" for word, count in shown.items())
    raise DataError(
        f"Column {column.name!r} is to say train, val or test, but {len(others):,} of its "
        f"{counted(len(column), 'cell')} hold something else{': ' + named if named else ''}.",
        fix="Write train, val (or valid, validation, dev) or test there, or nothing where it is to be drawn; or have "
        "all drawn: --column split=none.",
    )


PLACEHOLDERS = re.compile(
    r"anon\w*|unknown|deidentified|de-identified|removed|redacted|hidden|masked|dummy|test\w*|x{2,}|0{4,}|-+|\?+|9{4,}",
    re.I,
)
"""What exports write where an id was taken out."""
LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
MANY = 20
"""Images of one patient id beyond which it is compared with the others."""


def outsize(frame: pd.DataFrame) -> list[str]:
    """What to warn of where one patient id may stand for many people, in counts: nobody is named."""
    ids = frame["patient"][frame["patient"] != ""]
    counts = ids.value_counts()
    if counts.empty or counts.iloc[0] < 2:
        return []
    few = counts.median() if len(counts) > 1 else 0
    named = np.array([bool(PLACEHOLDERS.fullmatch(str(name))) for name in counts.index])
    odd = counts[named & (counts > max(1, few)).to_numpy()]
    most = counts[(counts > MANY) & (counts > 5 * few) & (counts > len(frame) / 20)]
    found = pd.concat([odd, most[~most.index.isin(odd.index)]])
    said = []
    if len(found):
        rows = frame[frame["patient"].isin(found.index)]
        studies = rows["study"][rows["study"] != ""].nunique()
        of = f" ({counted(studies, 'study')})" if studies else ""
        said.append(
            f"{counted(len(found), 'patient id')} {'holds' if len(found) == 1 else 'hold'} {len(rows):,} of "
            f"{counted(len(frame), 'image')}{of}: a placeholder? Its images count as one person's and stand in one "
            "split, and people behind it may stand in others too. Give each person an id, or leave these images out"
        )
    sexes = frame["sex"][(frame["sex"] != "") & (frame["patient"] != "")].groupby(frame["patient"]).nunique()
    if (sexes > 1).any():
        said.append(f"{counted(int((sexes > 1).sum()), 'patient id')} with images of both sexes: of several people?")
    return said


def spelt_alike(frame: pd.DataFrame) -> list[str]:
    """What to warn of where several patient ids may stand for one person, in counts."""
    ids = pd.Series(frame["patient"][frame["patient"] != ""].unique(), dtype=object)
    alike = int(ids.str.lower().str.replace(LEADING_ZEROS, "", regex=True).duplicated(keep=False).sum())
    if not alike:
        return []
    return [
        f"{alike:,} patient ids differ from another by capitals or leading zeros alone: of the same people? They count "
        "as others, who may stand in other splits. Write each id in one way"
    ]


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
    warnings: Sequence[str] = (),
    roles: Roles | None = None,
    headers: Sequence[str] = HEADERS,
    boxes: pd.DataFrame | None = None,
    doubt: tuple[str, ...] = (),
) -> Records:
    """One row for each file, sorted by source; images without a patient get their own; what is to be said is said."""
    frame, doubles, contradicting = as_one(frame, findings, blank_is_train=official_split == "test")
    frame, patients_known, filled, differing = from_headers(src, frame, patients_known, headers)
    warnings = [*warnings, *contradicting, *differing]
    blank = frame["patient"] == ""
    if not patients_known:
        warnings.append("no patient ids: each image counts as its own patient, so the same person may be on both sides")
    elif blank.any():
        warnings.append(f"{counted(int(blank.sum()), 'image')} without a patient id: each counts as a patient")
    if patients_known:
        warnings += outsize(frame) + spelt_alike(frame)
    frame = frame.assign(patient=frame["patient"].where(~blank, frame["source"]))
    frame = frame.astype(dict.fromkeys(("age", *findings), np.float64))
    frame = frame.sort_values("source", kind="stable").reset_index(drop=True)
    return Records(
        table=frame[[*BASE, *findings, *[n for n in EXTRA_COLUMNS if n in frame and n not in findings]]],
        findings=tuple(findings),
        layout=layout,
        notes=(*notes, *filled, *warnings, *_label_notes(frame, findings)),
        warnings=tuple(warnings),
        official_split=official_split,
        patients_known=patients_known,
        problems=(*problems, *doubles),
        roles={role: name for role in ROLES if isinstance(name := getattr(roles, role, None), str)},
        boxes=boxes,
        doubt=doubt,
    )
