"""How sources are arranged: each module here turns one arrangement into `Records`. No pixels are read.

chexpert, chexpertplus, mimic, nih, padchest, vindr, rsna (and SIIM), brax, tuberculosis, medmnist, covid
           public datasets as they are downloaded
pacs       DICOM files in nested folders, no table
table      any CSV with a column of files
folder     class folders, or a plain folder without labels
plain      the same, folders never taken for classes

sets, records, files and names serve them all.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from kontrast.config import choose
from kontrast.data.columns import by_files, stem
from kontrast.data.decode import find_images, may_be_dicom, written_by_kontrast
from kontrast.data.layouts import (
    brax,
    chexpert,
    chexpertplus,
    covid,
    folder,
    medmnist,
    mimic,
    nih,
    pacs,
    padchest,
    rsna,
    table,
    tuberculosis,
    vindr,
)  # fmt: skip
from kontrast.data.layouts.files import matching
from kontrast.data.layouts.headers import HEADERS_READ
from kontrast.data.layouts.names import are_classes, masked
from kontrast.data.layouts.records import BASE, Records
from kontrast.data.words import encoding_of, read_table
from kontrast.errors import DataError, UsageError
from kontrast.types import counted

__all__ = ["BASE", "LAYOUTS", "Layout", "Records", "detect", "masked"]

Reader = Callable[[Path, Sequence[Path], Mapping[str, str]], Records]

LAYOUTS: dict[str, Reader] = {
    "chexpert": chexpert.records,
    "chexpert-plus": chexpertplus.records,
    "mimic-cxr": mimic.records,
    "nih": nih.records,
    "padchest": padchest.records,
    "vindr": vindr.records,
    "rsna": rsna.rsna,
    "siim": rsna.siim,
    "brax": brax.records,
    "shenzhen": partial(tuberculosis.records, name="shenzhen"),
    "montgomery": partial(tuberculosis.records, name="montgomery"),
    "medmnist": medmnist.records,
    "covid-chestxray": covid.collection,
    "covid-radiography": covid.radiography,
    "pacs": pacs.records,
    "table": table.records,
    "folder": folder.records,
    "plain": partial(folder.records, classes=False),
}


@dataclass(frozen=True)
class Layout:
    """An arrangement that fits a source.

    Attributes:
        name: a key of LAYOUTS.
        reason: why it was chosen.
        labels: the tables it reads.
        doubtful: folders, each with its number of images, that may be classes or people: their names become no
            findings unless `--layout folder` says so.
    """

    name: str
    reason: str
    labels: tuple[Path, ...] = ()
    doubtful: tuple[int, ...] = ()

    @property
    def doubt(self) -> str:
        """What is not known about the folders, in a sentence without their names; "" where all is clear."""
        if not self.doubtful:
            return ""
        images = counted(round(median(self.doubtful)), "image")
        return (
            f"{counted(len(self.doubtful), 'folder')} with about {images} each may be classes or people, so their "
            "names are not taken for findings unasked"
        )

    def records(
        self,
        src: Path,
        labels: Sequence[Path] = (),
        overrides: Mapping[str, str] | None = None,
        headers: int | None = None,
    ) -> Records:
        """Read the source.

        Args:
            src: the source folder.
            labels: tables that the user named.
            overrides: from `--column`.
            headers: read at most so many DICOM headers, for a first look; None for all.

        Raises:
            DataError: nothing usable is there.
            UsageError: an override that does not fit.
        """
        if overrides and self.name in ("folder", "plain", "pacs"):
            raise UsageError(f"--column has no table to apply to (layout {self.name}).", fix="Name one with --labels.")
        tables = tuple(labels) or self.labels
        before = HEADERS_READ.set(headers)
        try:
            found = LAYOUTS[self.name](src, tables, overrides or {})
        finally:
            HEADERS_READ.reset(before)
        odd = tuple(line for line in map(_odd_encoding, tables) if line)
        return replace(found, notes=(*found.notes, *odd), warnings=(*found.warnings, *odd)) if odd else found


def _odd_encoding(path: Path) -> str:
    """What to say of a table that is not UTF-8, as Excel writes them; "" where there is nothing to say."""
    encoding = "utf-8-sig" if path.suffix.lower() == ".npz" else encoding_of(path)
    if encoding == "utf-8-sig":
        return ""
    told = "UTF-16, as its mark says" if encoding == "utf-16" else "Windows-1252, since it is no UTF-8"
    return f"{path.name} is read as {told}: where names of columns or classes look wrong, save it as CSV in UTF-8"


TABLES: tuple[tuple[str, str, Callable[[Path], list[Path]]], ...] = (
    ("chexpert-plus", "CheXpert Plus", chexpertplus.tables_of),
    ("mimic-cxr", "MIMIC-CXR-JPG", mimic.tables_of),
    ("padchest", "PadChest", padchest.tables_of),
    ("brax", "BRAX", brax.tables_of),
    ("vindr", "VinDr-CXR", vindr.tables_of),
    ("rsna", "RSNA's pneumonia challenge", rsna.rsna_tables),
    ("siim", "SIIM's pneumothorax challenge", rsna.siim_tables),
    ("covid-chestxray", "covid-chestxray-dataset", covid.tables_of),
    ("medmnist", "MedMNIST", medmnist.tables_of),
)
"""Layout, dataset and how its own tables are found: in the folder that was downloaded."""
COLUMNS: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("chexpert-plus", "CheXpert Plus", frozenset(chexpertplus.COLUMNS)),
    ("mimic-cxr", "MIMIC-CXR-JPG", frozenset(mimic.COLUMNS)),
    ("mimic-cxr", "MIMIC-CXR-JPG", frozenset(("subject_id", "study_id", "No Finding"))),
    ("padchest", "PadChest", frozenset(padchest.COLUMNS)),
    ("brax", "BRAX", frozenset(brax.COLUMNS)),
    ("vindr", "VinDr-CXR", frozenset(("image_id", "rad_id"))),
    ("rsna", "RSNA's pneumonia challenge", frozenset(("patientId", "Target"))),
    ("siim", "SIIM's pneumothorax challenge", frozenset(("ImageId", "EncodedPixels"))),
    ("covid-chestxray", "covid-chestxray-dataset", frozenset(covid.COLUMNS)),
)
"""Layout, dataset and columns by which a table that the user named is known."""


def _known_set(src: Path) -> Layout | None:
    """A public dataset, by the files that only it has."""
    for name, dataset, tables_of in TABLES:
        if tables := tables_of(src):
            shown = ", ".join(path.name for path in tables)
            return Layout(name, f"{shown} of {dataset} {'are' if len(tables) > 1 else 'is'} there", tuple(tables))
    for name in tuberculosis.PREFIX:
        if tuberculosis.is_there(src, name):
            return Layout(name, f"images called {tuberculosis.PREFIX[name]}_NNNN_N are there")
    if covid.base_of(src):
        return Layout("covid-radiography", "the folders of the COVID-19 Radiography Database are there")
    return None


def _from_tables(labels: Sequence[Path]) -> Layout:
    columns = list(read_table(labels[0]).columns)
    name = labels[0].name
    if chexpert.recognised(columns):
        return Layout("chexpert", f"{name} has CheXpert's columns", tuple(labels))
    if nih.recognised(columns):
        return Layout("nih", f"{name} has the columns of NIH ChestX-ray14", tuple(labels))
    for layout, dataset, wanted in COLUMNS:
        if wanted <= set(columns):
            return Layout(layout, f"{name} has the columns of {dataset}", tuple(labels))
    return Layout("table", f"the table {name}", tuple(labels))


def _from_folder(src: Path) -> Layout:
    found = chexpert.tables_of(src)
    if found:
        return Layout("chexpert", f"{', '.join(path.name for path in found)} with CheXpert's columns", tuple(found))
    found = matching(src, nih.TABLE)[-1:]
    if found:
        return Layout("nih", f"{found[0].name} is there", tuple(found))
    known = _known_set(src)
    if known:
        return known
    tables = [path for path in matching(src, "*.csv") if not path.name.startswith(".")] or tables_below(src)
    names = [masked(path.relative_to(src).as_posix()) for path in tables]
    own = [path for path in tables if path.name.lower() in ("labels.csv", "metadata.csv")] or tables
    if len(own) == 1:
        layout = _from_tables(own)
        return layout if own[0].parent == src else replace(layout, reason=f"the table {names[tables.index(own[0])]}")
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    reason = f"{len(tables)} tables ({shown}): name one with --labels" if tables else "no table of labels"
    if not tables and pacs.is_export(src):
        return Layout("pacs", "nested folders of DICOM files, no table")
    images = find_images(src)
    folders = folder.class_folders(images)
    if not folders:
        kind = "DICOM files without folders" if images and all(map(may_be_dicom, images)) else "no class folders"
        return Layout("plain", f"{kind}, {reason}")
    if not are_classes(folders):
        return Layout("plain", reason, doubtful=tuple(sorted(folders.values())))
    return Layout("folder", f"class folders, {reason}")


def tables_below(src: Path) -> list[Path]:
    """Tables in folders of a source that name its images; others, such as a list of scanners or a Pack's, do not."""
    found = []
    for place, folders, files in os.walk(src):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "card.json" not in files:
            found += [Path(place, name) for name in sorted(files) if name.lower().endswith(".csv") and name[0] != "."]
    stems = {stem(path.name) for path in find_images(src)} if found else set()
    return [path for path in found if _names_images(path, stems)]


