"""Copies that are left out of a merge or a subset: what they say stays, and what they contradict is said."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

import kontrast
from helpers import KEY
from kontrast.artifacts.pack import Pack, PackWriter, Shard, damages
from kontrast.data.boxes import COLUMNS
from kontrast.types import TABLE_COLUMNS

SIZE = 8
NAN = float("nan")


def pack_of(folder, findings, rows, *, known=True, masks=None, boxes=None, rejects=()):
    """A Pack of rows (picture, patient, split, labels, more); pictures of one number have the same bytes."""
    writer = PackWriter(folder=folder, findings=findings, size=SIZE, key_id=KEY.id)
    lines = []
    for i, (picture, patient, split, labels, more) in enumerate(rows):
        name = f"{folder.name}{i}.png"
        lines.append(
            dict.fromkeys(TABLE_COLUMNS, "")
            | {"image_id": KEY.hash(name), "patient_id": KEY.hash(patient if known else name), "split": split}
            | {"source": name, "sha256": f"{picture:064d}", "height": SIZE, "width": SIZE, "age": None}
            | dict(zip(findings, labels, strict=True)) | more
        )  # fmt: skip
    images = np.stack([np.full((SIZE, SIZE), 10 * row[0], np.uint8) for row in rows])
    writer.write(0, Shard(images=images, rows=lines, masks=masks or {}, rejects=rejects))
    table = [[lines[i]["image_id"], finding, 1, 2, 3, 4] for i, finding in boxes or ()]
    writer.finish(
        config={}, content={"patients_known": known, "layout": "t", "notes": []},
        extra={"boxes.csv": (COLUMNS, table)} if boxes else None,
    )  # fmt: skip
    return folder


def by_picture(pack):
    return pack.table.assign(picture=pack.table["sha256"].astype(int)).set_index("picture")


def test_labels_masks_and_boxes_of_copies_stay(tmp_path, capsys):
    """Pictures 1 to 3 are in both: without labels in `a`, with labels, a mask and boxes in `b`."""
    plane = np.zeros((SIZE, SIZE), bool)
    plane[2:5, 3:6] = True
    other = np.roll(plane, 1)
    a = pack_of(
        tmp_path / "a", ("Mass",), [(i, f"p{i}", "train", [NAN], {}) for i in (1, 2, 3, 4)], masks={"Mass": {0: other}}
    )
    b = pack_of(
        tmp_path / "b", ("Edema", "Mass"),
        [(3, "p3", "train", [1, NAN], {"view": "PA", "sex": "F", "age": 50.0}), (1, "p1", "train", [0, 1], {}),
         (2, "p2", "train", [-1, 0], {}), (5, "p5", "train", [1, 1], {})],
        masks={"Mass": {0: plane, 1: plane}}, boxes=[(1, "Mass"), (3, "Mass"), (0, "Edema")],
    )  # fmt: skip
    outcome = kontrast.pack("merge", a, b, out=tmp_path / "m")
    pack = Pack.open(outcome)
    table = by_picture(pack)
    assert list(table.index) == [1, 2, 3, 4, 5] and damages(pack.path) == []
    assert [table[f].fillna(9).tolist() for f in ("Edema", "Mass")] == [[0, -1, 1, 9, 1], [1, 0, 9, 9, 1]]
    assert (table.at[3, "view"], table.at[3, "sex"], table.at[3, "age"]) == ("PA", "F", 50.0)
    # Picture 1 has a mask in both Packs: the one of the row that is kept stays.
    assert (pack.mask("Mass", [0, 2]) == np.stack([other, plane])).all() and not pack.mask("Mass", [1, 3, 4]).any()
    of = dict(zip(table["image_id"], table.index, strict=True))
    assert sorted((of[i], finding) for i, finding in pack.boxes[["image_id", "finding"]].to_numpy()) == [
        (1, "Mass"), (3, "Edema"), (5, "Mass"),
    ]  # fmt: skip
    assert outcome.summary["from_copies"] == {
        "cells": {"Mass": 2, "Edema": 3, "view": 1, "sex": 1, "age": 1}, "masks": 1, "boxes": 2,
        "contradictions": {}, "differ": {}, "strangers": 0,
    }  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert "Edema of 3 images" in said and "1 mask and 2 boxes" in said and "3 copies" in said


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_contradicting_labels_are_uncertain_in_any_order_and_listed(tmp_path, order, capsys):
    """Against all pairs of the four values: a blank takes the other's, equals stay, all else is -1."""
    values = (1, 0, -1, NAN)
    pairs = list(itertools.product(values, values))
    packs = {
        name: pack_of(
            tmp_path / name, ("Edema",), [(i + 1, f"p{i}", "train", [pair[side]], {}) for i, pair in enumerate(pairs)]
        )
        for side, name in enumerate("ab")
    }
    outcome = kontrast.pack("merge", *(packs[name] for name in order), out=tmp_path / "m")
    expected = [a if a == b or b != b else b if a != a else -1 for a, b in pairs]
    pack = Pack.open(outcome)
    assert np.array_equal(by_picture(pack)["Edema"].to_numpy(), expected, equal_nan=True)
    assert outcome.summary["from_copies"]["contradictions"] == {"Edema": 6}
    listed = pd.read_csv(outcome.out / "contradictions.csv", dtype=str)
    assert len(listed) == 6 and set(listed["image_id"]) <= set(pack.table["image_id"])
    found = {(int(a), int(b)) for a, b in listed[["label", "its_label"]].to_numpy()}
    assert found == {(a, b) for a in (1, 0, -1) for b in (1, 0, -1) if a != b}
    assert all(copy.startswith(order[1]) for copy in listed["copy"])
    assert "contradict each other: Edema of 6 images" in " ".join(capsys.readouterr().err.split())


