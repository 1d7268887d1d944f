"""Roles by name and content, and the ways to say otherwise."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from kontrast.data.columns import parse_overrides, recognise, stem
from kontrast.data.words import read_table
from kontrast.errors import DataError, UsageError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def table(text: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)


MINE = table(
    """Image File,Subject ID,Gender,Age,Position,Edema,Effusion,Smoker,grade,note,batch
1.png,a,F,60,AP,1,0,1,3,x,1
2.png,a,F,61,PA,0,,0,2,y,1
3.png,b,M,62,AP,-1,1,0,1,z,1
"""
)


def test_roles_by_name_and_content():
    roles = recognise(MINE, {})
    assert (roles.path, roles.patient, roles.sex, roles.age) == ("Image File", "Subject ID", "Gender", "Age")
    assert roles.view == "Position"
    assert roles.findings == ("Edema", "Effusion", "Smoker")
    assert (roles.study, roles.split, roles.classes) == (None, None, None)
    text = "\n".join(roles.notes)
    assert "left out: grade, note, batch" in text
    assert "--column 'rename=Effusion:Pleural Effusion'" in text  # offered, never done unasked


def test_who_is_who_may_stand_under_another_name_and_the_option_is_said():
    mine = table("file,PatientName,Edema\n1.png,Doe^Jane,1\n2.png,Doe^Jane,0\n3.png,Roe^Max,1\n")
    roles = recognise(mine, {})
    (said,) = (note for note in roles.notes if "--column" in note)
    assert roles.patient is None and "--column 'patient=PatientName'" in said and "hashed" in said
    assert not any("Doe" in note for note in roles.notes)
    assert recognise(mine, {"patient": "PatientName"}).patient == "PatientName"
    for other in (mine.assign(patient_id=["a", "a", "b"]), mine.assign(PatientName="")):
        assert not any("--column" in note for note in recognise(other, {}).notes)


def test_a_name_without_the_content_is_no_role():
    roles = recognise(table("path,view,age,sex\na.png,3,,1\nb.png,4,,0\n"), {})
    assert (roles.view, roles.age, roles.sex, roles.findings) == (None, None, None, ())
    assert any("view is not used as view" in note for note in roles.notes)
    assert any("age is not used as age: it is empty" in note for note in roles.notes)


def test_cells_that_are_left_blank_are_counted():
    mine = table("path,view,age,sex,M\na.png,PA,61,F,1\nb.png,PA,abc,,0\nc.png,AP,70,x,0\nd.png,oblique,50,M,0\n")
    (said,) = (note for note in recognise(mine, {}).notes if "not understood" in note)
    assert said.endswith("left blank: 1 of 4 cells of view, 1 of 4 cells of sex, 1 of 4 cells of age")
    (said,) = (note for note in recognise(mine, {"age": "sex", "sex": "none"}).notes if "not understood" in note)
    assert said.endswith("1 of 4 cells of view, 3 of 4 cells of sex")
    assert not any("not understood" in note for note in recognise(MINE, {}).notes)


def test_columns_of_one_value_are_named_with_the_way_to_take_them():
    mine = table("path,Lump,Scar,fold,site,Cyst\na.png,1,0,1,7,yes\nb.png,1,0,1,7,yes\n")
    (said,) = (note for note in recognise(mine, {}).notes if "--column finding" in note)
    assert said.startswith("Lump, Scar, Cyst hold one value throughout")
    assert recognise(mine, {"finding": "Lump,Scar"}).findings == ("Lump", "Scar")
    assert not any("--column finding" in note for note in recognise(mine, {"finding": "Lump"}).notes)


def test_the_column_whose_words_are_files_is_the_path():
    words = table("id,image,scan\n1,x,f1\n2,y,f2\n")
    assert recognise(words, {}, {"f1", "f2"}).path == "scan"
    assert recognise(words, {}).path == "image"


def test_overrides():
    asked = parse_overrides(["finding=Edema", "finding=Smoker", "patient=none", "view=note", "rename=Edema:Oedema"])
    roles = recognise(MINE, asked)
    assert roles.findings == ("Edema", "Smoker") and roles.rename == (("Edema", "Oedema"),)
    assert roles.patient is None and roles.view == "note"
    assert recognise(MINE, {"classes": "grade"}).classes == "grade"
    assert recognise(MINE, {"finding": "none"}).findings == ()


@pytest.mark.parametrize(
    ("word", "words"),
    [("pateint=x", "'patient'"), ("patient", "ROLE=NAME"), ("patient=", "ROLE=NAME")],
)
def test_overrides_that_are_none(word, words):
    with pytest.raises(UsageError, match=words):
        parse_overrides([word])


def test_wrong_columns_name_their_neighbour():
    with pytest.raises(UsageError, match="Did you mean 'Subject ID'"):
        recognise(MINE, {"patient": "Subject_ID"})
    with pytest.raises(UsageError, match="Did you mean 'Edema'"):
        recognise(MINE, {"finding": "Edma"})
    with pytest.raises(UsageError, match="Did you mean 'Effusion'"):
        recognise(MINE, {"rename": "Efusion:x"})
    with pytest.raises(DataError, match="'grade'"):
        recognise(MINE, {"finding": "grade"})


def test_classes_are_findings_only_where_no_column_of_labels_is():
    roles = recognise(table("file,label\na.png,cat\nb.png,dog\nc.png,cat\n"), {})
    assert roles.classes == "label" and roles.findings == ()
    roles = recognise(table("file,label,Mass\na.png,cat,1\nb.png,dog,0\nc.png,cat,0\n"), {})
    assert roles.classes is None and roles.findings == ("Mass",)
    assert any("label is not used" in note for note in roles.notes)
    roles = recognise(table("file,label\na.png,1\nb.png,0\nc.png,0\n"), {})
    assert roles.classes is None and roles.findings == ("label",)


def test_a_column_of_zeros_is_a_finding_by_name_only():
    roles = recognise(table("file,Hernia,flag\na.png,0,0\nb.png,0,0\n"), {})
    assert roles.findings == ("Hernia",)


def test_stems():
    assert stem(r"C:\x\A.B.PNG") == "a.b" and stem("d/e.1.2.3") == "e.1.2.3" and stem("x.nii.gz") == "x.nii.gz"


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_tables():
    roles = recognise(read_table(SHARED / "hannover_320" / "labels.csv"), {})
    assert (roles.path, roles.patient, roles.view, roles.sex) == ("image_id", "patient_id", "projection", "sex")
    assert roles.findings == () and roles.classes is None and roles.age is None
    roles = recognise(read_table(SHARED / "nih_256" / "labels.csv"), {})
    assert (roles.path, roles.study, len(roles.findings), roles.classes) == ("image", "follow_up", 14, None)
    roles = recognise(read_table(SHARED / "kermany_224" / "labels.csv"), {})
    assert (roles.path, roles.patient, roles.classes) == ("image", "patient_id", "subtype")


def test_numbers_are_not_taken_for_files_that_bear_numbers():
    # files 0.png, 1.png …: labels would be paired with whatever images bear their value
    stems = {str(i) for i in range(12)}
    table = pd.DataFrame({"path": ["a/x.png", "a/y.png", "a/z.png"], "Edema": ["1", "0", "1"], "row": ["0", "1", "2"]})
    assert recognise(table, {}, stems).path == "path"
    assert recognise(table[["Edema"]], {}, stems).path is None
    assert recognise(table[["row", "Edema"]], {}, stems).path == "row"
