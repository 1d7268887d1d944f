"""`prepare` once more after new images arrived: only those are read, splits stay, and no Pack is ever half gone."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import kontrast
from kontrast.artifacts import growth
from kontrast.artifacts.card import card_hash, hashes_of
from kontrast.artifacts.lock import locked
from kontrast.artifacts.pack import Pack, damages
from kontrast.data.preparation import prepare_images
from kontrast.errors import ArtifactError, LeakageError, OutputError
from stages.sources import files, make_source

pytestmark = pytest.mark.usefixtures("key", "small_shards")


@pytest.fixture
def packed(tmp_path):
    """A source of 40 images of 20 patients, of which a Pack was made when 24 of them were there; the rest arrives."""
    whole = make_source(tmp_path / "whole", n=40)
    src = tmp_path / "src"
    shutil.copytree(whole, src)
    table = pd.read_csv(whole / "labels.csv", dtype=str, keep_default_na=False)
    table[:25].to_csv(src / "labels.csv", index=False)  # patient 12 has one image now, and a second later
    kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    return src, tmp_path / "p", whole


def arrive(src, whole):
    shutil.copy(whole / "labels.csv", src / "labels.csv")


def by_source(pack):
    return {row["source"]: (row["split"], row["patient_id"], row["sha256"]) for row in pack.table.to_dict("records")}


def test_only_new_images_are_read_and_splits_stay(packed, monkeypatch, capsys):
    src, out, whole = packed
    before, first, old = by_source(Pack.open(out)), card_hash(out), files(out)
    arrive(src, whole)
    seen = []
    real = prepare_images
    monkeypatch.setattr("kontrast.artifacts.packing.prepare_images", lambda *job: seen.extend(job[1]) or real(*job))
    outcome = kontrast.prepare(src, out=out, size=32, workers=1)
    assert outcome.status == "done" and outcome.summary["added"] == 15 and len(seen) == 15
    pack = Pack.open(out)
    after = by_source(pack)
    assert {source: after[source] for source in before} == before and len(after) == 40
    assert (
        not damages(out)
        and {n: b for n, b in files(out).items() if n.startswith("images-")}.items()
        >= {n: b for n, b in old.items() if n.startswith("images-")}.items()
    )
    assert pack.card.content["history"] == [{"sha256": first, "rows": 25, "added": 15}]
    assert hashes_of(out) == {first, card_hash(out)}
    patients = pack.table.groupby("patient_id")["split"].nunique()
    assert (patients == 1).all() and len(patients) == 20
    assert "15 new" in (said := capsys.readouterr().out) and "Added 15 images to the 25" in said
    kept = files(out)
    assert kontrast.prepare(src, out=out, size=32, workers=1).status == "already done" and files(out) == kept
    # The pixels, and their statistics, are those of a Pack made at once.
    at_once = Pack.open(kontrast.prepare(whole, out=out.with_name("whole-pack"), size=32, workers=1))
    order = [list(at_once.table["source"]).index(source) for source in pack.table["source"]]
    assert (pack.images(range(40)) == at_once.images(order)).all()
    assert by_source(at_once) == after and pack.mean == at_once.mean and pack.std == at_once.std


def test_a_dry_run_says_how_many_and_adds_none(packed):
    src, out, whole = packed
    arrive(src, whole)
    before = files(out)
    planned = kontrast.prepare(src, out=out, size=32, dry_run=True)
    assert planned.status == "planned" and planned.summary["added"] == 15 and files(out) == before


def test_inverted_images_among_those_added_are_warned_of(tmp_path, capsys):
    src, out = tmp_path / "src", tmp_path / "p"
    kontrast.phantom(tmp_path / "chests", patients=8, size=64, seed=3)
    chests = sorted((tmp_path / "chests").rglob("*frontal*.jpg"))
    src.mkdir()
    for i, file in enumerate(chests[:6]):
        shutil.copy(file, src / f"old{i}.jpg")
    kontrast.prepare(src, out=out, size=64, layout="plain")
    cv2.imwrite(str(src / "new1.jpg"), cv2.imread(str(chests[6]), 0))
    kontrast.prepare(src, out=out, size=64, layout="plain")
    assert "seem inverted" not in capsys.readouterr().err
    cv2.imwrite(str(src / "new0.jpg"), 255 - cv2.imread(str(chests[7]), 0))  # in the Pack it comes last, not first
    kontrast.prepare(src, out=out, size=64, layout="plain")
    assert "1 of 1 image of those added looked at seem inverted" in " ".join(capsys.readouterr().err.split())


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.slow
def test_killed_anywhere_it_is_the_old_pack_or_the_new_one_and_resumes(packed, tmp_path, monkeypatch):
    src, out, whole = packed
    before = files(out)
    arrive(src, whole)
    shutil.copytree(out, tmp_path / "calm")
    calm = files(kontrast.prepare(src, out=tmp_path / "calm", size=32, workers=1))
    real, calls = Path.replace, []
    for at in range(30):
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "old", out) if at else shutil.copytree(_restore(tmp_path / "old", before), out)
        calls.clear()

        def die(self, target, at=at):
            calls.append(target)
            if len(calls) == at + 1:
                raise Killed
            return real(self, target)

        monkeypatch.setattr(Path, "replace", die)
        try:
            kontrast.prepare(src, out=out, size=32, workers=1)
            ended = True
        except Killed:
            ended = False
        monkeypatch.setattr(Path, "replace", real)
        if not ended and not (out / growth.NEXT / "card.json").is_file():
            assert len(Pack.open(out)) == (40 if (out / "card.json").read_bytes() == calm["card.json"] else 25)
        kontrast.prepare(src, out=out, size=32, workers=1)
        assert files(out) == calm, f"killed at rename {at}"
        if ended:
            break
    assert ended and at > 6


def _restore(folder, content):
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_pack_whose_move_was_cut_short_says_what_to_do(packed, monkeypatch):
    src, out, whole = packed
    arrive(src, whole)
    real = Path.replace

    def die(self, target):
        if Path(target) == out / "card.json":
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(Killed):
        kontrast.prepare(src, out=out, size=32, workers=1)
    monkeypatch.setattr(Path, "replace", real)
    with pytest.raises(ArtifactError, match="was being added") as error:
        Pack.open(out)
    assert "kontrast prepare" in error.value.fix
    kontrast.prepare(src, out=out, size=32, workers=1)
    assert len(Pack.open(out)) == 40


def test_more_arrives_while_it_was_interrupted(packed, monkeypatch):
    src, out, whole = packed
    table = pd.read_csv(whole / "labels.csv", dtype=str, keep_default_na=False)
    table[:33].to_csv(src / "labels.csv", index=False)
    monkeypatch.setattr("kontrast.artifacts.pack_writer.write_card", lambda *a, **k: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        kontrast.prepare(src, out=out, size=32, workers=1)
    monkeypatch.undo()
    monkeypatch.setenv("KONTRAST_KEY", str(out.parent / "key"))
    (out.parent / "key").write_text("5a" * 32)
    assert len(Pack.open(out)) == 25
    arrive(src, whole)
    kontrast.prepare(src, out=out, size=32, workers=1)
    assert len(Pack.open(out)) == 40 and not damages(out)


def test_what_is_not_merely_new_is_refused(packed):
    src, out, whole = packed
    arrive(src, whole)
    (src / "a" / "image000.png").write_bytes((src / "b" / "image001.png").read_bytes())
    with pytest.raises(OutputError, match=r"25 images then, 40 now.*other files, labels or patients"):
        kontrast.prepare(src, out=out, size=32)
    (src / "a" / "image000.png").unlink()
    with pytest.raises(OutputError, match="1 packed image not there any more"):
        kontrast.prepare(src, out=out, size=32)


def test_a_patient_given_to_another_split_is_refused(tmp_path):
    src = make_source(tmp_path / "src", n=8, split=["train"] * 4 + ["val", "val", "test", "test"])
    table = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    table.drop(1).to_csv(src / "labels.csv", index=False)
    out = Path(kontrast.prepare(src, out=tmp_path / "p", size=32))
    table.to_csv(src / "labels.csv", index=False)
    table["split"] = np.where(table.index < 2, "test", table["split"])
    table.loc[0, "split"] = "train"
    table.to_csv(src / "labels.csv", index=False)
    with pytest.raises(LeakageError):
        kontrast.prepare(src, out=out, size=32)


def test_splits_of_the_pack_win_over_a_new_draw(tmp_path):
    split = [("train", "val", "test")[i // 2 % 3] for i in range(20)]
    src = make_source(tmp_path / "src", n=20, split=split)
    table = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    table[:13].to_csv(src / "labels.csv", index=False)  # the second image of patient 6 comes later
    out = Path(kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1))
    table.drop(columns="split").to_csv(src / "labels.csv", index=False)  # from now on the source gives no splits
    assert kontrast.prepare(src, out=out, size=32, workers=1).summary["added"] == 7
    found = Pack.open(out).table.set_index("source")["split"]
    assert [found[path] for path in table["path"][:13]] == split[:13]
    assert found[table["path"][13]] == split[12] == "train"


def test_two_writers_and_places_that_cannot_be_written(packed, monkeypatch):
    src, out, whole = packed
    arrive(src, whole)
    with locked(out), pytest.raises(OutputError, match="in use"):
        kontrast.prepare(src, out=out, size=32)
    assert len(Pack.open(out)) == 25


def test_unreadable_new_files_are_listed_and_tried_again(packed):
    src, out, whole = packed
    arrive(src, whole)
    good = (src / "b" / "image039.png").read_bytes()
    (src / "b" / "image039.png").write_bytes(b"")
    outcome = kontrast.prepare(src, out=out, size=32, workers=1)
    assert outcome.summary["added"] == 14 and outcome.summary["rejects"] == 1
    assert kontrast.prepare(src, out=out, size=32, workers=1).status == "already done"
    (src / "b" / "image039.png").write_bytes(good)
    outcome = kontrast.prepare(src, out=out, size=32, workers=1)
    assert outcome.summary["added"] == 1 and outcome.summary["rejects"] == 0
    assert [entry["added"] for entry in Pack.open(out).card.content["history"]] == [14, 1]


def test_byte_copies_are_counted_and_those_in_two_splits_are_warned_of_also_when_they_arrive(tmp_path, capsys):
    folder = make_source(tmp_path / "src", labels=False)
    for i in range(30):  # two classes by folder, without patients: each image is one, so the name decides its split
        (folder / ("normal", "pneumonia")[i % 2]).mkdir(exist_ok=True)
        (folder / "ab"[i % 2] / f"image{i:03d}.png").rename(folder / ("normal", "pneumonia")[i % 2] / f"{i:03d}.png")
    first = kontrast.prepare(folder, out=tmp_path / "p", size=32, workers=1)
    said = capsys.readouterr()
    assert first.summary["copies"] == {"images": 0, "across": 0} and "byte cop" not in said.out
    assert "identical" not in said.err
    for i in range(12):
        shutil.copy(folder / "normal" / "000.png", folder / "normal" / f"again{i:02d}.png")
    grown = kontrast.prepare(folder, out=tmp_path / "p", size=32, workers=1)
    said, pack = capsys.readouterr(), Pack.open(tmp_path / "p")
    same = pack.table[pack.table["sha256"] == pack.table["sha256"][pack.table["source"] == "normal/000.png"].item()]
    assert len(same) == 13 and same["split"].nunique() > 1
    assert grown.summary["copies"] == pack.card.content["copies"] == {"images": 12, "across": 1}
    assert "12 images are byte copies of another" in " ".join(said.out.split())
    err = " ".join(said.err.split())
    assert "1 identical image stands in more than one split" in err and "--drop-copies" in err and "again0" not in err
    assert "13 images have files in common" in err, "too many of them for one split"
    whole = kontrast.pack("subset", tmp_path / "p", out=tmp_path / "once", drop_copies=True)
    once = Pack.open(whole)
    assert len(once) == 30 and whole.summary["copies"] == {"images": 0, "across": 0} and whole.summary["rejects"] == 12
    assert once.table.loc[once.table["sha256"] == same["sha256"].iloc[0], "split"].tolist() != ["train"]
    capsys.readouterr()
    kontrast.prepare(folder, out=tmp_path / "train", size=32, workers=1, layout="plain")  # no labels: all is train
    said = capsys.readouterr()
    assert "12 images are byte copies" in " ".join(said.out.split()) and "identical" not in said.err
