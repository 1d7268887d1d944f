"""PadChest (Bustos et al. 2019): one large table, 16-bit PNGs in numbered folders, findings as lists of words."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, needed, table_in, with_columns
from kontrast.data.words import read_table
from kontrast.types import counted

TABLE = "PADCHEST_chest_x_ray_images_labels_*.csv"
COLUMNS = ("ImageID", "Labels", "Projection")
RARE = 1000
_NO_FINDINGS = frozenset({"exclude", "suboptimal study", "unchanged"})
_VIEWS = {"PA": "PA", "L": "lateral", "AP": "AP", "AP_horizontal": "AP"}
_WORD = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def tables_of(src: Path) -> list[Path]:
    """The table of labels."""
    found = table_in(src, TABLE)
    return [found] if found else []


def words_of(cell: str) -> frozenset[str]:
    """The findings in a cell such as `['pleural effusion', 'normal ']`: text only, nothing in it is evaluated."""
    return frozenset(w for a, b in _WORD.findall(cell) if (w := " ".join((a or b).lower().split())))


def _title(word: str) -> str:
    return word if word in ("copd signs", "nsg tube") else word[:1].upper() + word[1:]


def _labels(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    sets = [words_of(cell) for cell in table["Labels"]]
    counts: dict[str, int] = {}
    for found in sets:
        for word in found - _NO_FINDINGS:
            counts[word] = counts.get(word, 0) + 1
    kept = sorted(word for word, count in counts.items() if RARE * count >= len(sets))
    rare = len(counts) - len(kept)
    notes = [f"findings: {len(kept)} words of Labels that at least one image in {RARE:,} has"]
    notes += [f"rarer words, left out: {rare}"] * bool(rare)
    # An empty list is a report without any known word: not mentioned, not negative.
    cells = {_title(word): [np.nan if not found else float(word in found) for found in sets] for word in kept}
    return pd.DataFrame(cells, index=table.index), notes


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of PadChest; images that it excludes itself are left out.

    Raises:
        DataError: no table, or none of the images is there.
    """
    path = needed(with_columns(labels, *COLUMNS) or table_in(src, TABLE), f"table {TABLE}", src)
    table = read_table(path)
    out = (table["Projection"] == "EXCLUDE") | table["Labels"].map(lambda cell: "exclude" in words_of(cell))
    problems = [(name, "PadChest excludes it itself") for name in table["ImageID"][out]]
    doubles = int(table["ImageID"].duplicated().sum())
    table = table[~out].reset_index(drop=True)
    cells, notes = _labels(table)
    blank = pd.Series("", index=table.index)
    rows = pd.DataFrame({"path": table["ImageID"], "patient": table.get("PatientID", blank)})
    rows["study"] = table.get("StudyID", blank)
    rows["view"] = table["Projection"].map(_VIEWS).fillna("")
    rows["sex"] = table.get("PatientSex_DICOM", blank)
    born = pd.to_numeric(table.get("PatientBirth", blank), errors="coerce")
    taken = pd.to_numeric(table.get("StudyDate_DICOM", blank).str[:4], errors="coerce")
    rows["age"] = [f"{years:.0f}" if years == years else "" for years in taken - born]
    notes.append("age: year of the study less year of birth, so a year off at times")
    by_network = int((table.get("MethodLabel", blank) == "RNN_model").sum())
    notes.append(f"labels: {len(table) - by_network:,} read by physicians, {by_network:,} by a network from the report")
    inverted = int((table.get("PhotometricInterpretation_DICOM", blank) == "MONOCHROME1").sum())
    if inverted:
        notes.append(f"{counted(inverted, 'image')} came from MONOCHROME1: look whether bone is bright in them")
    if doubles:
        notes.append(f"listed more than once: {counted(doubles, 'image')}")
    return assemble(
        src, rows, cells, layout="padchest", table=path.name, overrides=overrides, notes=notes, patients_known=True,
        problems=problems,
    )  # fmt: skip
