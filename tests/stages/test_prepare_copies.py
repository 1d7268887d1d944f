"""One file under two patients: they are drawn into one split, also when one of them comes later."""

import shutil

import pandas as pd
import pytest

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.data.identity import load_key
from stages.sources import PATIENT, make_source

pytestmark = pytest.mark.usefixtures("key")
PAIRS = [(0, 1), (2, 3), (3, 4), (6, 9)]
"""Patients with a file in common; 2, 3 and 4 through each other."""


def share(src, pairs):
    """Give the second patient of each pair the first one's first image, as its second image."""
    for a, b in pairs:
        shutil.copy(src / "a" / f"image{2 * a:03d}.png", src / "b" / f"image{2 * b + 1:03d}.png")


def splits(pack):
    """Split by the patient's number."""
    by_id = dict(zip(pack.table["patient_id"], pack.table["split"], strict=True))
    return {i: by_id.get(load_key().hash(f"{PATIENT}-{i}")) for i in range(20)}


@pytest.fixture
def src(tmp_path):
    return make_source(tmp_path / "src", n=40)


@pytest.mark.parametrize("seed", [0, 1])
def test_they_go_into_one_split(src, tmp_path, seed, monkeypatch, capsys):
    share(src, PAIRS)
    pack = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=32, seed=seed, val_fraction=0.3, test_fraction=0.3))
    found = splits(pack)
    assert all(found[a] == found[b] for a, b in PAIRS) and len(set(found.values())) == 3
    assert pack.card.content["copies"] == {"images": 4, "across": 0}
    said = capsys.readouterr()
    assert "7 patients drawn as 3" in " ".join(said.out.split()) and "more than one split" not in said.err
    monkeypatch.setattr("kontrast.data.source.kin_of", lambda *_, **__: {})
    alone = Pack.open(
        kontrast.prepare(src, out=tmp_path / "q", size=32, seed=seed, val_fraction=0.3, test_fraction=0.3)
    )
    assert any(splits(alone)[a] != splits(alone)[b] for a, b in PAIRS), "else this shows nothing"
    linked = {patient for pair in PAIRS for patient in pair}
    assert all(splits(alone)[i] == found[i] for i in range(20) if i not in linked)


def test_one_who_comes_later_goes_where_the_file_is(src, tmp_path):
    table = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    table[:30].to_csv(src / "labels.csv", index=False)
    options = {"size": 32, "val_fraction": 0.3, "test_fraction": 0.3}
    before = splits(Pack.open(kontrast.prepare(src, out=tmp_path / "p", **options)))
    held = next(i for i in range(15) if before[i] == "test")
    share(src, [(held, 15), (held, 16), (held, 17), (held, 18)])
    table.to_csv(src / "labels.csv", index=False)
    after = splits(Pack.open(kontrast.prepare(src, out=tmp_path / "p", **options)))
    assert {i: after[i] for i in range(15)} == {i: before[i] for i in range(15)}
    assert [after[i] for i in range(15, 19)] == ["test"] * 4


def test_given_splits_stay_and_the_cure_is_named(tmp_path, capsys):
    src = make_source(tmp_path / "src", n=40, split=["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    share(src, [(0, 19), (1, 2)])
    kontrast.prepare(src, out=tmp_path / "p", size=32)
    said = " ".join(capsys.readouterr().err.split())
    assert "1 identical image stands in more than one split" in said and "--drop-copies" in said
    once = kontrast.pack("subset", tmp_path / "p", out=tmp_path / "once", drop_copies=True)
    table = Pack.open(once).table
    assert len(table) == 38 and table["sha256"].is_unique and (table["split"] == "test").sum() == 10
    assert sorted(pd.read_csv(tmp_path / "once" / "rejects.csv")["reason"]) == ["a copy of another image"] * 2


def test_a_merge_says_what_it_keeps_and_drops_when_asked(src, tmp_path, capsys):
    share(src, PAIRS)
    a = kontrast.prepare(src, out=tmp_path / "a", size=32)
    other = make_source(tmp_path / "other", n=41)
    b = kontrast.prepare(other, out=tmp_path / "b", size=32)
    capsys.readouterr()
    kept = kontrast.pack("merge", a, b, out=tmp_path / "m", repair_splits=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "Kept: 4 copies of images in the same Pack; --drop-copies leaves them out." in said
    dropped = kontrast.pack("merge", a, b, out=tmp_path / "n", repair_splits=True, drop_copies=True)
    assert dropped.summary["rows"] == kept.summary["rows"] - 4 and dropped.summary["copies"]["images"] == 0
