"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 (Johnson et al. 2019): metadata, split, and a labeller's table of studies, as .csv.gz.

Labels are CheXpert's or NegBio's of the whole report, so every image of a study carries them; the test studies that
radiologists read (`…-test-set-labeled.csv`, 2.1.0) take theirs where that table is there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, needed, table_in, values, with_columns
from kontrast.data.vocabulary import standard
from kontrast.data.words import read_table
from kontrast.types import FINDINGS, counted

METADATA = "mimic-cxr-2*-metadata.csv"
COLUMNS = ("dicom_id", "subject_id", "study_id")


def tables_of(src: Path) -> list[Path]:
    """The metadata table, and those beside it."""
    found = [table_in(src, f"mimic-cxr-2*-{name}.csv") for name in ("metadata", "split", "chexpert", "negbio")]
    return [path for path in found if path] if found[0] else []


def _labels(tables: Sequence[Path], src: Path) -> tuple[pd.DataFrame, list[str]]:
    """One row per study, and which labeller they are of."""
    path = with_columns(tables, "subject_id", "study_id", "No Finding")
    path = path or table_in(src, "mimic-cxr-2*-chexpert.csv", "mimic-cxr-2*-negbio.csv")
    path = needed(path, "table of labels (mimic-cxr-2.0.0-chexpert.csv.gz or -negbio.csv.gz)", src)
    table = read_table(path)
    labels = values(table, [name for name in table.columns if name in FINDINGS]).set_index(table["study_id"])
    notes = [f"labels: {path.name}, by text mining of the report; every image of a study carries them"]
    expert = table_in(src, "mimic-cxr-2*-test-set-labeled.csv")
    if expert:
        read = read_table(expert).rename(columns=standard)
        read = values(read, [name for name in read.columns if name in FINDINGS]).set_index(read["study_id"])
        read = read[read.index.isin(labels.index)].reindex(columns=labels.columns)
        labels.loc[read.index] = read
        notes.append(f"labels of {counted(len(read), 'test study')}: {expert.name}, by radiologists")
    return labels[~labels.index.duplicated()], notes


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of MIMIC-CXR-JPG: `validate` is val. Rows that the split table lacks are drawn with their patient.

    Raises:
        DataError: no metadata, no labels, or none of the images is there.
    """
    metadata = with_columns(labels, *COLUMNS, "ViewPosition") or table_in(src, METADATA)
    table = read_table(needed(metadata, "mimic-cxr-2.0.0-metadata.csv.gz", src))
    found, notes = _labels(labels, src)
    rows = pd.DataFrame({"path": table["dicom_id"], "patient": table["subject_id"], "study": table["study_id"]})
    # `LL`, `LATERAL`, `XTABLE LATERAL`, `SWIMMERS`: the code's words decide where the position alone is blank.
    meaning = table.get("ViewCodeSequence_CodeMeaning", pd.Series("", index=table.index))
    rows["view"] = table["ViewPosition"].where(table["ViewPosition"] != "", meaning)
    rows["view"] = rows["view"].where(~rows["view"].str.contains("LATERAL", case=False), "lateral")
    split = with_columns(labels, "dicom_id", "split") or table_in(src, "mimic-cxr-2*-split.csv")
    if split:
        parts = read_table(split).drop_duplicates("dicom_id").set_index("dicom_id")["split"]
        rows["split"] = table["dicom_id"].map(parts).fillna("")
        without = int((rows["split"] == "").sum())
        if without:
            notes.append(f"not in {split.name}: {counted(without, 'image')}, which take their patient's part")
    else:
        notes.append("the official split (mimic-cxr-2.0.0-split.csv.gz) is not there")
    unlabelled = int((~table["study_id"].isin(found.index)).sum())
    if unlabelled:
        notes.append(f"of studies without labels, all blank: {counted(unlabelled, 'image')}")
    cells = found.reindex(table["study_id"]).set_index(table.index)
    name = "mimic-cxr"
    return assemble(
        src, rows, cells, layout=name, table="its metadata", overrides=overrides, notes=notes, patients_known=True
    )
