"""Public datasets in miniature: recognised, their labels mapped, splits kept, known faults handled and said."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.data.boxes import find_boxes, place_boxes
from kontrast.data.decode import DecodeError, decode, sha256_of
from kontrast.data.layouts import LAYOUTS, detect
from kontrast.data.layouts.vindr import agreed
from kontrast.data.selection import split_rows
from kontrast.data.vocabulary import VOCABULARY, mapped, standard
from kontrast.errors import DataError, UsageError
from miniatures import MINIATURES, dicom, image, make, medmnist, rsna


def read(tmp_path, name, **overrides):
    src = make(name, tmp_path / "src")
    layout = detect(src)
    assert layout.name == name, layout.reason
    records = layout.records(src, (), overrides)
    return records, records.table.set_index("source"), " / ".join(records.notes)


@pytest.mark.parametrize("name", ["chexpert-plus", "padchest", "medmnist", "pacs"])
def test_what_else_the_files_say_is_in_no_pack(tmp_path, capsys, name):
    (tmp_path / "key").write_text("5a" * 32)
    src = make(name, tmp_path / "src")
    kontrast.prepare(src, out=tmp_path / "pack", size=16, key=tmp_path / "key", workers=1)
    pack = Pack.open(tmp_path / "pack")
    assert sorted(pack.table["source"]) == sorted(detect(src).records(src).table["source"])
    assert pack.card.content["layout"] == name
    said = capsys.readouterr().out + (tmp_path / "pack" / "card.json").read_text()
    said += "".join((tmp_path / "pack" / file).read_text() for file in ("table.csv", "rejects.csv"))
    assert "CANARY" not in said


def test_the_list_of_layouts_and_a_wrong_word(tmp_path):
    assert set(MINIATURES) <= set(LAYOUTS)
    with pytest.raises(UsageError, match="Did you mean 'padchest'") as error:
        detect(make("pacs", tmp_path / "s"), (), "padchst")
    assert all(name in str(error.value.fix) or name in str(error.value) for name in LAYOUTS)


def test_the_page_on_datasets_has_every_layout():
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
    assert [name for name in LAYOUTS if f"`{name}`" not in page] == []


def test_the_vocabulary_changes_only_names_of_the_same_thing():
    own = ["Effusion", "Pleural_Thickening", "Infiltration", "Lung Opacity", "Rib fracture"]
    to, lines = mapped(own)
    assert list(to.values()) == ["Pleural Effusion", "Pleural Thickening", *own[2:]]
    assert lines == [
        "findings renamed: Effusion → Pleural Effusion; Pleural_Thickening → Pleural Thickening",
        "findings under the dataset's own names: Rib fracture",
    ]
    assert all(standard(name) == name for name in VOCABULARY)


@pytest.mark.parametrize("name", ["CheXpert-v1.0", "CheXpert-v1.0-small"])
def test_chexpert(tmp_path, name):
    MINIATURES["chexpert"](tmp_path, name)
    records = detect(tmp_path).records(tmp_path)
    assert records.official_split == "all" and set(records.table["split"]) == {"train", "val", "test"}
    assert records.table["view"].value_counts().to_dict() == {"AP": 4, "lateral": 4}
    (tmp_path / name / "test.csv").unlink()
    records = detect(tmp_path).records(tmp_path)
    assert set(records.table["split"]) == {"", "test"} and any("valid is test" in note for note in records.notes)


def test_chexpert_plus(tmp_path):
    records, table, said = read(tmp_path, "chexpert-plus")
    assert table["Edema"].tolist() == [1, 0, -1] and table["Fracture"].isna().all()
    assert table["split"].tolist() == ["", "", "test"] and table["age"].tolist() == [91] * 3
    assert table["patient"].tolist() == ["patient00001", "patient00002", "patient00003"] and set(table["view"]) == {
        "PA"
    }
    assert "report_fixed.json" in said
    (tmp_path / "src/chexbert_labels/report_fixed.json").write_text("[1]")
    with pytest.raises(DataError, match="one JSON object a line"):
        detect(tmp_path / "src").records(tmp_path / "src")
    (tmp_path / "src/chexbert_labels/report_fixed.json").unlink()
    records = detect(tmp_path / "src").records(tmp_path / "src")
    assert records.findings == () and any("no labels" in note for note in records.notes)


def test_mimic(tmp_path):
    _, table, said = read(tmp_path, "mimic-cxr")
    assert table["view"].tolist() == ["PA", "lateral", "lateral", "lateral", "AP"]
    assert table["split"].tolist() == ["train", "", "val", "val", "test"] and table["patient"].nunique() == 3
    assert "not in mimic-cxr-2.0.0-split.csv.gz: 1 image" in said and "without labels, all blank: 2 images" in said
    assert table["Edema"].fillna(9).tolist() == [1, 1, 9, 9, 0] and table["Fracture"].fillna(9).tolist() == [
        -1,
        -1,
        9,
        9,
        9,
    ]
    assert table["Lung Opacity"].fillna(9).tolist() == [9, 9, 9, 9, 1]  # from the radiologists' Airspace Opacity
    negbio = tmp_path / "src" / "mimic-cxr-2.0.0-negbio.csv.gz"
    layout = detect(tmp_path / "src", [negbio])
    assert layout.name == "mimic-cxr"
    assert layout.records(tmp_path / "src", [negbio]).table["Edema"].fillna(9).tolist() == [0, 0, 9, 9, 0]
    # The image that the official split lacks goes where its patient is.
    assert split_rows(table.reset_index(), ("Edema",), 0, 0.1, 0.1)[0]["split"].tolist() == [
        "train", "train", "val", "val", "test"
    ]  # fmt: skip


def test_nih(tmp_path):
    records, table, said = read(tmp_path, "nih")
    assert "Pleural Effusion" in records.findings and "Effusion" not in records.findings
    assert "Effusion → Pleural Effusion; Pleural_Thickening → Pleural Thickening" in said
    assert table["age"].fillna(0).tolist() == [58, 0, 80] and "left blank: 1 age" in said
    assert table["split"].tolist() == ["", "", "test"]
    images = dict.fromkeys(table.index, ("id", 24, 20, ""))
    (box,) = place_boxes(find_boxes(tmp_path / "src"), images, records.findings, 24)
    assert box == ("id", "Pleural Effusion", 12.0, 0.0, 5.0, 10.0)  # of 1024 to 20 px, padded by 2


def test_padchest(tmp_path):
    records, table, said = read(tmp_path, "padchest")
    assert sorted(table.index) == ["0/1_a.png", "1/2_a.png", "2/3_a.png", "5/6_a.png"]
    assert set(records.findings) == {
        "Pleural Effusion",
        "Cardiomegaly",
        "No Finding",
        "Pneumonia",
        "Costophrenic angle blunting",
    }
    assert table["Pneumonia"].fillna(9).tolist() == [0, 0, 1, 9] and set(table["age"]) == {84}
    assert table["view"].tolist() == ["PA", "lateral", "AP", "PA"]
    assert table["patient"].tolist() == ["P1", "P1", "P2", "P4"]
    reasons = [reason for _, reason in records.problems]
    assert reasons.count("PadChest excludes it itself") == 2 and reasons.count("no such file") == 2
    assert "1 image came from MONOCHROME1" in said and "listed more than once: 1 image" in said
    assert "5 read by physicians, 1 by a network" in said and "own names: Costophrenic angle blunting" in said


def test_vindr(tmp_path):
    records, table, said = read(tmp_path, "vindr")
    first, last = table.iloc[1], table.iloc[0]  # train, test
    assert (first["Pleural Effusion"], first["Lung cavity"], first["Fibrosis"], first["Other diseases"]) == (
        1,
        -1,
        0,
        0,
    )
    assert last["Other diseases"] == 1 and last["split"] == "test" and first["split"] == ""
    assert first["sex"] == "M" and first["age"] == 47 and "1 cell)" in said
    assert records.boxes.iloc[0].tolist()[1:] == ["Pleural Effusion", 1, 2, 2, 3, 0]
    assert not records.patients_known


def test_votes_one_by_one():
    votes = pd.DataFrame({"a": [1, 1, 1], "b": [1, 1, 0], "c": [1, 0, 0], "d": [0, 0, 0]}, index=["i"] * 3)
    assert agreed(votes).loc["i"].tolist() == [1, 1, -1, 0]
    assert agreed(pd.DataFrame({"a": [1, 0]}, index=["i", "i"]))["a"].tolist() == [-1]  # half is no majority


def test_kaggles_part_of_vindr(tmp_path):
    head = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
    rows = [f"i1,Cardiomegaly,3,R{r},1,2,3,4" for r in (1, 2)] + ["i1,No finding,14,R3,,,,"]
    rows += [f"i2,No finding,14,R{r},,,," for r in (1, 2, 3)]
    (tmp_path / "train.csv").write_text("\n".join([head, *rows]))
    for name in ("i1", "i2"):
        dicom(tmp_path / "train" / f"{name}.dicom")
    layout = detect(tmp_path)
    table = layout.records(tmp_path).table
    assert (
        layout.name == "vindr" and table["Cardiomegaly"].tolist() == [1, 0] and table["No Finding"].tolist() == [-1, 1]
    )


def test_rsna(tmp_path):
    records, table, said = read(tmp_path, "rsna")
    assert len(table) == 3 and table["Lung Opacity"].tolist() == [0, 0, 1] and table["No Finding"].tolist() == [0, 1, 0]
    assert "1 further rows" in said and not records.patients_known and "NIH's" in said
    assert table["view"].tolist() == ["PA"] * 3 and table["age"].tolist() == [51] * 3
    assert len(records.boxes) == 2 and records.boxes["x"].tolist() == [264, 562]
    ids = rsna(tmp_path / "src")
    listed = [{"subset_img_id": i, "img_id": f"0000000{n}_003.png"} for i, n in zip(ids, (7, 7, 8), strict=True)]
    (tmp_path / "src" / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(listed))
    records = detect(tmp_path / "src").records(tmp_path / "src")
    assert records.patients_known and records.table["patient"].tolist() == ["7", "8", "7"]


def test_siim(tmp_path):
    records, table, said = read(tmp_path, "siim")
    assert table["Pneumothorax"].fillna(9).tolist() == [1, 9, 0] and "1 further rows of the same" in said
    assert not records.patients_known and set(table["sex"]) == {"M"} and "blank: 1 row" in said


def test_brax(tmp_path):
    _, table, said = read(tmp_path, "brax")
    assert (
        table["Edema"].tolist() == [1, -1]
        and table["age"].tolist() == [45, 85]
        and table["view"].tolist() == ["PA", "lateral"]
    )
    assert "taken as 85: 1 image" in said and "uncertain (-1) stays apart in 1 cell" in said
    dicom(tmp_path / "d" / "Anonymized_DICOMs/id_0a/Study_1.2.0/Series_3.0/image-4.0.dcm")
    (tmp_path / "d" / "master_spreadsheet.csv").write_bytes(
        (tmp_path / "src/master_spreadsheet_update.csv").read_bytes()
    )
    assert detect(tmp_path / "d").records(tmp_path / "d").table["source"].tolist()[0].endswith("image-4.0.dcm")


@pytest.mark.parametrize(
    ("name", "sex", "age"), [("shenzhen", ["M", "F"], [45, 0.25]), ("montgomery", ["F", ""], [27, 0])]
)
def test_tuberculosis(tmp_path, name, sex, age):
    records, table, _ = read(tmp_path, name)
    assert records.findings == ("Tuberculosis",) and table["Tuberculosis"].tolist() == [0, 1]
    assert all("CXR_png" in source for source in table.index) and records.patients_known
    assert table["sex"].tolist() == sex and table["age"].fillna(0).tolist() == age


def test_medmnist(tmp_path):
    records, table, _ = read(tmp_path, "medmnist")
    arrays = medmnist(tmp_path / "src")
    assert len(records.findings) == 14 and records.findings[2] == "Pleural Effusion" and not records.patients_known
    assert table["split"].value_counts().to_dict() == {"train": 7, "val": 3, "test": 2}
    for part in ("train", "val", "test"):
        rows = table.filter(like=f"/{part}/", axis=0)
        assert (rows[list(records.findings)].to_numpy() == arrays[f"{part}_labels"]).all()
        for i, source in enumerate(rows.index):
            assert (decode(tmp_path / "src" / source).pixels == arrays[f"{part}_images"][i]).all()
    first = tmp_path / "src" / "chestmnist.npz" / "train" / "000001"
    assert (decode(first).pixels == arrays["train_images"][1]).all()  # back to an earlier one
    assert sha256_of(first) == sha256_of(first)


def test_medmnist_of_two_classes_and_of_many(tmp_path):
    (tmp_path / "a").mkdir()
    arrays = medmnist(tmp_path / "a", "pneumoniamnist_64", labels=1, size=64)
    records = detect(tmp_path / "a").records(tmp_path / "a")
    assert records.findings == ("Pneumonia",)
    assert records.table["Pneumonia"].tolist()[2:9] == arrays["train_labels"][:, 0].tolist()  # test/ and train/ sorted
    (tmp_path / "b").mkdir()
    arrays = medmnist(tmp_path / "b", "organamnist", labels=1)
    arrays |= {
        f"{part}_labels": np.arange(len(arrays[f"{part}_labels"]))[:, None] % 3 for part in ("train", "val", "test")
    }
    np.savez(tmp_path / "b" / "organamnist.npz", **arrays)
    records = detect(tmp_path / "b").records(tmp_path / "b")
    assert records.findings == ("class 0", "class 1", "class 2") and any("by number" in note for note in records.notes)


def test_no_pickle_and_no_lie_in_an_archive_is_believed(tmp_path):
    path = tmp_path / "chestmnist.npz"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    arrays = medmnist(tmp_path)
    np.savez(path, **(arrays | {"train_labels": np.array([Bomb()] * 7, dtype=object)}))
    with pytest.raises(DataError, match="not opened"):
        detect(tmp_path).records(tmp_path)
    np.savez(path, **(arrays | {"train_images": np.array([[[Bomb()]]] * 7, dtype=object)}))
    assert detect(tmp_path / "").name != "medmnist" and not (tmp_path / "ran").exists()
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (9, 60000, 60000)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", head.getvalue())
    with pytest.raises(DecodeError, match="pixels"):
        decode(path / "train" / "000000")
    path.write_bytes(b"PK")
    with pytest.raises(DecodeError, match="archive is damaged"):
        decode(path / "train" / "000000")


def test_covid_collection(tmp_path):
    records, table, said = read(tmp_path, "covid-chestxray")
    assert records.findings == ("COVID-19", "No Finding", "Pneumonia", "Viral")
    assert table["COVID-19"].fillna(9).tolist() == [1, 0, 9, 9] and table["Pneumonia"].fillna(9).tolist() == [
        1,
        0,
        9,
        9,
    ]
    assert table["view"].tolist() == ["PA", "lateral", "AP", "AP"] and table["patient"].tolist() == ["2", "2", "3", "4"]
    assert ("e.jpg", "a CT image, not a radiograph") in records.problems and "many origins" in said


def test_covid_radiography(tmp_path):
    records, table, said = read(tmp_path, "covid-radiography")
    assert records.findings == ("COVID-19", "Lung Opacity", "No Finding", "Viral Pneumonia")
    assert (table[list(records.findings)].sum(axis=1) == 1).all() and len(table) == 8
    assert not any("masks" in source for source in table.index) and "children" in said


def test_pacs(tmp_path):
    records, table, said = read(tmp_path, "pacs")
    assert len(table) == 3 and records.findings == () and "SR 3" in said
    assert table["patient"].tolist() == ["CANARY0", "CANARY0", "CANARY1"] and set(table["view"]) == {"PA"}
    assert [reason for _, reason in records.problems] == ["modality SR, no radiograph"] * 3
    fewer = detect(tmp_path / "src").records(tmp_path / "src", headers=2)
    assert any("2 of" in note and "read)" in note for note in fewer.notes)


def test_columns_of_known_sets_are_chosen_and_renamed_but_not_reassigned(tmp_path):
    records, _, said = read(tmp_path, "nih", finding="Effusion,Mass", rename="Effusion:Water")
    assert records.findings == ("Water", "Mass")
    records, _, said = read(tmp_path / "b", "padchest", finding="Pneumonia", rename="pneumonia:P")
    assert records.findings == ("P",) and "is called P" in said
    with pytest.raises(UsageError, match="has no effect: layout brax"):
        read(tmp_path / "c", "brax", patient="AccessionNumber")


def test_a_table_named_by_hand_is_known_by_its_columns(tmp_path):
    src = make("brax", tmp_path / "src")
    mine = (src / "master_spreadsheet_update.csv").rename(tmp_path / "mine.csv")
    assert detect(src, [mine]).name == "brax"
    assert detect(src, [mine]).records(src, [mine]).table["Edema"].tolist() == [1, -1]
    image(tmp_path / "other" / "x.png")
    with pytest.raises(DataError, match="holds no"):
        detect(tmp_path / "other", (), "mimic-cxr").records(tmp_path / "other")
