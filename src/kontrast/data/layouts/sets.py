"""What the layouts of public datasets share: their tables found, their labels named in one vocabulary."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kontrast.config import choose
from kontrast.data import words
from kontrast.data.label_words import finding_values
from kontrast.data.layouts.files import folders_in, locate, matching
from kontrast.data.layouts.folder import divide, images_of
from kontrast.data.layouts.headers import HEADERS
from kontrast.data.layouts.records import BASE, Records, finish
from kontrast.data.vocabulary import mapped, standard
from kontrast.errors import DataError, UsageError
from kontrast.types import counted

MAX_PLACES = 40


def places(src: Path) -> list[Path]:
    """The folder itself and those in it, where the tables of a dataset may lie; at most forty of them."""
    inside = [name for name in folders_in(src) if not name.startswith(".")]
    return [src, *(src / name for name in inside[:MAX_PLACES])]


def table_in(src: Path, *patterns: str) -> Path | None:
    """The first file that fits a pattern, in the source or in a folder of it; also as `.csv.gz`."""
    for place in places(src):
        for pattern in patterns:
            found = [path for path in matching(place, pattern, f"{pattern}.gz") if path.is_file()]
            if found:
                return found[-1]
    return None


def with_columns(tables: Sequence[Path], *columns: str) -> Path | None:
    """The first of the tables that has all these columns."""
    return next((path for path in tables if set(columns) <= set(words.read_table(path).columns)), None)


def needed(path: Path | None, what: str, src: Path) -> Path:
    """The path, or an error that says which table is missing.

    Raises:
        DataError: there is none.
    """
    if path is None:
        raise DataError(f"{src} holds no {what}.", fix="Name the dataset's folder, or the table with --labels.")
    return path


def values(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Columns of 1, 0, -1 and blank as floats.

    Raises:
        DataError: other content.
    """
    return pd.DataFrame({name: finding_values(table[name]) for name in names}, index=table.index)


def assemble(
    src: Path,
    rows: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    layout: str,
    table: str,
    overrides: Mapping[str, str],
    notes: Sequence[str],
    patients_known: bool,
    problems: Sequence[tuple[str, str]] = (),
    headers: Sequence[str] = HEADERS,
    boxes: pd.DataFrame | None = None,
) -> Records:
    """Records of a dataset, from its rows in its own words.

    Args:
        src: the source folder.
        rows: `path` (located below the source by its name) or `source` (as it is), and any of `patient`, `study`,
            `split`, `view`, `sex`, `age` in words or years.
        labels: the findings under their own names: 1, 0, -1 and NaN; the same index.
        layout: its name.
        table: of what file, for messages.
        overrides: from `--column`; `finding` and `rename` apply.
        notes: what is to be said of the dataset.
        patients_known: False where each image counts as its own patient.
        problems: (file, reason) of rows that were left out.
        headers: what DICOM headers may fill.
        boxes: see `boxes_of`.

    Raises:
        DataError: none of the files is there.
        UsageError: `--column` for a role that a known dataset fixes.
    """
    labels, said = _named(labels, overrides, layout)
    lines, problems = [*notes, *said], list(problems)
    if "source" not in rows:
        found = locate(src, list(rows["path"]), images_of(src), table)
        rows = rows.assign(source=pd.Series(found.sources, index=rows.index, dtype=object))
        lines += found.notes
        problems += found.problems
    blank = pd.Series("", index=rows.index)
    ids = {name: words.id_values(rows.get(name, blank)) for name in ("patient", "study")}
    frame = pd.DataFrame({"source": rows.get("source", blank), **ids})
    frame["split"], official, note = _split(rows.get("split", blank), labelled=len(labels.columns) > 0)
    frame["view"] = words.view_values(rows.get("view", blank))
    frame["sex"] = words.sex_values(rows.get("sex", blank))
    frame["age"] = _ages(rows.get("age", blank), lines)
    there = frame["source"].notna()
    return finish(
        src,
        pd.concat([frame, labels], axis=1)[there],
        findings=list(labels.columns),
        layout=layout,
        notes=[*lines, note],
        official_split=official,
        patients_known=patients_known,
        problems=problems,
        headers=headers,
        boxes=boxes,
    )


def _named(labels: pd.DataFrame, overrides: Mapping[str, str], layout: str) -> tuple[pd.DataFrame, list[str]]:
    """Labels under the vocabulary's names, those that were asked for, and what to say."""
    fixed = [role for role in overrides if role not in ("finding", "rename")]
    if fixed:
        raise UsageError(
            f"--column {fixed[0]}=… has no effect: layout {layout} knows its columns.",
            fix="Leave it out, or read the table as any other with --layout table.",
        )
    to, lines = mapped(labels.columns)
    together: dict[str, list[str]] = {}
    for own, new in to.items():
        together.setdefault(new, []).append(own)
    named = pd.DataFrame({new: _joined(labels[own]) for new, own in together.items()}, index=labels.index)
    if "finding" in overrides:
        asked = [] if overrides["finding"] == "none" else [name.strip() for name in overrides["finding"].split(",")]
        named = named[[choose(standard(name), list(named.columns), "--column finding") for name in asked]]
    renames = {}
    for word in filter(None, overrides.get("rename", "").split(",")):
        old, colon, new = (part.strip() for part in word.partition(":"))
        if not colon or not new:
            raise UsageError(f"--column rename={word} is not rename=OLD:NEW.", fix="Write rename=Edema:NAME.")
        renames[choose(standard(old), list(named.columns), "--column rename finding")] = new
        lines.append(f"finding {old} is called {new}, as asked")
    named = named.rename(columns=renames)
    clash = [name for name in named.columns if name in BASE or list(named.columns).count(name) > 1]
    if clash:
        raise DataError(f"Two columns would be called {clash[0]!r}.", fix="Choose another name with --column rename.")
    return named, lines


def _joined(columns: pd.DataFrame) -> np.ndarray:
    """Several names of one finding: 1 where any says so, else -1 where any, else 0 where any, else blank."""
    cells = columns.to_numpy(dtype=np.float64)
    if cells.shape[1] == 1:
        return cells[:, 0]
    return np.select([(cells == value).any(axis=1) for value in (1, -1, 0)], [1.0, -1.0, 0.0], np.nan)


def _split(given: pd.Series, *, labelled: bool) -> tuple[list[str], str, str]:
    parts = words.split_values(given)
    if not any(parts):
        drawn = "train, val and test will be drawn by patient" if labelled else "without labels all images are train"
        return parts, "", f"split: none is given; {drawn}"
    parts, official, note = divide(parts)
    return parts, official, f"split: the dataset's own; {note}"


def _ages(given: pd.Series, lines: list[str]) -> np.ndarray:
    ages = np.array(words.age_values(given.astype(str)), dtype=np.float64)
    wrong = int((np.isnan(ages) & given.astype(str).ne("").to_numpy()).sum())
    if wrong:
        lines.append(f"not between 0 and 120 years, and left blank: {counted(wrong, 'age')}")
    return ages


def boxes_of(table: pd.DataFrame, square: int = 0) -> pd.DataFrame | None:
    """Boxes under the vocabulary's names; None where there are none.

    Args:
        table: `file, finding, x, y, width, height`; rows with a blank are none.
        square: see `Records.boxes`.
    """
    numbers = ["x", "y", "width", "height"]
    boxes = table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers}).dropna()
    if boxes.empty:
        return None
    to, _ = mapped(boxes["finding"].unique())
    return boxes.assign(finding=boxes["finding"].map(to), square=square)[["file", "finding", *numbers, "square"]]
