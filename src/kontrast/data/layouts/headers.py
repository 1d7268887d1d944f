"""What DICOM headers fill of a table's blanks, row by row, and where the two contradict each other."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast.data import words
from kontrast.data.decode import may_be_dicom, read_headers
from kontrast.types import EXTRA_COLUMNS, counted

HEADERS = ("patient", "study", "view", "sex", "age")
"""What DICOM headers may fill where no table does."""
HEADERS_READ: ContextVar[int | None] = ContextVar("headers_read", default=None)
"""At most so many headers are read, evenly spread; None for all. A scan sets it: 200,000 headers take many minutes."""

_PARSE: dict[str, Callable[[Iterable[str]], list[Any]]] = {
    "view": words.view_values,
    "sex": words.sex_values,
    "age": words.age_values,
}


def spread(count: int, limit: int) -> np.ndarray:
    """`limit` of `count` row numbers, evenly spread, or all where there are not more."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))


def from_headers(
    src: Path, frame: pd.DataFrame, known: bool, may: Sequence[str]
) -> tuple[pd.DataFrame, bool, list[str], list[str]]:
    """Fill what no table gave from DICOM headers, each row by itself.

    Args:
        src: the source folder.
        frame: rows with the columns of `records.BASE`; one per file.
        known: whether the table says who is who.
        may: which of HEADERS may be filled; EXTRA_COLUMNS always are, where no table has them.

    Returns:
        The frame, whether patients are known now, what to say, and what to warn of, in counts.
    """
    rows = [source for source in frame["source"] if may_be_dicom(source)]
    extra = [name for name in EXTRA_COLUMNS if name not in frame]
    if not rows or not (may or extra):
        return frame, known, [], []
    limit, total = HEADERS_READ.get(), len(rows)
    rows = [rows[i] for i in spread(total, limit)] if limit is not None else rows
    headers = dict(zip(rows, read_headers(src, rows), strict=True))

    def said(name: str) -> pd.Series:
        texts = [str(headers.get(source, {}).get(name) or "") for source in frame["source"]]
        return pd.Series(texts, index=frame.index, dtype=object)

    raw = {name: said(name) for name in (*may, *extra)}
    new = frame.copy()
    text: list[str] = []
    for name in extra:
        if raw[name].ne("").any():
            new[name] = raw[name]
    for name in _PARSE.keys() & set(may):
        parsed = pd.Series(_PARSE[name](raw[name]), index=frame.index)
        new[name] = new[name].where(~_blank(new[name]), parsed)
    if "study" in may:
        new["study"] = completed(frame["study"], [raw["study"]])
    if "patient" in may:
        links = [raw["patient"], *([raw["study"]] if "study" in may else []), *_own_studies(frame)]
        new["patient"] = completed(frame["patient"], links)
    warnings = _contradictions(frame, raw)
    wanted = [name for name in (*HEADERS, *extra) if name in may or name in extra]
    shown = [_amount(name, frame, new) for name in wanted]
    if any(shown):
        of = f" ({len(rows):,} of {total:,} read)" if len(rows) < total else ""
        text.append(f"{', '.join(filter(None, shown))} from DICOM headers{of}")
    if "study" in may:
        # Images of one study are of one person, even where the person's id was taken out.
        alone = (new["patient"] == "") & (raw["study"] != "")
        if alone.any():
            new["patient"] = new["patient"].where(~alone, raw["study"])
            warnings.append(
                f"{counted(int(alone.sum()), 'image')} without a patient id: the study counts as the patient"
            )
    known = known or bool((new["patient"] != frame["patient"]).any())
    return new, known, text, warnings


def completed(own: pd.Series, links: Sequence[pd.Series]) -> pd.Series:
    """Ids with their blanks filled, so that what belongs together gets one id.

    A table may call people by other names than the headers do. So a blank row takes the id that other rows with the
    same header id, or of the same study, have; only where there is none does it take the header's.

    Args:
        own: ids of the rows, "" for blank.
        links: what ties rows together, "" where it does not; the first of them fills what is still blank.
    """
    for fill in (False, True):
        if fill:
            own = own.where(own != "", links[0])
        left = -1
        while left != (left := int((own == "").sum())) and left:
            for link in links:
                own = own.where(own != "", link.map(_only(link, own)).astype(object).fillna(""))
    return own


def _only(link: pd.Series, ids: pd.Series) -> pd.Series:
    """The id of each word of `link` that stands beside one id alone."""
    both = (link != "") & (ids != "")
    groups = ids[both].groupby(link[both])
    return groups.first()[groups.nunique() == 1]


def _own_studies(frame: pd.DataFrame) -> list[pd.Series]:
    """The table's studies as a link between rows, unless they are numbers that begin anew with each patient."""
    both = (frame["study"] != "") & (frame["patient"] != "")
    if not both.any() or frame["patient"][both].groupby(frame["study"][both]).nunique().max() > 1:
        return []
    return [frame["study"]]


def _blank(column: pd.Series) -> pd.Series:
    return column.isna() | (column == "")


def _amount(name: str, before: pd.DataFrame, after: pd.DataFrame) -> str:
    """`view`, or `view (12 images)` where the table gave the others; "" where nothing was filled."""
    if name not in after:
        return ""
    old = _blank(before[name]) if name in before else pd.Series(True, index=after.index)
    filled = int((old & ~_blank(after[name])).sum())
    return name if filled and old.all() else f"{name} ({counted(filled, 'image')})" if filled else ""


def _contradictions(table: pd.DataFrame, raw: dict[str, pd.Series]) -> list[str]:
    """Where rows that have both differ, in counts."""
    found = _people(table["patient"], raw["patient"]) if "patient" in raw else []
    if "sex" in raw:
        sexes = pd.Series(words.sex_values(raw["sex"]), index=table.index)
        both = (table["sex"] != "") & (sexes != "")
        found += _differ("sex", int((table["sex"] != sexes)[both].sum()), int(both.sum()))
    if "age" in raw:
        apart = (table["age"].astype(float) - pd.Series(words.age_values(raw["age"]), index=table.index)).abs()
        found += _differ("age, by more than a year,", int((apart > 1).sum()), int(apart.notna().sum()))
    return found


def _differ(what: str, count: int, both: int) -> list[str]:
    if not count:
        return []
    return [
        f"the table and the DICOM headers disagree on {what} in {count:,} of {counted(both, 'image')} that have both: "
        "the table is believed. Are its rows those of these files?"
    ]


def _people(table: pd.Series, header: pd.Series) -> list[str]:
    both = (table != "") & (header != "")
    own, other = table[both], header[both]
    if (own == other).all():
        return []
    several = own.groupby(other).nunique().gt(1)
    mixed = other.groupby(own).nunique().gt(1)
    found = []
    if several.any():
        rows = int(other.map(several).sum())
        found.append(
            f"{counted(int(several.sum()), 'patient id')} of the DICOM headers "
            f"{'stands' if several.sum() == 1 else 'stand'} under several patient ids in the table "
            f"({counted(rows, 'image')}): either no person's id, or one person who may stand in two splits. "
            "The table is believed"
        )
    if mixed.any():
        rows = int(own.map(mixed).sum())
        found.append(
            f"{counted(int(mixed.sum()), 'patient id')} of the table "
            f"{'stands' if mixed.sum() == 1 else 'stand'} for several patient ids of the DICOM headers "
            f"({counted(rows, 'image')}): the table is believed"
        )
    if not found:
        found.append(
            f"the table and the DICOM headers name the patient id differently in {int((own != other).sum()):,} of "
            f"{counted(len(own), 'image')} that have both, one for one: the table's are used"
        )
    return found
