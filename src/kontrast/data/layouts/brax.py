"""BRAX (Reis et al. 2022): CheXpert's 14 findings by its labeller, from Portuguese reports; PNG, DICOM or both."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, needed, table_in, values, with_columns
from kontrast.data.words import read_table
from kontrast.types import FINDINGS, counted

TABLES = ("master_spreadsheet*.csv",)
COLUMNS = ("PngPath", "PatientID", "No Finding")
TOP = "85 or more"


def tables_of(src: Path) -> list[Path]:
    """The master spreadsheet."""
    found = table_in(src, *TABLES)
    return [found] if found and set(COLUMNS) <= set(read_table(found).columns) else []


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of BRAX: PNGs where they are there, else DICOM.

    Raises:
        DataError: no table, or none of the images is there.
    """
    path = needed(with_columns(labels, *COLUMNS) or table_in(src, *TABLES), "master_spreadsheet_update.csv", src)
    table = read_table(path)
    base = path.parent if (path.parent / "images").is_dir() or (path.parent / "Anonymized_DICOMs").is_dir() else src
    column = "PngPath" if (base / "images").is_dir() or "DicomPath" not in table else "DicomPath"
    old = table["PatientAge"] == TOP
    rows = pd.DataFrame({"path": table[column], "patient": table["PatientID"], "sex": table["PatientSex"]})
    rows["study"] = table.get("AccessionNumber", "")
    rows["view"] = table["ViewPosition"].replace("L", "lateral")
    rows["age"] = table["PatientAge"].where(~old, "85")
    cells = values(table, [name for name in table.columns if name in FINDINGS])
    doubtful = int((cells == -1).sum().sum())
    notes = [
        f"labels: CheXpert's labeller on Portuguese reports; uncertain (-1) stays apart in {counted(doubtful, 'cell')}",
        f"images: the column {column}",
    ]
    if old.any():
        notes.append(f"`{TOP}` years is taken as 85: {counted(int(old.sum()), 'image')}")
    return assemble(
        src, rows, cells, layout="brax", table=path.name, overrides=overrides, notes=notes, patients_known=True
    )
