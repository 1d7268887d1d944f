"""DICOM headers fill a table's blanks row by row; whoever they show gets one id, and contradictions are counted."""

from kontrast.data.layouts import detect
from miniatures import dicom


def source(folder, rows, columns="file,patient_id,Edema"):
    """`rows` of (cells of the table after the file's name, elements of the header)."""
    lines = [columns]
    for i, (cells, elements) in enumerate(rows):
        dicom(folder / f"{i:02d}.dcm", **elements)
        lines.append(f"{i:02d}.dcm,{cells}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    records = detect(folder).records(folder)
    return records.table, "\n".join(records.warnings), "\n".join(records.notes)


def header(patient, study, **more):
    return {"PatientID": patient, "StudyInstanceUID": f"1.2.{study}", **more}


def test_a_half_filled_patient_column_gives_each_person_one_id(tmp_path):
    # Four people, two studies of two files each; the table knows every second file.
    rows = [("" if i % 2 else f"P{i // 4}", i % 2, header(f"P{i // 4}", i // 2)) for i in range(16)]
    table, warned, notes = source(tmp_path, [(f"{own},{label}", head) for own, label, head in rows])
    assert table["patient"].tolist() == [f"P{i // 4}" for i in range(16)]
    assert "patient (8 images)" in notes and "patient" not in warned


def test_people_whom_the_table_calls_otherwise_keep_the_tables_ids(tmp_path):
    rows = [
        ("A,1", header("H1", 1)), (",0", header("H1", 2)),  # by the person
        ("B,1", header("H2", 3)), (",0", header("", 3)),  # by the study
        (",1", header("H3", 3)), (",0", header("H3", 4)),  # by the study, and then by the person
        (",1", header("H4", 5)), (",0", header("", 5)), (",0", header("H4", 6)),  # whom the table does not know
        (",1", header("", 7)), (",0", header("", 7)),  # nobody's: the study's
    ]  # fmt: skip
    table, warned, _ = source(tmp_path, rows)
    assert table["patient"].tolist() == ["A", "A", "B", "B", "B", "B", "H4", "H4", "H4", "1.2.7", "1.2.7"]
    assert "2 images without a patient id: the study counts as the patient" in warned
    assert "differently in 2 of 2 images that have both, one for one" in warned and "H1" not in warned


def test_a_study_column_ties_images_only_where_it_names_one_study(tmp_path):
    def read(name, studies):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(4):
            dicom(folder / f"{i}.dcm", PatientID=f"H{i}" if i < 3 else "")
        people = ("A", "B", "", "")
        lines = [f"{i}.dcm,{people[i]},{studies[i]},{i % 2}" for i in range(4)]
        (folder / "labels.csv").write_text("\n".join(["file,patient_id,study,Edema", *lines]))
        return detect(folder).records(folder).table["patient"].tolist()

    assert read("accessions", ("7", "8", "7", "7")) == ["A", "B", "A", "A"]
    assert read("visits", ("1", "1", "1", "2")) == ["A", "B", "H2", "3.dcm"]


def test_where_table_and_headers_contradict_each_other_it_is_said_in_counts(tmp_path):
    columns = "file,patient_id,sex,age,Edema"
    rows = [
        ("A,F,40,1", header("H1", 1, PatientSex="F", PatientAge="040Y")),
        ("B,F,41,0", header("H1", 2, PatientSex="M", PatientAge="040Y")),
        ("C,M,50,1", header("H2", 3, PatientSex="M", PatientAge="060Y")),
        ("C,,,0", header("H3", 4, PatientSex="F", PatientAge="030Y")),
    ]
    table, warned, _ = source(tmp_path, rows, columns)
    assert table["patient"].tolist() == ["A", "B", "C", "C"]
    assert "1 patient id of the DICOM headers stands under several patient ids in the table (2 images)" in warned
    assert "1 patient id of the table stands for several patient ids of the DICOM headers (2 images)" in warned
    assert "disagree on sex in 1 of 3 images" in warned and "by more than a year, in 1 of 3 images" in warned
    assert table["sex"].tolist() == ["F", "F", "M", "F"] and table["age"].tolist() == [40, 41, 50, 30]
    assert not any(word in warned for word in ("H1", "H2", "H3"))