def test_copies_of_other_patients_are_counted_and_those_in_another_split_too(tmp_path, capsys):
    a = pack_of(tmp_path / "a", ("Edema",), [(1, "p1", "train", [1], {"sex": ""}), (2, "p2", "train", [1], {})])
    b = pack_of(
        tmp_path / "b", ("Edema",),
        [(1, "q1", "test", [1], {"sex": "F"}), (3, "q1", "test", [0], {}), (2, "q2", "train", [1], {})],
    )  # fmt: skip
    outcome = kontrast.pack("merge", a, b, out=tmp_path / "m")
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "2 copies left out stood under other patients than the image that is kept, of whom 1 in another split" in said
    )
    assert outcome.summary["from_copies"]["strangers"] == 2 and outcome.summary["from_copies"]["differ"] == {}
    assert by_picture(Pack.open(outcome)).at[1, "sex"] == "", "the sex of one person is not that of another"
    json.dumps(outcome.summary)


def test_without_patients_nobody_is_another_one(tmp_path, capsys):
    rows = [(1, "", "train", [NAN], {}), (1, "", "test", [1], {"sex": "F", "view": "PA"})]
    path = pack_of(tmp_path / "a", ("Edema",), rows, known=False)
    outcome = kontrast.pack("subset", path, out=tmp_path / "s", drop_copies=True)
    (row,) = Pack.open(outcome).table.to_dict("records")
    assert (row["split"], row["Edema"], row["source"]) == ("test", 1, "a1.png")
    assert outcome.summary["from_copies"]["differ"] == {} and "patient" not in capsys.readouterr().err
    kept = kontrast.pack("subset", path, out=tmp_path / "t")
    assert kept.summary["rows"] == 2 and kept.summary["from_copies"]["cells"] == {}


def test_a_subset_without_copies_keeps_what_they_say(tmp_path):
    """The held-out row is kept; the labels are those of its copy in train, of the finding that is kept alone."""
    rows = [(1, "p", "train", [1, 0], {"view": "PA"}), (2, "r", "train", [0, 0], {}), (1, "q", "test", [NAN, 1], {})]
    path = pack_of(tmp_path / "a", ("Edema", "Mass"), rows, masks={"Edema": {0: np.ones((SIZE, SIZE), bool)}})
    outcome = kontrast.pack("subset", path, out=tmp_path / "s", drop_copies=True, findings=("Edema",))
    pack = Pack.open(outcome)
    table = by_picture(pack)
    assert table.loc[1, ["split", "view", "Edema"]].tolist() == ["test", "PA", 1] and pack.findings == ("Edema",)
    assert pack.mask("Edema", [1]).all() and outcome.summary["from_copies"]["contradictions"] == {}


def test_files_without_a_checksum_are_no_copies(tmp_path):
    a, b = (pack_of(tmp_path / name, (), [(1, name, "train", [], {"sha256": ""})]) for name in "ab")
    assert kontrast.pack("merge", a, b, out=tmp_path / "m").summary["rows"] == 2


def test_what_the_packs_had_left_out_is_listed_once(tmp_path):
    a = pack_of(
        tmp_path / "a", (), [(1, "p", "train", [], {}), (2, "q", "val", [], {})], rejects=[("bad.png", "empty")]
    )
    part = kontrast.pack("subset", a, out=tmp_path / "s", split=("train",)).out
    b = pack_of(tmp_path / "b", (), [(1, "p", "train", [], {})], rejects=[("NA", 'cut, "short"\n')])
    merged = kontrast.pack("merge", part, a, b, out=tmp_path / "m")
    lines = pd.read_csv(merged.out / "rejects.csv", keep_default_na=False).to_numpy().tolist()
    copy = "a copy of an image in another Pack"
    assert sorted(lines) == sorted([["bad.png", "empty"], ["NA", 'cut, "short"\n'], ["a0.png", copy], ["b0.png", copy]])
    assert merged.summary["rejects"] == 4


def test_what_is_shown_of_an_image_stays_known(tmp_path):
    """The part of a cropped image that is packed decides where its picture lies, so also mean and deviation."""
    writer = PackWriter(folder=tmp_path / "a", findings=(), size=SIZE, key_id=KEY.id, extra=("crop",))
    image = np.zeros((1, SIZE, SIZE), np.uint8)
    image[0, 2:6] = 200
    row = dict.fromkeys(TABLE_COLUMNS, "") | {
        "image_id": "i", "patient_id": "p", "split": "train", "source": "a.png", "sha256": "1" * 64,
        "height": 100, "width": 100, "crop": "10:50,10:90",
    }  # fmt: skip
    writer.write(0, Shard(images=image, rows=[row], content=np.array([[2, 6, 0, 8]])))
    writer.finish(config={}, content={"patients_known": True, "layout": "t", "notes": []})
    whole = Pack.open(tmp_path / "a")
    part = Pack.open(kontrast.pack("subset", whole.path, out=tmp_path / "s"))
    assert part.table["crop"].tolist() == ["10:50,10:90"]
    assert (part.mean, part.std) == (whole.mean, whole.std) == (pytest.approx(200 / 255), 0.0)
