"""VinDr-CXR (Nguyen et al. 2022): DICOM, 28 findings; also its part in Kaggle's VinBigData challenge (boxes only).

Each training image was read by three radiologists, each test image by five in agreement. A finding that all or most
readers name is 1, one that a minority names is -1 (uncertain), and one that nobody names is 0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, boxes_of, needed, table_in, values, with_columns
from kontrast.data.words import read_table
from kontrast.types import counted

LABELS = ("image_labels_train.csv", "image_labels_test.csv")
BOXES = ("annotations_train.csv", "annotations_test.csv")
KAGGLE = ("image_id", "class_name", "class_id", "rad_id")
_SAME = {"Other disease": "Other diseases"}
"""The two tables spell one column differently."""


def tables_of(src: Path) -> list[Path]:
    """Tables of image labels, or Kaggle's `train.csv`."""
    found = [path for name in LABELS if (path := table_in(src, name))]
    if found:
        return found if {"image_id", "No finding"} <= set(read_table(found[0]).columns) else []
    kaggle = src / "train.csv"
    return [kaggle] if kaggle.is_file() and set(KAGGLE) <= set(read_table(kaggle).columns) else []


def agreed(votes: pd.DataFrame) -> pd.DataFrame:
    """One row for each image of (image_id index, one row a reader) votes of 1 and 0: see the module's rule."""
    share = votes.groupby(level=0, sort=True).mean()
    rule = np.select([share > 0.5, share > 0], [1.0, -1.0], 0.0)
    return pd.DataFrame(rule, index=share.index, columns=share.columns)


def _from_labels(paths: Sequence[Path]) -> tuple[pd.DataFrame, pd.Series, int]:
    """Labels by image, the part of each, and how many cells the readers disagreed on."""
    frames, parts = [], []
    for path in paths:
        table = read_table(path).rename(columns=_SAME)
        votes = values(table, [name for name in table.columns if name not in ("image_id", "rad_id")])
        frames.append(agreed(votes.set_index(table["image_id"])))
        parts.append(pd.Series("test" if "test" in path.stem else "train", index=frames[-1].index))
    labels, part = pd.concat(frames), pd.concat(parts)
    return labels, part, int((labels == -1).sum().sum())


def _from_boxes(table: pd.DataFrame) -> pd.DataFrame:
    """Labels by image from rows of one box each, for Kaggle's table."""
    votes = pd.crosstab([table["image_id"], table["rad_id"]], table["class_name"]).clip(upper=1)
    return agreed(votes.droplevel("rad_id"))


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of VinDr-CXR; patients, if anything, are in the DICOM headers.

    Raises:
        DataError: no table, or none of the images is there.
    """
    tables = list(labels) or tables_of(src)
    needed(tables[0] if tables else None, f"{LABELS[0]} or Kaggle's train.csv", src)
    kaggle = with_columns(tables, *KAGGLE)
    if kaggle:
        table = read_table(kaggle)
        cells, drawn = _from_boxes(table), table
        part, doubtful = pd.Series("", index=cells.index), int((cells == -1).sum().sum())
    else:
        cells, part, doubtful = _from_labels(tables)
        part = part if (part == "test").any() else part.replace("train", "")
        lists = [read_table(path) for name in BOXES if (path := table_in(src, name))]
        drawn = pd.concat(lists, ignore_index=True).fillna("") if lists else pd.DataFrame()
    notes = [
        f"three readers an image: 1 where most name a finding, -1 where fewer do ({counted(doubtful, 'cell')})",
    ]
    boxes = None
    if len(drawn):
        sides = drawn[["x_min", "y_min", "x_max", "y_max"]].apply(pd.to_numeric, errors="coerce")
        boxes = boxes_of(
            pd.DataFrame(
                {
                    "file": drawn["image_id"], "finding": drawn["class_name"], "x": sides["x_min"], "y": sides["y_min"],
                    "width": sides["x_max"] - sides["x_min"], "height": sides["y_max"] - sides["y_min"],
                }
            )
        )  # fmt: skip
        notes.append(f"boxes: {0 if boxes is None else len(boxes):,}, those of every reader")
    rows = pd.DataFrame({"path": cells.index, "split": part.reindex(cells.index).to_numpy()})
    return assemble(
        src, rows, cells.reset_index(drop=True), layout="vindr", table=tables[0].name, overrides=overrides,
        notes=notes, patients_known=False, boxes=boxes,
    )  # fmt: skip
