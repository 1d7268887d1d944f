"""The folder: CheXpert's layout, truth beside it, DICOM that another library reads."""

import csv
import io
import json

import cv2
import numpy as np
import pydicom
import pytest

from kontrast.data.phantom import MASKS, generate
from kontrast.data.phantom.dicom import encode
from kontrast.data.phantom.write import FIRST_VALID, ROOT, members, prepare_folders, rows, write_patient, write_tables
from kontrast.types import FINDINGS


def _write(out, cohort, image_format="jpeg", size=32):
    prepare_folders(out)
    for part, number in cohort:
        write_patient(out, part, number, seed=2, size=size, image_format=image_format)
    return write_tables(out, cohort, seed=2, image_format=image_format, write=lambda p, b: p.write_bytes(b))


def test_members_keep_their_numbers():
    assert members(2) == [("train", 1), ("valid", FIRST_VALID)]
    small, large = members(50), members(200)
    assert len(large) == 200
    assert sum(part == "valid" for part, _ in large) == 24
    assert {m for m in small if m[0] == "train"} < set(large)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom")
    return out, _write(out, members(9))


def _read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_tables_name_every_image_and_nothing_else(folder):
    out, summary = folder
    listed = {row["Path"] for part in ("train", "valid") for row in _read(out / ROOT / f"{part}.csv")}
    on_disk = {str(p.relative_to(out)) for part in ("train", "valid") for p in (out / ROOT / part).rglob("*.jpg")}
    assert listed == on_disk
    assert {row["Path"] for row in _read(out / "truth.csv")} == listed
    assert summary["images"] == len(listed)
    assert not list(out.rglob(".*"))


def test_columns_are_chexperts(folder):
    out, _ = folder
    first = _read(out / ROOT / "train.csv")[0]
    assert list(first) == ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS]
    assert first["Path"].startswith("CheXpert-v1.0-small/train/patient00001/study1/view1_")
    assert first["Sex"] in ("Female", "Male")


def test_valid_is_labelled_throughout_and_equals_the_truth(folder):
    out, _ = folder
    truth = {row["Path"]: row for row in _read(out / "truth.csv")}
    for row in _read(out / ROOT / "valid.csv"):
        assert [row[n] for n in FINDINGS] == [f"{truth[row['Path']][n]}.0" for n in FINDINGS]


def test_files_hold_what_generate_makes(folder):
    out, _ = folder
    study = generate(1, 2, 32)[0]
    base = "train/patient00001/study1/view1_frontal"
    masks = cv2.imread(str(out / ROOT / "masks" / f"{base}.png"), cv2.IMREAD_UNCHANGED)
    assert masks.dtype == np.uint16
    assert np.array_equal(masks, study.images[0].masks)
    assert json.loads((out / ROOT / "masks" / "legend.json").read_text()) == list(MASKS)
    picture = cv2.imread(str(out / ROOT / f"{base}.jpg"), cv2.IMREAD_UNCHANGED)
    assert picture.ndim == 2
    assert np.abs(picture.astype(int) - study.images[0].pixels).mean() < 6


def test_table_agrees_with_generate():
    for number in (1, 2, 3):
        table = iter(rows("train", number, 2, "jpeg"))
        for study in generate(number, 2, 16):
            for image in study.images:
                row, exact = next(table)
                assert f"study{study.number}/{image.name}" in row[0]
                assert [int(e) for e in exact[1:]] == [study.truth[n] for n in FINDINGS]
                stated = [float(v) if v else float("nan") for v in row[5:]]
                assert np.array_equal(stated, [study.labels[n] for n in FINDINGS], equal_nan=True)


def test_a_half_written_patient_is_written_again(tmp_path):
    prepare_folders(tmp_path)
    keep = {"seed": 2, "size": 16, "image_format": "png"}
    assert write_patient(tmp_path, "train", 1, **keep) > 0
    whole = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.png")}
    assert write_patient(tmp_path, "train", 1, **keep) == 0
    # As an interruption leaves it: masks in place, images still in the partial folder.
    (tmp_path / ROOT / "train" / "patient00001").rename(tmp_path / ROOT / "train" / ".patient00001.partial")
    next((tmp_path / ROOT / "train" / ".patient00001.partial").rglob("*.png")).write_bytes(b"")
    assert write_patient(tmp_path, "train", 1, **keep) > 0
    assert {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.png")} == whole


def test_dicom_says_what_it_holds():
    seen = set()
    for number in range(1, 9):
        for study in generate(number, 0, 32):
            for image in study.images:
                data = pydicom.dcmread(io.BytesIO(encode(study, image, 0)))
                stored = data.pixel_array
                if data.PhotometricInterpretation == "MONOCHROME1":
                    stored = 4095 - stored
                assert np.abs(stored / 4095 - image.film).max() < 1 / 4000
                assert data.BitsStored == 12
                assert data.PatientSex == study.sex
                assert data.PatientAge == f"{study.age:03d}Y"
                assert data.ViewPosition == ("LL" if image.view == "lateral" else image.view)
                assert data.PatientID == f"PHANTOM{number:05d}"
                seen.add(data.PhotometricInterpretation)
    assert seen == {"MONOCHROME1", "MONOCHROME2"}


def test_dicom_identities_hang_together_and_repeat(tmp_path):
    study = next(s for k in range(1, 40) for s in generate(k, 0, 16) if len(s.images) == 2)
    first, second = (pydicom.dcmread(io.BytesIO(encode(study, image, 0))) for image in study.images)
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert encode(study, study.images[0], 0) == encode(study, study.images[0], 0)
