"""RSNA's pneumonia challenge (Shih et al. 2019) and SIIM-ACR's pneumothorax challenge: DICOM, drawn from NIH's set.

Both give images ids of their own, so that one person's images look like those of several. RSNA published which of
NIH's images each was; with that file beside the table, NIH's patient numbers are used, and overlap with a Pack of
NIH's set is found.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, boxes_of, needed, table_in, with_columns
from kontrast.data.words import read_table
from kontrast.errors import DataError
from kontrast.types import counted

TARGETS, CLASSES, ORIGIN = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv", "*mapping*.json"
MASKS = ("train-rle.csv", "stage_2_train.csv", "train-rle-sample.csv")
NIH_PATIENTS = "its patients are NIH's, so several images may be of one: keep it apart from NIH's set"


def rsna_tables(src: Path) -> list[Path]:
    """The table of targets."""
    found = table_in(src, TARGETS)
    return [found] if found else []


def siim_tables(src: Path) -> list[Path]:
    """The table of masks."""
    found = table_in(src, *MASKS)
    return [found] if found and {"ImageId", "EncodedPixels"} <= set(read_table(found).columns) else []


def origins(path: Path) -> dict[str, str]:
    """RSNA's image id → NIH's patient number, from RSNA's own list.

    Raises:
        DataError: the file is no such list.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {e["subset_img_id"]: str(int(e["img_id"].split("_")[0])) for e in entries}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path.name} is no list of RSNA's images and NIH's (subset_img_id, img_id).",
            fix="Download it again, or move it away to go on without patients.",
        ) from None


def rsna(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of the pneumonia challenge: its table has one row a box; each image becomes one row here.

    Raises:
        DataError: no table, or none of the images is there.
    """
    path = needed(with_columns(labels, "patientId", "Target") or table_in(src, TARGETS), TARGETS, src)
    table = read_table(path)
    several = int(table.duplicated("patientId").sum())
    target = pd.to_numeric(table["Target"]).groupby(table["patientId"]).max()
    cells = pd.DataFrame({"Lung Opacity": target.astype(float)})
    notes = [
        "Lung Opacity = Target: an opacity that its readers found suspicious for pneumonia",
        f"one row a box: {several:,} further rows of the same images are their other boxes",
    ]
    classes = table_in(src, CLASSES)
    if classes:
        kinds = read_table(classes).drop_duplicates("patientId").set_index("patientId")["class"]
        cells["No Finding"] = (kinds.reindex(cells.index) == "Normal").astype(float)
        notes.append(f"No Finding = class Normal of {CLASSES}; `No Lung Opacity / Not Normal` is 0 in both")
    rows = pd.DataFrame({"path": cells.index})
    origin = table_in(src, ORIGIN)
    if origin:
        rows["patient"] = rows["path"].map(origins(origin)).fillna("")
        notes.append(f"patients: NIH's numbers, from {origin.name}")
    else:
        notes.append(f"patientId names an image, not a person; {NIH_PATIENTS}")
    boxes = table.rename(columns={"patientId": "file"})[["file", "x", "y", "width", "height"]]
    return assemble(
        src, rows, cells.reset_index(drop=True), layout="rsna", table=path.name, overrides=overrides, notes=notes,
        patients_known=origin is not None, headers=("view", "sex", "age"),
        boxes=boxes_of(boxes.assign(finding="Lung Opacity")),
    )  # fmt: skip


def siim(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of the pneumothorax challenge: an image is positive if any of its rows has a mask.

    Raises:
        DataError: no table, or none of the images is there.
    """
    path = needed(with_columns(labels, "ImageId", "EncodedPixels") or table_in(src, *MASKS), MASKS[0], src)
    table = read_table(path)
    has = table["EncodedPixels"].str.strip() != "-1"
    blank = int((table["EncodedPixels"] == "").sum())
    positive = (has & (table["EncodedPixels"] != "")).groupby(table["ImageId"]).max()
    known = (table["EncodedPixels"] != "").groupby(table["ImageId"]).max()
    cells = pd.DataFrame({"Pneumothorax": positive.astype(float).where(known)})
    notes = [
        "Pneumothorax = has a mask; the masks themselves are not taken",
        f"images' ids are no people; {NIH_PATIENTS}",
    ]
    if several := len(table) - len(cells):
        notes.append(f"one row a mask: {several:,} further rows of the same images")
    if blank:
        notes.append(f"without a mask or -1, so blank: {counted(blank, 'row')}")
    return assemble(
        src, pd.DataFrame({"path": cells.index}), cells.reset_index(drop=True), layout="siim", table=path.name,
        overrides=overrides, notes=notes, patients_known=False, headers=("view", "sex", "age"),
    )  # fmt: skip
