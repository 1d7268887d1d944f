"""A Pack for other programs: folders of PNGs with a table, MedMNIST's `.npz`, or WebDataset's `.tar` shards."""

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kontrast import console
from kontrast.artifacts.disk import atomic
from kontrast.artifacts.files import cell, write_csv
from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.errors import UsageError
from kontrast.types import EXTRA_COLUMNS, SPLITS

TAR_IMAGES, BLOCK = 1000, 256
TABLE = "labels.csv"
PEOPLE = ("patient_id", "study_id", "split", "view", "sex", "age")


def _images(pack: Pack, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        yield from zip(block.tolist(), pack.images(block), strict=True)


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def _described(pack: Pack, row: int) -> dict[str, Any]:
    record = pack.table.iloc[row]
    extra = [name for name in EXTRA_COLUMNS if name in pack.table]
    return {name: cell(record[name]) for name in ("image_id", *PEOPLE, *pack.findings, *extra)}


def to_folders(pack: Pack, rows: np.ndarray, out: Path) -> list[str]:
    """`SPLIT/IMAGE_ID.png` and `labels.csv`, which `kontrast prepare` reads again; hashed ids, as in the Pack.

    Returns:
        Names of the files below `out`.
    """
    lines, names = [], []
    with console.progress("export", len(rows), "images") as line:
        for row, image in _images(pack, rows):
            facts = _described(pack, row)
            name = f"{facts['split']}/{facts['image_id']}.png"
            (out / facts["split"]).mkdir(exist_ok=True)
            if not (out / name).is_file():
                with atomic(out / name) as stream:
                    stream.write(_png(image))
            names.append(name)
            lines.append({"path": name, **facts})
            line.update()
    header = list(lines[0]) if lines else ["path"]
    write_csv(out / TABLE, header, [list(one.values()) for one in lines])
    return [TABLE, *names]


def to_medmnist(pack: Pack, rows: np.ndarray, out: Path, uncertain: str, blank: str) -> list[str]:
    """`pack.npz` with `train_images` (N, S, S) uint8, `train_labels` (N, F) uint8, and so for val and test.

    MedMNIST knows 1 and 0 only, so uncertain and blank labels are decided by a policy here.

    Returns:
        Names of the files below `out`.

    Raises:
        UsageError: a Pack of 16 bits, or a policy that leaves labels open.
    """
    if pack.dtype != np.uint8:
        raise UsageError("MedMNIST's images have 8 bits, this Pack's 16.", fix="Export it as folders or webdataset.")
    values, weights = targets(pack.labels(rows), pack.findings, uncertain, blank)
    if not (weights == 1).all():
        raise UsageError(
            f"MedMNIST's labels are 1 or 0; --uncertain {uncertain} and --blank {blank} leave some open.",
            fix="Use zeros or ones, and negative.",
        )
    split = pack.table["split"].to_numpy()[rows]
    with atomic(out / "pack.npz") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in SPLITS:
            mine = rows[split == part]
            shape = (len(mine), pack.size, pack.size)
            with archive.open(zipfile.ZipInfo(f"{part}_images.npy"), "w", force_zip64=True) as member:
                _header(member, shape)
                for start in range(0, len(mine), BLOCK):
                    member.write(pack.images(mine[start : start + BLOCK]).tobytes())
            labels = values[split == part].astype(np.uint8)
            with archive.open(zipfile.ZipInfo(f"{part}_labels.npy"), "w") as member:
                _header(member, labels.shape)
                member.write(np.ascontiguousarray(labels).tobytes())
    with atomic(out / "findings.json") as stream:
        stream.write((json.dumps(list(pack.findings)) + "\n").encode())
    return ["pack.npz", "findings.json"]


def _header(stream: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


def to_webdataset(pack: Pack, rows: np.ndarray, out: Path) -> list[str]:
    """`SPLIT-000000.tar` of 1,000 samples each: `IMAGE_ID.png` and `IMAGE_ID.json` (labels, hashed patient, split).

    Returns:
        Names of the files below `out`.
    """
    names = []
    split = pack.table["split"].to_numpy()[rows]
    with console.progress("export", len(rows), "images") as line:
        for part in SPLITS:
            mine = rows[split == part]
            for index, start in enumerate(range(0, len(mine), TAR_IMAGES)):
                names.append(f"{part}-{index:06d}.tar")
                block = mine[start : start + TAR_IMAGES]
                if not (out / names[-1]).is_file():
                    with atomic(out / names[-1]) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
                        for row, image in _images(pack, block):
                            facts = _described(pack, row)
                            _add(archive, f"{facts['image_id']}.png", _png(image))
                            _add(archive, f"{facts['image_id']}.json", json.dumps(facts).encode())
                line.update(len(block))
    return names


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no time, owner or mode of this machine
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
