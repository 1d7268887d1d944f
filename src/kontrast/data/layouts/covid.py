"""COVID collections: covid-chestxray-dataset (Cohen et al. 2020) and the COVID-19 Radiography Database's folders.

Both gather images of many origins, with each other's and other sets' among them: classes then differ by hospital,
age and machine too, and a model may read those. Near-duplicates between such sets are found by `kontrast scan`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.decode import find_images
from kontrast.data.layouts.files import folders_in, matching
from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, needed, table_in, with_columns
from kontrast.data.words import read_table
from kontrast.errors import DataError
from kontrast.types import counted

COLUMNS = ("patientid", "finding", "filename", "modality")
FOLDERS = ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia")
OLD = {"COVID-19": "COVID", "NORMAL": "Normal"}
_UNKNOWN = frozenset({"", "todo", "Unknown"})
MIXED = "a collection of many origins: images of other sets may be among them, and classes differ by origin too"


def tables_of(src: Path) -> list[Path]:
    """The collection's `metadata.csv`."""
    found = table_in(src, "metadata.csv")
    return [found] if found and set(COLUMNS) <= set(read_table(found).columns) else []


def collection(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of covid-chestxray-dataset: its tree of findings (`Pneumonia/Viral/COVID-19`), each step one finding.

    Raises:
        DataError: no table, or none of the images is there.
    """
    path = needed(
        with_columns(labels, *COLUMNS) or next(iter(tables_of(src)), None), "metadata.csv of the collection", src
    )
    table = read_table(path)
    ct = table["modality"].str.upper() == "CT"
    problems = [(name, "a CT image, not a radiograph") for name in table["filename"][ct]]
    table = table[~ct].reset_index(drop=True)
    steps = [frozenset() if f in _UNKNOWN else frozenset(f.split("/")) for f in table["finding"]]
    names = sorted(frozenset[str]().union(*steps))
    cells = pd.DataFrame({n: [float(n in s) if s else float("nan") for s in steps] for n in names}, index=table.index)
    folder = table.get("folder", pd.Series("images", index=table.index))
    rows = pd.DataFrame(
        {
            "path": folder.where(folder != "", "images") + "/" + table["filename"], "patient": table["patientid"],
            "view": table["view"].replace("L", "lateral"), "sex": table["sex"], "age": table["age"],
        }
    )  # fmt: skip
    unknown = sum(not s for s in steps)
    notes = [
        f"findings: every step of the column finding; {counted(unknown, 'image')} with todo or Unknown are blank",
        MIXED,
    ]
    notes += [f"CT images left out: {int(ct.sum()):,}"] * bool(ct.any())
    return assemble(
        src, rows, cells, layout="covid-chestxray", table=path.name, overrides=overrides, notes=notes,
        patients_known=True, problems=problems,
    )  # fmt: skip


def base_of(src: Path) -> Path | None:
    """The folder that holds the database's class folders: COVID and at least one of the others."""
    for base in (src, *(path for path in matching(src, "COVID-19*Radiography*") if path.is_dir())):
        here = {OLD.get(name, name) for name in folders_in(base)}
        if "COVID" in here and len(here & set(FOLDERS)) >= 2 and matching(base, "*etadata.xlsx"):
            return base
        if "COVID" in here and (base / "COVID" / "images").is_dir():
            return base
    return None


def radiography(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of the COVID-19 Radiography Database: one class a folder; its masks are not taken for images.

    Raises:
        DataError: none of its folders is there.
    """
    base = base_of(src)
    if base is None:
        raise DataError(
            f"{src} holds no COVID-19 Radiography Database (COVID/images, Normal/images …).",
            fix="Name the folder that holds COVID, Normal and the others.",
        )
    depth = 0 if base == src else len(base.relative_to(src).parts)
    images = [
        path for path in find_images(src)
        if "masks" not in path.parts and len(path.parts) > depth + 1
        and OLD.get(path.parts[depth], path.parts[depth]) in FOLDERS
    ]  # fmt: skip
    kinds = [OLD.get(path.parts[depth], path.parts[depth]) for path in images]
    rows = pd.DataFrame({"source": [path.as_posix() for path in images]})
    cells = pd.DataFrame(
        {name.replace("_", " "): [float(kind == name) for kind in kinds] for name in sorted(set(kinds))}
    )
    notes = [
        "findings: one for each folder, of which one is 1; masks are left out",
        MIXED,
        "Viral Pneumonia and part of Normal are Kermany's children, COVID-19 are adults",
    ]
    return assemble(
        src, rows, cells, layout="covid-radiography", table="the folders", overrides=overrides, notes=notes,
        patients_known=False,
    )  # fmt: skip
