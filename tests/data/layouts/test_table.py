"""Any CSV: files found as paths or by name, doubles, ambiguity; and which layout is detected for what."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from kontrast.data.layouts import detect
from kontrast.errors import DataError, UsageError

SHARED = Path(__file__).parents[4] / "shared" / "data"


def make(root, text, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "labels.csv").write_text(text)
    return root


def read(src, *labels, **overrides):
    layout = detect(src, labels)
    assert layout.name == "table"
    return layout.records(src, labels, overrides)


@pytest.mark.parametrize(
    "value", ["a/x1.png", "x1.png", "x1", "/data/elsewhere/a/x1.png", r"a\x1.png", "./a/x1.png", "X1.dcm"]
)
def test_files_are_found_as_paths_or_by_name(tmp_path, value):
    make(tmp_path, f"file,Mass\n{value},1\ny2.png,0\n", "a/x1.png", "b/c/y2.png")
    assert read(tmp_path).table["source"].tolist() == ["a/x1.png", "b/c/y2.png"]


def test_nothing_outside_the_source_is_read(tmp_path):
    make(tmp_path / "src", "file,Mass\n../secret.png,1\nx.png,0\n", "x.png")
    (tmp_path / "secret.png").write_bytes(b"x")
    assert read(tmp_path / "src").problems == (("../secret.png", "no such file"),)


def test_the_same_name_in_two_folders(tmp_path):
    make(tmp_path, "file,Mass\n1,1\n2,0\n3,0\n", "images/1.png", "images/2.png", "images/3.png", "masks/1.png")
    records = read(tmp_path)
    assert records.table["source"].tolist() == ["images/1.png", "images/2.png", "images/3.png"]
    assert any("1 name found in several folders; taken from images/" in note for note in records.notes)
    make(tmp_path, "file,Mass\n1,1\n2,0\n3,0\n", "masks/2.png", "masks/3.png")
    with pytest.raises(DataError):  # no folder holds more than the other: nothing is guessed
        read(tmp_path)


def test_a_bare_name_used_twice_needs_its_folder(tmp_path):
    make(tmp_path, "file,Mass\np1/a.png,1\np2/a.png,0\np3/b.png,1\n", "p1/a.png", "p3/b.png")
    records = read(tmp_path)
    assert records.table["source"].tolist() == ["p1/a.png", "p3/b.png"]
    assert records.problems == (("p2/a.png", "no such file"),)


def test_doubles_are_taken_once_and_no_row_goes_before_another(tmp_path):
    rows = ["1.png,1,", "1.png,1,", "2.png,0,1", "2.png,1,1", "3.png,,0", "3.png,1,"]
    for name, lines in (("a", rows), ("b", rows[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        make(folder, "\n".join(["file,Mass,Nodule", *lines]), "1.png", "2.png", "3.png")
        records = read(folder)
        np.testing.assert_array_equal(records.table[["Mass", "Nodule"]], [[1, np.nan], [-1, 1], [1, 0]])
        again = ("1.png", "listed again"), ("2.png", "listed with contradicting labels: uncertain")
        assert records.problems == again
        assert any(
            "the cell is uncertain (-1) (no row goes before another): Mass 1" in line for line in records.warnings
        )


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_of_two_patients_studies_or_splits_is_left_out(tmp_path, order):
    rows = [
        "1.png,A,s1,train,1", "1.png,B,s1,train,1", "2.png,C,s2,train,0", "2.png,C,s3,train,0",
        "3.png,D,s4,train,1", "3.png,D,s4,test,1", "4.png,E,s5,train,0", "4.png,,s5,,0", "5.png,F,s6,test,1",
    ][::order]  # fmt: skip
    make(tmp_path, "\n".join(["file,patient,study,split,Mass", *rows]), *(f"{i}.png" for i in range(1, 6)))
    records = read(tmp_path)
    assert records.table["source"].tolist() == ["4.png", "5.png"] and records.table["patient"].tolist() == ["E", "F"]
    assert sorted(records.problems) == [
        (f"{i}.png", f"listed with more than one {what}: left out")
        for i, what in ((1, "patient"), (2, "study"), (3, "split"))
    ]
    said = "listed with more than one patient or study or split, and so left out: 3 files"
    assert said in records.warnings and not any(word in said for word in ("A,", "1.png"))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["ANONYMOUS"] * 6 + [f"p{i // 2}" for i in range(18)], "1 patient id holds 6 of 24 images"),
        (["u7"] * 30 + [f"p{i // 2}" for i in range(18)], "1 patient id holds 30 of 48 images"),
        (["one"] * 25, "1 patient id holds 25 of 25 images"),
        ([f"p{i // 12}" for i in range(48)], ""),
        (["0", "0", "1", "1", "2", "2"], ""),
    ],
)
def test_an_id_that_holds_an_outsize_share_is_warned_of(tmp_path, ids, said):
    lines = [f"{i:02d}.png,{who},{i % 2}" for i, who in enumerate(ids)]
    make(tmp_path, "\n".join(["file,patient,Mass", *lines]), *(f"{i:02d}.png" for i in range(len(ids))))
    warned = "\n".join(read(tmp_path).warnings)
    assert (said in warned) if said else not warned
    assert "ANONYMOUS" not in warned and "u7" not in warned


def test_an_id_of_both_sexes_is_warned_of(tmp_path):
    make(tmp_path, "file,patient,sex,Mass\n1.png,a,F,1\n2.png,a,M,0\n3.png,b,F,0\n", *(f"{i}.png" for i in (1, 2, 3)))
    assert any("1 patient id with images of both sexes" in line for line in read(tmp_path).warnings)


def test_labels_stay_with_their_images_whatever_is_missing(tmp_path):
    names = [f"{i:03d}.png" for i in range(40)]
    rng = np.random.default_rng(0)
    order = rng.permutation(40)
    text = "image,patient_id,Mass,Nodule\n" + "".join(f"{names[i]},p{i // 2},{i % 2},{i % 3 - 1}\n" for i in order)
    kept = [name for i, name in enumerate(names) if i % 5]
    make(tmp_path, text, *(f"deep/{name}" for name in kept))
    table = read(tmp_path).table
    assert table["source"].tolist() == [f"deep/{name}" for name in kept]
    for _, row in table.iterrows():
        i = int(row["source"][5:8])
        assert (row["patient"], row["Mass"], row["Nodule"]) == (f"p{i // 2}", i % 2, i % 3 - 1)


def test_one_class_only_and_unlisted_files_are_noted(tmp_path):
    make(tmp_path, "file,Hernia,Mass\n1.png,0,1\n2.png,0,\n", "1.png", "2.png", "3.png")
    text = "\n".join(read(tmp_path).notes)
    assert "one class only, so no score can be given for: Hernia" in text and "Mass" not in text.split("for:")[1]
    assert "1 image files below the source are not in labels.csv" in text


def test_a_split_column(tmp_path):
    text = "file,set,Mass\n1.png,train,1\n2.png,{},0\n3.png,test,0\n"
    make(tmp_path, text.format("train"), "1.png", "2.png", "3.png")
    records = read(tmp_path)
    assert (records.table["split"].tolist(), records.official_split) == (["", "", "test"], "test")
    make(tmp_path, text.format("valid"))
    records = read(tmp_path)
    assert (records.table["split"].tolist(), records.official_split) == (["train", "val", "test"], "all")


@pytest.mark.parametrize(
    ("rows", "overrides", "said"),
    [
        (("train", "valid", "holdout"), {}, "1 of its 3 cells hold something else: 'holdout' (1)."),
        (("train", "vlaid", "test"), {}, "1 of its 3 cells hold something else: 'vlaid' (1)."),
        (("", "test", "1"), {"split": "set"}, "1 of its 3 cells hold something else."),
        (("Doe^Jane", "Doe^Jane", "Roe^Max"), {"split": "set"}, "3 of its 3 cells hold something else."),
    ],
)
def test_a_word_that_is_no_split_is_refused_and_never_drawn(tmp_path, rows, overrides, said):
    """A held-out part would go into train for the most part; words of a column that is something else stay unsaid."""
    lines = [f"{i}.png,{word},{i % 2}" for i, word in enumerate(rows)]
    make(tmp_path, "\n".join(["file,set,Mass", *lines]), "0.png", "1.png", "2.png")
    with pytest.raises(DataError, match="Column 'set' is to say train, val or test") as refused:
        read(tmp_path, **overrides)
    assert refused.value.problem.endswith(said) and "--column split=none" in refused.value.fix
    assert read(tmp_path, split="none").table["split"].eq("").all()


def test_a_patient_whom_one_table_writes_as_a_number_with_a_point_is_one(tmp_path):
    """As pandas writes whole numbers where one of them is blank."""
    names = [f"{i}.png" for i in range(4)]
    make(tmp_path, "file,patient,Mass\n0.png,100.0,1\n1.png,,0\n", *names)
    (tmp_path / "more.csv").write_text("file,patient,Mass\n0.png,100,1\n2.png,100,1\n3.png,1.50,0\n")
    records = read(tmp_path, tmp_path / "labels.csv", tmp_path / "more.csv")
    assert records.table["patient"].tolist() == ["100", "1.png", "100", "1.50"]
    assert records.problems == (("0.png", "listed again"),)


def test_ids_that_differ_by_capitals_or_zeros_are_warned_of_and_not_named(tmp_path):
    ids = ("PAT7", "pat07", "PAT70", "x1", "x10")
    make(tmp_path, "\n".join(["file,patient,Mass", *(f"{i}.png,{who},{i % 2}" for i, who in enumerate(ids))]), "0.png")
    for i in range(1, 5):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    records = read(tmp_path)
    (said,) = (line for line in records.warnings if "capitals or leading zeros" in line)
    assert said.startswith("2 patient ids differ") and "PAT7" not in said and records.table["patient"].nunique() == 5


def test_patients_without_ids_count_each(tmp_path):
    make(tmp_path, "file,patient,Mass\n1.png,a,1\n2.png,,0\n3.png,,0\n", "1.png", "2.png", "3.png")
    records = read(tmp_path)
    assert records.table["patient"].tolist() == ["a", "2.png", "3.png"] and records.patients_known
    assert not read(tmp_path, patient="none").patients_known


def test_dicom_headers_give_what_no_table_gives(tmp_path):
    make(tmp_path, "file,Mass\n1.dcm,1\n2.dcm,0\n")
    for name, sex in (("1.dcm", "F"), ("2.dcm", "M")):
        ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        ds.PatientID, ds.PatientSex, ds.PatientAge, ds.ViewPosition = f"id{sex}", sex, "044Y", "AP"
        ds.save_as(tmp_path / name)
    records = read(tmp_path)
    assert records.patients_known and records.table["patient"].tolist() == ["idF", "idM"]
    assert records.table[["sex", "view", "age"]].to_numpy().tolist() == [["F", "AP", 44.0], ["M", "AP", 44.0]]


def tables(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)
    return [folder / f"{name}.csv" for name in texts]


@pytest.mark.parametrize("order", [1, -1])
def test_tables_with_other_columns_are_joined_by_file(tmp_path, order):
    src = make(tmp_path / "src", "", *(f"deep/{i}.png" for i in range(1, 6)))
    (src / "labels.csv").unlink()
    given = tables(
        tmp_path,
        meta="file,Patient ID,sex\n1.png,a,F\n2.png,a,F\n3.png,b,M\n4.png,c,F\n",
        edema="image,Edema,patient_id\n2,1,a\n1,0,\n5,1,d\n3,1,b\n",
        mass="file;Mass\n1.png;1\n3.png;0\n",
    )[::order]
    records = read(src, *given)
    table = records.table
    assert table["source"].tolist() == [f"deep/{i}.png" for i in range(1, 6)] and records.problems == ()
    assert table["patient"].tolist() == ["a", "a", "b", "c", "d"] and table["sex"].tolist() == ["F", "F", "M", "F", ""]
    np.testing.assert_array_equal(table["Edema"], [0, 1, 1, np.nan, 1])
    np.testing.assert_array_equal(table["Mass"], [1, np.nan, 0, np.nan, np.nan])
    assert any("2 files in all of them" in note and "edema.csv (4 files)" in note for note in records.notes)


def test_tables_that_contradict_each_other_are_not_settled_by_their_order(tmp_path):
    src = make(tmp_path / "src", "", "1.png", "2.png", "3.png")
    (src / "labels.csv").unlink()
    given = tables(
        tmp_path,
        one="file,patient,Mass\n1.png,a,1\n2.png,b,1\n3.png,b,0\n",
        two="file,pid,Mass,Edema\n1,a,0,1\n2,c,1,0\n",
    )
    records = read(src, *given)
    assert records.table["source"].tolist() == ["1.png", "3.png"]
    np.testing.assert_array_equal(records.table[["Mass", "Edema"]], [[-1, 1], [0, np.nan]])
    assert ("2.png", "listed with more than one patient: left out") in records.problems


def test_tables_that_cannot_be_joined_are_refused_naming_columns(tmp_path):
    src = make(tmp_path / "src", "", "1.png", "2.png")
    (src / "labels.csv").unlink()
    files, people, clash, elsewhere = tables(
        tmp_path, files="id,Mass\n1.png,1\n2.png,0\n", people="patient,sex\na,F\nb,M\n",
        clash="file,id,Edema\n1.png,x,1\n2.png,x,0\n", elsewhere="file,Edema\n8.png,1\n9.png,0\n",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"people.csv cannot be joined[\s\S]*Its columns: patient, sex"):
        read(src, files, people)
    with pytest.raises(DataError, match=r"clash.csv cannot be joined[\s\S]*'file' they have in 'id'"):
        read(src, files, clash)
    with pytest.raises(DataError, match=r"None of the 2 files that elsewhere.csv lists"):
        read(src, files, elsewhere)
    with pytest.raises(UsageError, match="'Patient'"):
        read(src, files, clash.with_name("elsewhere.csv"), patient="Patient")


def test_free_text_becomes_no_finding_unasked(tmp_path):
    rows = ["1.png,Herr Mueller: Pneumonia", "2.png,Normal", "3.png,normal", "4.png,Normal"]
    make(tmp_path, "\n".join(["file,diagnosis", *rows]), *(f"{i}.png" for i in range(1, 5)))
    records = read(tmp_path)
    assert records.findings == () and "classes" not in records.roles and not list(records.table.filter(like="Mueller"))
    what, say = records.doubt
    assert "diagnosis holds 2 different texts, 1 of which may be free text" in what and "classes=diagnosis" in say
    assert not any("Mueller" in line for line in (*records.notes, what, say))
    asked = read(tmp_path, classes="diagnosis")
    assert asked.findings == ("Herr Mueller: Pneumonia", "Normal") and asked.doubt == ()
    assert read(tmp_path, classes="none").doubt == ()


def test_classes_that_differ_by_case_or_blanks_are_one(tmp_path):
    words = ["Pneumonia", "pneumonia", "Normal ", "Normal", "normal", " viral  pneumonia", "Viral pneumonia", "3.png"]
    rows = [f"{i}.png,{word}" for i, word in enumerate(words[:-1])]
    make(tmp_path, "\n".join(["file,label", *rows]), *(f"{i}.png" for i in range(7)))
    records = read(tmp_path)
    assert records.findings == ("Normal", "Pneumonia", "Viral pneumonia") and records.doubt == ()
    assert records.table["Normal"].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert any("3 spellings of classes in label" in note for note in records.notes)


@pytest.mark.parametrize(
    ("pair", "overrides"),
    [
        (("yes", "no"), {}), (("TRUE", "FALSE"), {}), (("positive", "negative"), {}), (("Present", "absent"), {}),
        (("ja", "nein"), {"value": "ja:1,Nein:0"}), (("+", "(-)"), {"value": "+:1,(-):0"}),
    ],
)  # fmt: skip
def test_words_that_are_labels_are_read_and_said(tmp_path, pair, overrides):
    rows = [f"{i}.png,{'' if i == 4 else pair[i % 2]},x" for i in range(5)]
    make(tmp_path, "\n".join(["file,Erguss,note", *rows]), *(f"{i}.png" for i in range(5)))
    records = read(tmp_path, **overrides)
    np.testing.assert_array_equal(records.table["Erguss"], [1, 0, 1, 0, np.nan])
    said = f"words read as labels: {pair[0].lower()} = 1, {pair[1].lower()} = 0 in Erguss"
    assert said in records.notes and not any("no column" in line for line in records.warnings)


def test_words_that_are_not_understood_are_named_by_their_column_and_a_table_without_labels_is_warned_of(tmp_path):
    rows = [f"{i}.png,{('ja', 'nein')[i % 2]},{i}" for i in range(6)]
    make(tmp_path, "\n".join(["file,Erguss,dose", *rows]), *(f"{i}.png" for i in range(6)))
    records = read(tmp_path)
    assert records.findings == () and any("no column of labels.csv is a label" in line for line in records.warnings)
    assert any(line.startswith("Erguss may be labels in words of their own") for line in records.notes)
    assert not any("no column" in line for line in read(tmp_path, finding="none").warnings)
    make(tmp_path, "\n".join(["file,Erguss,Mass", *(f"{row[:-1]}{i % 2}" for i, row in enumerate(rows))]))
    assert any(line.startswith("Erguss may be labels in words of their own") for line in read(tmp_path).notes)
    make(tmp_path, "\n".join(["file,Erguss,dose", *rows]))
    for wrong, error in (({"finding": "Erguss"}, DataError), ({"value": "ja:2"}, UsageError)):
        with pytest.raises(error, match="value="):
            read(tmp_path, **wrong)


@pytest.mark.parametrize(("encoding", "told"), [("cp1252", "Windows-1252"), ("utf-16", "UTF-16"), ("utf-8", "")])
def test_a_table_from_excel_is_read_and_its_encoding_said(tmp_path, encoding, told):
    make(tmp_path, "", "1.png", "2.png")
    (tmp_path / "labels.csv").write_bytes("file;Bef\u00fcnd\n1.png;1\n2.png;0\n".encode(encoding))
    records = read(tmp_path)
    assert records.findings == ("Bef\u00fcnd",) and records.table["source"].tolist() == ["1.png", "2.png"]
    assert any(told in line for line in records.warnings if "is read as" in line) == bool(told)


def test_no_column_of_files(tmp_path):
    make(tmp_path, "a,b\n1,2\n", "1x.png")
    with pytest.raises(DataError, match=r"no column of image files[\s\S]*--column path=NAME"):
        detect(tmp_path).records(tmp_path)


def test_detection(tmp_path):
    make(tmp_path, "file,Mass\n1.png,1\n", "1.png")
    (tmp_path / "other.csv").write_text("x\n1\n")
    assert detect(tmp_path).labels == (tmp_path / "labels.csv",)
    (tmp_path / "labels.csv").rename(tmp_path / "mine.csv")
    assert detect(tmp_path).name == "plain" and "2 tables" in detect(tmp_path).reason
    for arguments, words in (
        (([], "chexprt"), "chexpert"),
        (([tmp_path / "mine.csv"], "folder"), "reads no table"),
    ):
        with pytest.raises(UsageError, match=words):
            detect(tmp_path, *arguments)
    with pytest.raises(DataError, match="does not exist"):
        detect(tmp_path / "no")
    with pytest.raises(DataError, match="is a file"):
        detect(tmp_path / "1.png")
    with pytest.raises(UsageError, match="no table to apply to"):
        detect(tmp_path, (), "plain").records(tmp_path, (), {"patient": "x"})


def test_a_table_in_a_folder_of_the_source_is_found_when_it_names_the_images(tmp_path):
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "scans").mkdir()
    for name in ("a1.png", "a2.png"):
        (tmp_path / "scans" / name).write_bytes(b"x")
    (tmp_path / "notes" / "scanners.csv").write_text("scanner,room\nold,1\n")  # names no image
    (tmp_path / "notes" / "deep" / "Mueller.csv").write_text("file,Mass\na1.png,1\na2.png,0\n")
    layout = detect(tmp_path)
    assert layout.name == "table" and layout.reason == "the table notes/X/X.csv"
    assert layout.records(tmp_path).table["Mass"].tolist() == [1, 0]
    (tmp_path / "scans" / "also.csv").write_text("file,Mass\na1.png,1\na2.png,0\n")
    assert detect(tmp_path).name == "plain" and "2 tables (notes/X/X.csv, scans/X.csv)" in detect(tmp_path).reason
    (tmp_path / "notes" / "deep" / "Mueller.csv").rename(tmp_path / "notes" / "labels.csv")
    assert detect(tmp_path).labels == (tmp_path / "notes" / "labels.csv",)


def test_the_table_of_a_pack_below_the_source_is_no_table_of_labels(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "a1.png").write_bytes(b"x")
    (tmp_path / "pack" / "card.json").write_text("{}")
    (tmp_path / "pack" / "table.csv").write_text("file,Mass\na1.png,1\n")
    assert detect(tmp_path).name == "plain"


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize(
    ("name", "layout", "rows", "patients", "findings"),
    [
        ("nih_256", "table", 683, 473, 14),
        ("kermany_224", "table", 4690, 2492, 3),
        ("mednist_64", "folder", 17299, None, 6),
        ("hannover_320", "table", 176, 52, 0),
        ("dicom", "plain", 4, 2, 0),
    ],
)
def test_real_sources(name, layout, rows, patients, findings):
    src = SHARED / name
    records = detect(src).records(src)
    assert (records.layout, len(records.table), len(records.findings), records.problems) == (layout, rows, findings, ())
    assert records.patients_known == (patients is not None)
    assert patients is None or records.table["patient"].nunique() == patients
    assert records.table["source"].is_unique and not records.table["source"].str.contains("lung_masks").any()
