"""A cohort on disk, laid out as CheXpert-small is.

    OUT/CheXpert-v1.0-small/train.csv, valid.csv, train/patient00001/study1/view1_frontal.jpg, valid/patient64541/…
    OUT/CheXpert-v1.0-small/masks/legend.json, masks/train/patient00001/study1/view1_frontal.png
    OUT/truth.csv

`train.csv` holds a labeller's 1, 0, -1 and blank; `valid.csv` holds 0 and 1 throughout, as its radiologists gave;
`truth.csv` holds what was painted. A mask file is one 16-bit PNG: bit k is set where name k of the legend is.
"""

import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from kontrast.data.phantom import MASKS, PhantomImage, PhantomStudy, generate
from kontrast.data.phantom.cohort import draw_patient
from kontrast.data.phantom.reading import read
from kontrast.types import FINDINGS

ROOT = "CheXpert-v1.0-small"
FIRST_VALID = 64541
VALID_SHARE = 0.12
SUFFIX = {"jpeg": ".jpg", "png": ".png", "dicom": ".dcm"}
_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")


def members(patients: int) -> list[tuple[str, int]]:
    """(`train` or `valid`, patient number) of a cohort; about 12 % and at least one are `valid`.

    A number stands for the same patient in every cohort of one seed.
    """
    valid = max(1, round(VALID_SHARE * patients))
    numbers = [("train", k + 1) for k in range(patients - valid)]
    return numbers + [("valid", FIRST_VALID + k) for k in range(valid)]


def write_patient(out: Path, part: str, number: int, *, seed: int, size: int, image_format: str) -> int:
    """Write one patient's images and masks; a patient that stands there already is left alone.

    A patient's folder appears whole or not at all (written beside and renamed), so an interrupted run resumes.

    Returns:
        How many images were written: 0 when they were there.
    """
    name = f"patient{number:05d}"
    images, masks = out / ROOT / part / name, out / ROOT / "masks" / part / name
    if images.is_dir():
        return 0
    partial = [folder.with_name(f".{name}.partial") for folder in (masks, images)]
    for folder in (*partial, masks):
        shutil.rmtree(folder, ignore_errors=True)
    written = 0
    try:
        for study in generate(number, seed, size):
            mask_folder, image_folder = (folder / f"study{study.number}" for folder in partial)
            mask_folder.mkdir(parents=True)
            image_folder.mkdir(parents=True)
            for image in study.images:
                picture = _encode(study, image, image_format, seed)
                (image_folder / (image.name + SUFFIX[image_format])).write_bytes(picture)
                (mask_folder / f"{image.name}.png").write_bytes(_png(image.masks))
                written += 1
        # Masks first: where the images are, everything is.
        for folder, final in zip(partial, (masks, images), strict=True):
            folder.replace(final)
    finally:
        for folder in partial:  # gone, unless this was interrupted or the disk is full
            shutil.rmtree(folder, ignore_errors=True)
    return written


def _encode(study: PhantomStudy, image: PhantomImage, image_format: str, seed: int) -> bytes:
    if image_format == "dicom":
        from kontrast.data.phantom.dicom import encode

        return encode(study, image, seed)
    if image_format == "png":
        return _png(image.pixels)
    ok, data = cv2.imencode(".jpg", image.pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert ok
    return data.tobytes()


def _png(pixels: np.ndarray) -> bytes:
    ok, data = cv2.imencode(
        ".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    )
    assert ok
    return data.tobytes()


def rows(part: str, number: int, seed: int, image_format: str) -> Iterator[tuple[list[str], list[str]]]:
    """For each image of a patient its row of the table and its row of the truth, without rendering anything."""
    patient = draw_patient(number, seed)
    reader = np.random.default_rng([seed, number, 1])
    for study in patient.studies:
        labels = read(study.truth, {n: f.severity for n, f in study.findings.items()}, reader)
        exact = [str(study.truth[name]) for name in FINDINGS]
        for view in study.views:
            path = f"{ROOT}/{part}/patient{number:05d}/study{study.number}/{view.name}{SUFFIX[image_format]}"
            frontal = view.pose.view != "lateral"
            about = [path, "Female" if patient.anatomy.sex == "F" else "Male", str(study.age),
                     "Frontal" if frontal else "Lateral", view.pose.view if frontal else ""]  # fmt: skip
            stated = ["" if math.isnan(labels[name]) else f"{labels[name]:.1f}" for name in FINDINGS]
            if part == "valid":
                stated = [f"{study.truth[name]:.1f}" for name in FINDINGS]
            yield about + stated, [path, *exact]


def write_tables(
    out: Path, cohort: list[tuple[str, int]], *, seed: int, image_format: str, write: Callable[[Path, bytes], None]
) -> dict[str, int]:
    """Write `train.csv`, `valid.csv`, `truth.csv` and the masks' legend; return what the cohort holds.

    Args:
        out: the phantom's folder.
        cohort: what `members` gave.
        seed: of the cohort.
        image_format: `jpeg`, `png` or `dicom`.
        write: writes bytes to a path at once or not at all.
    """
    tables: dict[str, list[list[str]]] = {"train": [], "valid": []}
    truth: list[list[str]] = []
    studies = 0
    for part, number in cohort:
        for row, exact in rows(part, number, seed, image_format):
            tables[part].append(row)
            truth.append(exact)
            studies += row[0].rsplit("/", 1)[1].startswith("view1_")
    for part, body in tables.items():
        write(out / ROOT / f"{part}.csv", _csv([*_COLUMNS, *FINDINGS], body))
    write(out / "truth.csv", _csv(["Path", *FINDINGS], truth))
    legend = json.dumps(list(MASKS), indent=1) + "\n"
    write(out / ROOT / "masks" / "legend.json", legend.encode())
    return {
        "patients": len(cohort), "studies": studies, "images": len(truth),
        "train_images": len(tables["train"]), "valid_images": len(tables["valid"]),
    }  # fmt: skip


def _csv(header: list[str], body: list[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(body)
    return text.getvalue().encode()


def prepare_folders(out: Path) -> None:
    """Make the folders that every patient's folder goes into."""
    for part in ("train", "valid"):
        (out / ROOT / part).mkdir(parents=True, exist_ok=True)
        (out / ROOT / "masks" / part).mkdir(parents=True, exist_ok=True)
