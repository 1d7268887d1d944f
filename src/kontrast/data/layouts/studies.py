"""Tables with a row per study: its StudyInstanceUID, and no files. The images are found by their DICOM headers."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.columns import plain
from kontrast.data.decode import read_headers
from kontrast.data.layouts.headers import HEADERS_READ, may_be_dicom, spread
from kontrast.types import counted

FILES = "file, by its study"
"""The column that is added."""
_UID = r"\d+(?:\.\d+){3,}"
_OTHERS = ("sopinstanceuid", "sopuid", "instanceuid", "accession", "accessionnumber", "accessionno")


def with_files(
    src: Path, name: str, table: pd.DataFrame, images: Sequence[Path]
) -> tuple[pd.DataFrame | None, list[str]]:
    """A table with a row for each image of its studies, and what to say; None where none of its columns is their UID.

    Args:
        src: the source folder.
        name: of the table, for messages.
        table: as `read_table` gives it.
        images: all image files below `src`, relative.
    """
    columns = [column for column in table.columns if table[column].str.fullmatch(_UID).mean() > 0.5]
    files = [path.as_posix() for path in images if may_be_dicom(path.as_posix())]
    if not columns or not files:
        return None, []
    limit, total = HEADERS_READ.get(), len(files)
    files = [files[i] for i in spread(total, limit)] if limit is not None else files
    studies = [str(header.get("study") or "") for header in read_headers(src, files)]
    found = pd.DataFrame({"study": studies, FILES: files})
    found = found[found["study"] != ""]
    matches = {column: int(table[column].isin(set(found["study"])).sum()) for column in columns}
    column = max(matches, key=lambda column: matches[column])
    if not matches[column]:
        return None, []
    joined = table.merge(found, left_on=column, right_on="study", how="inner", suffixes=("", " of the header"))
    of = f" ({len(files):,} of {total:,} headers read)" if len(files) < total else ""
    notes = [
        f"{name} has no files: joined by {column} with the DICOM headers' studies, so what it says of a study counts "
        f"for each of its images ({counted(joined[column].nunique(), 'study')}, {counted(len(joined), 'image')}){of}"
    ]
    lost = len(table) - matches[column]
    if lost and not of:
        notes.append(f"{counted(lost, 'row')} of {name} of studies that have no image here")
    return joined[[*table.columns, FILES]], notes


def hint(table: pd.DataFrame) -> str:
    """What to do about a table that names images by what only their headers say; "" where it does not."""
    names = [column for column in table.columns if plain(column) in _OTHERS]
    if not names:
        return ""
    return (
        f"{names[0]} is not compared with DICOM headers, StudyInstanceUID alone is: add a column of those, or of the "
        "files (pydicom's dcmread(file).get(name) tells which file has which)."
    )
