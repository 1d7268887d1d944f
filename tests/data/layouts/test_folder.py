"""Class folders and plain folders, told apart."""

import pytest

from kontrast.data.layouts import detect
from kontrast.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_class_folders(tmp_path):
    records = detect(touch(tmp_path, "mild/1.png", "mild/2.png", "severe/a/1.png")).records(tmp_path)
    assert records.findings == ("mild", "severe") and not records.patients_known
    assert records.table[["mild", "severe"]].to_numpy().tolist() == [[1, 0], [1, 0], [0, 1]]
    assert records.table["patient"].nunique() == 3 and records.official_split == ""
    assert any("its own patient" in note for note in records.notes)
    assert "findings = the names of the 2 class folders: mild, severe" in records.notes


def test_folders_that_may_be_people_are_no_classes_unless_it_is_said(tmp_path):
    touch(tmp_path, "Anna/1.png", "Hans/1.png", "Hans/2.png", "Lea/1.png", "Lea/2.png", "Lea/3.png")
    layout = detect(tmp_path)
    assert (layout.name, layout.doubtful) == ("plain", (1, 2, 3)) and layout.records(tmp_path).findings == ()
    assert "3 folders with about 2 images each" in layout.doubt and "Anna" not in layout.doubt + layout.reason
    asked = detect(tmp_path, layout="folder")
    assert not asked.doubt and asked.records(tmp_path).findings == ("Anna", "Hans", "Lea")
    assert not detect(tmp_path, layout="plain").doubt


@pytest.mark.parametrize(
    ("tops", "split", "official"),
    [
        (("train", "test"), {"": 2, "test": 2}, "test"),
        (("train", "val", "test"), {"train": 2, "val": 2, "test": 2}, "all"),
    ],
)
def test_parts_above_classes(tmp_path, tops, split, official):
    touch(tmp_path, *(f"{top}/{name}/{top}.png" for top in tops for name in ("NORMAL", "PNEUMONIA")))
    records = detect(tmp_path).records(tmp_path)
    assert records.findings == ("NORMAL", "PNEUMONIA") and records.official_split == official
    assert records.table["split"].value_counts().to_dict() == split


@pytest.mark.parametrize(
    "names",
    [
        ("1.png", "2.png"),
        ("patient00001/a.png", "patient00002/a.png"),
        ("0001/a.png", "0002/a.png"),
        ("images/a.png", "lung_masks/a.png"),
        ("cat/1.png", "stray.png"),
        ("only/1.png",),
    ],
)
def test_what_are_no_classes(tmp_path, names):
    records = detect(touch(tmp_path, *names)).records(tmp_path)
    assert records.findings == () and len(records.table) == len(names)


def test_plain_never_takes_folders_for_classes(tmp_path):
    assert detect(touch(tmp_path, "cat/1.png", "dog/1.png"), layout="plain").records(tmp_path).findings == ()


def test_empty_and_other_folders_say_what_they_hold(tmp_path):
    with pytest.raises(DataError, match="It is empty"):
        detect(tmp_path).records(tmp_path)
    touch(tmp_path, "a.txt", "b.txt", "c.nii", "1.2.840.Mueller")
    with pytest.raises(DataError, match=r"2 of \.txt, 1 of \.nii, 1 of no suffix"):
        detect(tmp_path).records(tmp_path)


def test_dicom_in_folders_named_after_people_is_an_export_and_in_class_folders_is_not(tmp_path):
    people = touch(tmp_path / "a", "DOE_JANE/1.dcm", "ROE_MAX/2.dcm")
    assert detect(people).name == "pacs"
    assert detect(touch(tmp_path / "b", "normal/1.dcm", "pneumonia/2.dcm")).name == "folder"
    flat = detect(touch(tmp_path / "c", "1.dcm", "2.dcm"))
    assert flat.name == "plain" and "DICOM" in flat.reason
    assert detect(touch(tmp_path / "d", "DOE_JANE/1.png", "ROE_MAX/2.dcm")).doubt
