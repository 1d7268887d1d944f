"""MedMNIST's `.npz` files (Yang et al. 2023): ChestMNIST and PneumoniaMNIST, at 28 to 224 px, their own three parts.

They are read image by image as they stream out of the archive (`decode.arrays`), and no pickle in them is opened.
No patients are known: ChestMNIST's split follows NIH's official lists, and PneumoniaMNIST's is Kermany's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kontrast.data.columns import NIH_FINDINGS
from kontrast.data.decode.arrays import array_of, member, shape_of
from kontrast.data.layouts.files import matching
from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble
from kontrast.errors import DataError

PARTS = ("train", "val", "test")
KNOWN = {"chestmnist": NIH_FINDINGS, "pneumoniamnist": ("Pneumonia",)}
"""The columns of `…_labels`, in the sets' order; any other file's are called by their number."""


def tables_of(src: Path) -> list[Path]:
    """MedMNIST's archives in a folder; several only where they are of one size and set, so the largest is taken."""
    found = [path for path in matching(src, "*.npz") if _fits(path)]
    known = [path for path in found if _set(path) in KNOWN]
    return sorted(known or found, key=lambda path: path.stat().st_size)[-1:]


def _set(path: Path) -> str:
    return path.stem.split("_")[0].lower()


def _fits(path: Path) -> bool:
    try:
        shapes = [shape_of(path, f"{part}_images") for part in PARTS]
        return all(len(shape) == 3 for shape in shapes)
    except DataError:
        return False


def _labels(path: Path, part: str, count: int) -> np.ndarray:
    labels = array_of(path, f"{part}_labels")
    labels = labels.reshape(len(labels), -1) if labels.ndim else labels.reshape(0, 0)
    if len(labels) != count or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path.name}: {part}_labels does not fit {part}_images.", fix="Download it again.")
    return labels


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of one archive; each image's source is `chestmnist.npz/train/000000`.

    Raises:
        DataError: no archive, or one that is damaged.
    """
    found = tables_of(src)
    if not found:
        raise DataError(f"{src} holds no .npz of MedMNIST (train_images, train_labels …).", fix="Name its folder.")
    path = found[0]
    parts = {part: shape_of(path, f"{part}_images") for part in PARTS}
    cells = np.concatenate([_labels(path, part, shape[0]) for part, shape in parts.items()])
    names, notes = _names(path, cells)
    if len(names) != cells.shape[1]:  # one column of classes
        cells = np.stack([cells[:, 0] == value for value in range(len(names))], axis=1)
    sources = [member(path.name, part, i) for part, shape in parts.items() for i in range(shape[0])]
    rows = pd.DataFrame({"source": sources, "split": [s.split("/")[1] for s in sources], "view": "frontal"})
    others = [other.name for other in matching(src, "*.npz") if other != path]
    notes += [f"archive: {path.name}, {parts['train'][1]} px"]
    notes += [f"not read (a folder for each archive): {', '.join(others)}"] * bool(others)
    return assemble(
        src, rows, pd.DataFrame(cells.astype(float), columns=list(names)), layout="medmnist", table=path.name,
        overrides=overrides, notes=notes, patients_known=False,
    )  # fmt: skip


def _names(path: Path, cells: np.ndarray) -> tuple[Sequence[str], list[str]]:
    known = KNOWN.get(_set(path))
    if known and cells.shape[1] == len(known):
        return known, []
    if cells.shape[1] > 1 or set(np.unique(cells)) <= {0, 1}:
        return [f"label {i}" for i in range(cells.shape[1])], ["what its labels mean is not known: called by number"]
    classes = int(cells.max()) + 1
    return [f"class {i}" for i in range(classes)], [f"{classes} classes, called by number: see MedMNIST's info.json"]