def _names_images(path: Path, stems: set[str]) -> bool:
    try:
        return by_files(read_table(path), stems) is not None
    except DataError:
        return False


def detect(src: Path, labels: Sequence[Path] = (), layout: str = "auto") -> Layout:
    """Which layout a source has.

    Args:
        src: the source folder.
        labels: tables that the user named; with them the layout goes by their columns.
        layout: `auto`, or a key of LAYOUTS.

    Raises:
        DataError: the source is missing or no folder, or a table cannot be read.
        UsageError: an unknown layout.
    """
    choose(layout, ("auto", *LAYOUTS), "--layout")
    if not src.is_dir():
        what = "is a file, not a folder" if src.exists() else "does not exist"
        raise DataError(f"{src} {what}.", fix="Name the folder that holds the images.")
    kind = written_by_kontrast(src)
    if kind is not None:
        raise DataError(
            f"{src} holds no raw images: kontrast wrote it ({kind}).",
            fix="Name the folder with the raw images; Packs are joined and parted with `kontrast pack`.",
        )
    labels = tuple(labels)
    for path in labels:
        read_table(path)
    if layout == "auto":
        return _from_tables(labels) if labels else _from_folder(src)
    if labels and layout in ("folder", "plain", "pacs"):
        raise UsageError(f"--layout {layout} reads no table.", fix="Leave out --labels, or use --layout table.")
    if layout == "table" and not labels:
        labels = _from_folder(src).labels
        if not labels:
            raise UsageError("--layout table needs a table.", fix="Name it with --labels.")
    return Layout(layout, "as asked", labels)
