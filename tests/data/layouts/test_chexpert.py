"""CheXpert's tables in every place and combination that people keep them in."""

import csv
from pathlib import Path

import numpy as np
import pytest

from kontrast.data.layouts import detect
from kontrast.data.splits import repair_overlap
from kontrast.errors import DataError, LeakageError
from kontrast.types import FINDINGS

PREFIX = "CheXpert-v1.0-small/"


def rows(part: str, patients: range, prefix: str = PREFIX):
    cells = ["1.0", "0.0", "-1.0", ""]
    for p in patients:
        labels = [cells[(p + f) % 4] for f in range(14)]
        yield [f"{prefix}{part}/patient{p:05d}/study1/view1_frontal.jpg", "Female", "60", "Frontal", "AP", *labels]
        yield [f"{prefix}{part}/patient{p:05d}/study1/view2_lateral.jpg", "Male", "0", "Lateral", "", *labels]


def write(path: Path, lines, head=("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS)):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *lines])
    return path


def touch(root: Path, lines, strip: str = ""):
    for line in lines:
        path = root / line[0].removeprefix(strip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def make(root: Path, tables: dict[str, tuple[str, range]], tables_in: str = "", strip: str = "") -> Path:
    for name, (part, patients) in tables.items():
        lines = list(rows(part, patients))
        write(root / tables_in / name, lines)
        touch(root, lines, strip)
    return root


def read(src, labels=(), **overrides):
    layout = detect(src, labels)
    assert layout.name == "chexpert"
    return layout.records(src, labels, overrides)


@pytest.mark.parametrize(("tables_in", "strip"), [("", ""), ("", PREFIX), ("CheXpert-v1.0-small", "")])
def test_labels_patients_and_views_wherever_the_files_are(tmp_path, tables_in, strip):
    src = make(tmp_path, {"train.csv": ("train", range(1, 9)), "valid.csv": ("valid", range(20, 22))}, tables_in, strip)
    records = read(src)
    table = records.table
    assert records.findings == FINDINGS and len(table) == 20 and not records.problems
    assert all((src / source).is_file() for source in table["source"])
    first = table[table["source"].str.endswith("train/patient00003/study1/view1_frontal.jpg")].iloc[0]
    assert (first["patient"], first["study"], first["view"], first["sex"], first["age"]) == (
        "patient00003",
        "study1",
        "AP",
        "F",
        60,
    )
    expected = [[1, 0, -1, np.nan][(3 + f) % 4] for f in range(14)]
    assert np.array_equal(first[list(FINDINGS)].astype(float), expected, equal_nan=True)
    assert table.groupby(table["source"].str.contains("lateral"))["view"].agg(set).tolist() == [{"AP"}, {"lateral"}]
    assert list(table["source"]) == sorted(table["source"])
    assert records.patients_known and records.roles["age"] == "Age"


@pytest.mark.parametrize(
    ("names", "expected", "official"),
    [
        (["train"], {"train": ""}, ""),
        (["train", "valid"], {"train": "", "valid": "test"}, "test"),
        (["train", "valid", "test"], {"train": "train", "valid": "val", "test": "test"}, "all"),
        (["train", "test"], {"train": "", "test": "test"}, "test"),
        (["valid"], {"valid": "test"}, "all"),
    ],
)
def test_parts(tmp_path, names, expected, official):
    make(tmp_path, {f"{name}.csv": (name, range(10 * i, 10 * i + 3)) for i, name in enumerate(names)})
    records = read(tmp_path)
    found = records.table.groupby(records.table["source"].str.split("/").str[1])["split"].agg(set)
    assert found.to_dict() == {name: {part} for name, part in expected.items()}
    assert records.official_split == official


def test_split_files_of_the_first_version(tmp_path):
    lines = list(rows("train", range(1, 11)))
    touch(tmp_path / "images", lines)
    labels = [write(tmp_path / "train_split.csv", lines[:15]), write(tmp_path / "test_split.csv", lines[15:])]
    records = read(tmp_path / "images", labels)
    assert (records.table["split"] == "test").sum() == 5 and records.official_split == "test"
    with pytest.raises(LeakageError, match="--repair-splits"):
        repair_overlap(records.table)
    repaired, moved = repair_overlap(records.table, "move")
    assert len(moved) == 1 and (repaired["split"] == "test").sum() == 4


def test_missing_files_are_listed_and_the_rest_goes_on(tmp_path):
    src = make(tmp_path, {"train.csv": ("train", range(1, 5))})
    gone = src / PREFIX / "train/patient00002/study1/view1_frontal.jpg"
    gone.unlink()  # files of the same name stand in every other folder, and must not be taken for it
    records = read(src)
    assert len(records.table) == 7
    assert records.problems == ((gone.relative_to(src).as_posix(), "no such file"),)
    expected = [[1, 0, -1, np.nan][(2 + f) % 4] for f in range(14)]
    other = records.table[records.table["patient"] == "patient00002"].iloc[0]
    assert np.array_equal(other[list(FINDINGS)].astype(float), expected, equal_nan=True)


def test_no_file_at_all_says_what_was_looked_for_without_the_id(tmp_path):
    write(tmp_path / "train.csv", rows("train", range(123, 125)))
    (tmp_path / "archive").mkdir()
    (tmp_path / "Mueller").mkdir()
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert "train/patientN/studyN/viewN_frontal.jpg" in str(caught.value) and "archive/" in str(caught.value)
    assert "Mueller" not in str(caught.value)
    assert "00123" not in str(caught.value)


def test_study_labels_reach_every_image_of_the_study(tmp_path):
    lines = list(rows("test", range(1, 4)))
    touch(tmp_path, lines)
    studies = [[f"CheXpert-v1.0/test/patient{p:05d}/study1", *["1", "0"] * 7] for p in range(1, 5)]
    labels = [write(tmp_path / "groundtruth_test.csv", studies, ("Study", *FINDINGS))]
    records = read(tmp_path, labels)
    assert len(records.table) == 6 and set(records.table["split"]) == {"test"}
    assert records.table[FINDINGS[0]].eq(1).all() and records.table["view"].tolist() == ["frontal", "lateral"] * 3
    assert len(records.problems) == 1


def test_overrides_choose_and_rename(tmp_path):
    src = make(tmp_path, {"train.csv": ("train", range(1, 5))})
    records = read(src, finding="Edema,Fracture", rename="Edema:Oedema")
    assert records.findings == ("Oedema", "Fracture")


def test_missing_uncertain_labels_are_said(tmp_path):
    lines = [[cell.replace("-1.0", "") for cell in line] for line in rows("train", range(1, 5))]
    write(tmp_path / "train.csv", lines)
    touch(tmp_path, lines)
    assert any("no cell is -1" in note for note in read(tmp_path).notes)
