"""NIH ChestX-ray14 as downloaded."""

import numpy as np
import pytest

from kontrast.data.columns import NIH_FINDINGS
from kontrast.data.layouts import detect
from kontrast.data.vocabulary import standard
from kontrast.errors import DataError

FINDINGS = tuple(standard(name) for name in NIH_FINDINGS)
HEAD = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient {},View Position\n"
ROWS = [
    ("00000001_000.png", "Cardiomegaly|Effusion", "0", "1", "058Y", "M", "PA"),
    ("00000001_001.png", "No Finding", "1", "1", "411", "M", "AP"),
    ("00000002_000.png", "Hernia", "0", "2", "80", "F", "PA"),
    ("00000003_000.png", "No Finding", "0", "3", "81", "F", "PA"),
]


@pytest.fixture
def src(tmp_path):
    (tmp_path / "Data_Entry_2017.csv").write_text(HEAD.format("Gender") + "".join(",".join(r) + "\n" for r in ROWS))
    for i, row in enumerate(ROWS[:3]):
        folder = tmp_path / f"images_{i:03d}" / "images"
        folder.mkdir(parents=True)
        (folder / row[0]).write_bytes(b"x")
    return tmp_path


def test_labels_and_people(src):
    layout = detect(src)
    records = layout.records(src)
    assert layout.name == "nih" and records.findings == FINDINGS
    table = records.table.set_index("source")
    first = table.loc["images_000/images/00000001_000.png"]
    assert (first["patient"], first["study"], first["view"], first["sex"], first["age"]) == ("1", "0", "PA", "M", 58)
    assert {f for f in FINDINGS if first[f] == 1} == {"Cardiomegaly", "Pleural Effusion"}
    healthy = table.loc["images_001/images/00000001_001.png"]
    assert (healthy[list(FINDINGS)] == 0).all() and np.isnan(healthy["age"])
    assert records.problems == (("00000003_000.png", "no such file"),)
    assert any("left blank: 1 age" in note for note in records.notes)


def test_official_lists(src):
    (src / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (src / "test_list.txt").write_text("00000002_000.png\n00000003_000.png")
    records = detect(src).records(src)
    assert records.official_split == "test"
    assert records.table["split"].tolist() == ["", "", "test"]


def test_renaming_is_said_and_another_name_given_when_asked(src):
    assert any("Effusion → Pleural Effusion" in note for note in detect(src).records(src).notes)
    records = detect(src).records(src, (), {"rename": "Effusion:Fluid", "finding": "Effusion,Mass"})
    assert records.findings == ("Fluid", "Mass")
    assert records.table["Fluid"].tolist() == [1, 0, 0]


def test_another_table_is_refused(src):
    (src / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not NIH's table"):
        detect(src, [src / "mine.csv"], "nih").records(src, [src / "mine.csv"])
