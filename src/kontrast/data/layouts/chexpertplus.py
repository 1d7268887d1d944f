"""CheXpert Plus (Chambon et al. 2024): `df_chexpert_plus_240401.csv`, PNG or DICOM folders, labels in JSON lines.

Its valid part serves as `test`, as CheXpert's does: it is the same 200 studies.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kontrast.data.layouts import chexpert
from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, needed, table_in, with_columns
from kontrast.data.words import read_table
from kontrast.errors import DataError
from kontrast.types import FINDINGS, counted

TABLE, LABELS = "df_chexpert_plus_*.csv", ("report_fixed.json", "impression_fixed.json", "findings_fixed.json")
COLUMNS = ("path_to_image", "deid_patient_id", "split")


def tables_of(src: Path) -> list[Path]:
    """The table of images."""
    found = table_in(src, TABLE)
    return [found] if found else []


def _labels(path: Path, paths: pd.Series) -> pd.DataFrame:
    """Findings by image from a file of one JSON object a line.

    Raises:
        DataError: another file.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            lines = {one["path_to_image"]: one for one in map(json.loads, filter(str.strip, stream))}
        cells = {name: [lines.get(p, {}).get(name) for p in paths] for name in FINDINGS}
        labels = pd.DataFrame(cells, index=paths.index).astype(np.float64)
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path.name} is no list of CheXpert Plus's labels: one JSON object a line with path_to_image expected.",
            fix="Download chexbert_labels again, or move it away to go on without labels.",
        ) from None
    return labels if np.isin(labels.fillna(0), (-1, 0, 1)).all() else labels.where(labels.isin((-1, 0, 1)))


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of CheXpert Plus; reports and demographics beyond age and sex are not read into them.

    Raises:
        DataError: no table, or none of the images is there.
    """
    path = needed(with_columns(labels, *COLUMNS) or table_in(src, TABLE), "df_chexpert_plus_240401.csv", src)
    table = read_table(path)
    found = next((f for name in LABELS if (f := table_in(src, name))), None)
    cells = _labels(found, table["path_to_image"]) if found else pd.DataFrame(index=table.index)
    people = chexpert.identities(table["path_to_image"])
    split, _, note = chexpert.parts(table["split"].replace("", "train"))
    rows = pd.DataFrame(
        {
            "path": table["path_to_image"], "patient": people["patient"].where(people["patient"] != "",
            table["deid_patient_id"]), "study": people["study"], "split": split, "sex": table.get("sex", ""),
            "age": table.get("age", ""),
        }
    )  # fmt: skip
    side = table["frontal_lateral"].where(table["frontal_lateral"] == "Lateral", table["ap_pa"])
    rows["view"] = side.where(side != "", table["frontal_lateral"])
    notes = [note, f"labels: {found.name}, CheXbert's" if found else f"no labels: none of {', '.join(LABELS)} is there"]
    if found and (unlabelled := int(cells.isna().all(axis=1).sum())):
        notes.append(f"without any label: {counted(unlabelled, 'image')}")
    return assemble(
        src, rows, cells, layout="chexpert-plus", table=path.name, overrides=overrides, notes=notes,
        patients_known=True,
    )  # fmt: skip
