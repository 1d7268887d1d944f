"""Tables with a row per study, joined by what the DICOM headers say."""

import numpy as np
import pytest

from kontrast.data.layouts import detect
from kontrast.errors import DataError
from miniatures import dicom


def uid(study):
    return f"1.2.840.99.{study}"


@pytest.fixture
def src(tmp_path):
    for i in range(6):  # three studies of two files
        name = f"IM{(i * 5) % 6}.dcm"
        dicom(tmp_path / "src" / name, PatientID=f"H{i // 2}", StudyInstanceUID=uid(i // 2), AccessionNumber=f"A{i}")
    return tmp_path / "src"


def read(src, text, *more):
    tables = [src.parent / f"t{i}.csv" for i in range(1 + len(more))]
    for table, content in zip(tables, (text, *more), strict=True):
        table.write_text(content)
    layout = detect(src, tables)
    assert layout.name == "table"
    return layout.records(src, tables)


def test_a_study_is_said_of_each_of_its_images(src):
    rows = f"StudyInstanceUID,id,Edema\n{uid(1)},x1,0\n{uid(0)},x0,1\n{uid(9)},x9,1\n"
    records = read(src, rows)
    table = records.table
    assert table["source"].tolist() == ["IM0.dcm", "IM3.dcm", "IM4.dcm", "IM5.dcm"]
    assert table["Edema"].tolist() == [1, 0, 0, 1] and table["patient"].tolist() == ["H0", "H1", "H1", "H0"]
    assert table["study"].tolist() == [uid(0), uid(1), uid(1), uid(0)] and records.problems == ()
    notes = "\n".join(records.notes)
    assert "counts for each of its images (2 studies, 4 images)" in notes and "1 row of t0.csv of studies" in notes
    assert "1.2.840" not in notes


def test_a_table_of_studies_beside_one_of_files(src):
    records = read(src, f"uid,Edema\n{uid(0)},1\n{uid(1)},0\n", "file,Mass\nIM0.dcm,0\nIM1.dcm,1\n")
    assert records.table["source"].tolist() == [f"IM{i}.dcm" for i in (0, 1, 3, 4, 5)]
    np.testing.assert_array_equal(records.table["Edema"], [1, np.nan, 0, 0, 1])
    np.testing.assert_array_equal(records.table["Mass"], [0, 1, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("column", ["SOPInstanceUID", "AccessionNumber"])
def test_other_keys_are_refused_with_what_to_do(src, column):
    with pytest.raises(DataError, match="no column of image files") as error:
        read(src, f"{column},Edema\n" + "".join(f"A{i},{i % 2}\n" for i in range(6)))
    assert f"{column} is not compared with DICOM headers, StudyInstanceUID alone is" in error.value.fix
