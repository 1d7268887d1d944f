"""DICOM through `prepare` and `scan`: what enters the table, and that nothing else of a header goes anywhere."""

import json

import numpy as np
import pandas as pd
import pytest

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.data.decode.dicom_writer import encode_radiograph
from kontrast.data.identity import load_key
from kontrast.types import EXTRA_COLUMNS, TABLE_COLUMNS
from miniatures import dicom

pytestmark = pytest.mark.usefixtures("key", "small_shards")


def radiograph(folder, name, **elements):
    """A small DX image of 40 × 30 pixels; `elements` by their keywords."""
    grey = np.linspace(0, 4095, 1200).reshape(40, 30).astype(np.uint16)
    uids = {"SOPInstanceUID": [name], "StudyInstanceUID": [elements.get("PatientID", name)]}
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(encode_radiograph(grey, bits=12, inverted=False, uids=uids, elements=elements))


def test_what_a_header_says_enters_the_table(tmp_path):
    src = tmp_path / "scans"
    radiograph(
        *(src, "a.dcm"), PatientID="P1", PatientSex="F", PatientAge="062Y", ViewPosition="PA", ImageLaterality="L",
        Manufacturer="Ray \n Works\t", ManufacturerModelName="DX-1 (2)", BurnedInAnnotation="YES",
    )  # fmt: skip
    radiograph(src, "1.2.840.77", PatientID="P1", Laterality="q", BurnedInAnnotation="NO", Manufacturer="Other")
    radiograph(src, "b.dcm", PatientID="P2", Manufacturer="x" * 99)
    outcome = kontrast.prepare(src, out=tmp_path / "p", size=32)
    pack = Pack.open(outcome)
    assert tuple(pack.table.columns) == (*TABLE_COLUMNS, *EXTRA_COLUMNS)
    table = pack.table.set_index("source")
    assert list(table.loc["a.dcm", list(EXTRA_COLUMNS)]) == ["L", "Ray Works DX-1 (2)", "yes"]
    assert list(table.loc["1.2.840.77", list(EXTRA_COLUMNS)]) == ["", "Other", "no"]
    assert table.loc["b.dcm", "device"] == "x" * 64 and table.loc["b.dcm", "burned_in"] == ""
    assert list(table.loc["a.dcm", ["view", "sex", "age"]]) == ["PA", "F", 62.0]
    one, two = load_key().hash("P1"), load_key().hash("P2")
    assert list(table.loc[["a.dcm", "1.2.840.77", "b.dcm"], "patient_id"]) == [one, one, two]
    pd.testing.assert_frame_equal(Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=32)).table, pack.table)


def test_a_view_may_be_coded(tmp_path):
    from pydicom.dataset import Dataset

    for name, code in (("a.dcm", "R-10206"), ("b.dcm", "272479007"), ("c.dcm", "399173006"), ("d.dcm", "1")):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = code, "SCT"
        radiograph(tmp_path / "scans", name, ViewCodeSequence=[item], PatientID=name)
    pack = Pack.open(kontrast.prepare(tmp_path / "scans", out=tmp_path / "p", size=32))
    assert list(pack.table["view"]) == ["AP", "PA", "lateral", ""]


def test_other_sources_have_no_further_columns_and_earlier_packs_are_read(src, tmp_path):
    pack = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=32))
    assert tuple(pack.table.columns) == (*TABLE_COLUMNS, *pack.findings)
    card = json.loads((tmp_path / "p" / "card.json").read_text())
    del card["content"]["extra"]
    (tmp_path / "p" / "card.json").write_text(json.dumps(card | {"protocol": 1}))
    pd.testing.assert_frame_equal(Pack.open(tmp_path / "p").table, pack.table)


def test_scan_tells_contradictory_polarity_and_marked_text(tmp_path, capsys):
    from pydicom import dcmread

    for name in ("a.dcm", "b.dcm", "c.dcm"):
        radiograph(tmp_path / "scans", name, PatientID=name, BurnedInAnnotation="YES" if name == "c.dcm" else "NO")
    file = dcmread(tmp_path / "scans" / "b.dcm")
    file.PresentationLUTShape = "INVERSE"
    file.save_as(tmp_path / "scans" / "b.dcm")
    found = {p["reason"]: p["count"] for p in kontrast.scan(tmp_path / "scans").summary["problems"]}
    assert any("contradict" in reason and count == 1 for reason, count in found.items())
    assert any("burned-in" in reason and count == 1 for reason, count in found.items())


def test_no_person_stands_in_two_splits_where_a_patient_column_is_half_filled(tmp_path, capsys):
    lines = ["file,PatientID,Edema"]
    for i in range(48):  # 24 people of two studies, one file each; the table knows the first
        dicom(tmp_path / "src" / f"{i:02d}.dcm", PatientID=f"CANARY{i // 2}", StudyInstanceUID=f"1.2.{i}")
        lines.append(f"{i:02d}.dcm,{'' if i % 2 else f'CANARY{i // 2}'},{i % 3 % 2}")
    (tmp_path / "src" / "labels.csv").write_text("\n".join(lines))
    split = {"size": 16, "val_fraction": 0.3, "test_fraction": 0.3, "workers": 1}
    table = Pack.open(kontrast.prepare(tmp_path / "src", out=tmp_path / "p", **split)).table
    person = table["source"].str[:2].astype(int) // 2
    assert (table["split"].groupby(person).nunique() == 1).all() and table["split"].nunique() == 3
    assert (table["patient_id"].groupby(person).nunique() == 1).all() and table["patient_id"].nunique() == 24
    said = capsys.readouterr()
    assert "patient (24 images)" in said.out + said.err and "CANARY" not in said.out + said.err
