import io
import json
import stat
import tarfile

import cv2
import numpy as np
import pandas as pd
import pytest

import kontrast
from helpers import make_pack
from kontrast import cli, console
from kontrast.artifacts import joining
from kontrast.artifacts.card import card_hash
from kontrast.artifacts.pack import Pack, damages
from kontrast.data.identity import Key
from kontrast.errors import ArtifactError, DataError, LeakageError, OutputError, UsageError


def test_a_whole_pack_passes(tmp_path, capsys):
    outcome = kontrast.pack("verify", make_pack(tmp_path / "p", masks=True))
    assert outcome.summary == {"files": 8, "rows": 64, "damaged": []}
    assert "is whole" in capsys.readouterr().out


def test_damage_names_the_file_and_its_images(tmp_path, capsys):
    path = make_pack(tmp_path / "p", masks=True)
    data = bytearray((path / "images-00001.npy").read_bytes())
    data[400] ^= 1
    (path / "images-00001.npy").write_bytes(data)
    (path / "masks-disc-00001.npy").unlink()
    with pytest.raises(ArtifactError, match=r"2 files of .* at most 24 images"):
        kontrast.pack("verify", path)
    said = capsys.readouterr().out
    assert "images-00001.npy is damaged" in said and "images 40 to 63" in said
    assert "masks-disc-00001.npy is missing" in said


def test_damage_for_machines(tmp_path, capsys):
    path = make_pack(tmp_path / "p", n=50, size=8)
    ids = Pack.open(path).table["image_id"].tolist()
    (path / "images-00001.npy").unlink()
    with pytest.raises(SystemExit) as ended:
        cli.main(["pack", "verify", str(path), "--json"])
    console.configure(stream=None)
    found = capsys.readouterr()
    said = json.loads(found.out)
    (damage,) = said["damaged"]
    assert ended.value.code == said["exit_code"] == 4 and damage["file"] == "images-00001.npy"
    assert (damage["first"], damage["last"], damage["image_ids"]) == (40, 49, ids[40:])
    assert f"image_id {ids[40]} to {ids[49]}" in " ".join(found.err.split())
    (path / "table.csv").write_text("")
    with pytest.raises(ArtifactError) as error:
        kontrast.pack("verify", path)
    assert [one["image_ids"] for one in error.value.facts["damaged"]] == [None, None]


@pytest.mark.parametrize("what", ["mean", "std", "statistics", "splits", "pixels"])
def test_an_altered_card_is_found(tmp_path, what):
    path = make_pack(tmp_path / "p", n=12, size=8)
    card = json.loads((path / "card.json").read_text())
    content = card["content"]
    other = {
        "mean": 1.000001 * content["mean"], "std": 0.2, "statistics": "all", "pixels": {**content["pixels"], "val": []},
        "splits": {**content["splits"], "val": {"images": 0, "patients": 0}},
    }  # fmt: skip
    assert kontrast.pack("verify", path).summary["damaged"] == []
    (path / "card.json").write_text(json.dumps(card | {"content": content | {what: other[what]}}))
    with pytest.raises(ArtifactError, match=r"card\.json does not say what the other files hold") as error:
        kontrast.pack("verify", path)
    (damage,) = error.value.facts["damaged"]
    assert damage["file"] == "card.json" and what in damage["problem"]


def test_a_wrong_word_names_its_neighbour(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'verify'"):
        kontrast.pack("verfy", tmp_path)
    with pytest.raises(UsageError, match="takes two Packs or more, got 1"):
        kontrast.pack("merge", tmp_path, out=tmp_path / "o")
    with pytest.raises(UsageError, match="--out is missing"):
        kontrast.pack("subset", tmp_path)
    with pytest.raises(UsageError, match="--format has no effect on pack subset"):
        kontrast.pack("subset", tmp_path, out=tmp_path / "o", format="webdataset")


def test_what_is_no_pack(tmp_path):
    with pytest.raises(ArtifactError, match="Expected a pack"):
        kontrast.pack("verify", tmp_path / "none")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("kontrast.artifacts.pack_writer.SHARD_IMAGES", 30)


def same(a, rows_a, b, rows_b):
    """Whether rows of two Packs are the same images with the same labels, masks and people."""
    one, other = a.table.iloc[rows_a].reset_index(drop=True), b.table.iloc[rows_b].reset_index(drop=True)
    pd.testing.assert_frame_equal(one[list(other.columns)], other)
    assert (a.images(rows_a) == b.images(rows_b)).all()
    for name in set(a.mask_names) & set(b.mask_names):
        assert (a.mask(name, rows_a) == b.mask(name, rows_b)).all()


def test_merge_keeps_every_image_with_its_labels_and_masks(tmp_path, small):
    a = Pack.open(make_pack(tmp_path / "a", n=40, seed=1, masks=True))
    b = Pack.open(make_pack(tmp_path / "b", n=24, seed=2, findings=("Bar", "Cross"), masks=True))
    out = kontrast.pack("merge", a.path, b.path, out=tmp_path / "m")
    pack = Pack.open(out)
    assert len(pack) == 64 and pack.findings == ("Disc", "Bar", "Cross") and not damages(pack.path)
    assert [p.sha256 for p in pack.card.parents] == [card_hash(a.path), card_hash(b.path)]
    first, second = np.arange(40), np.arange(40, 64)
    assert (pack.images(first) == a.images(first)).all() and (pack.images(second) == b.images(range(24))).all()
    assert np.array_equal(pack.labels(first)[:, :2], a.labels(first), equal_nan=True)
    assert np.isnan(pack.labels(first)[:, 2]).all() and np.isnan(pack.labels(second)[:, 0]).all()
    assert np.array_equal(pack.labels(second)[:, 1:], b.labels(range(24)), equal_nan=True)
    assert (pack.mask("Bar", second) == b.mask("Bar", range(24))).all() and not pack.mask("Cross", first).any()
    # Both have a file of the name train/image00000.png: two images, two ids.
    assert pack.table["source"].duplicated().any() and pack.table["image_id"].is_unique
    train = pack.images(pack.rows("train")) / 255
    assert pack.mean == pytest.approx(train.mean(), abs=1e-9) and pack.std == pytest.approx(train.std(), abs=1e-9)
    assert kontrast.pack("merge", a.path, b.path, out=tmp_path / "m").status == "already done"


def test_merge_drops_copies_and_refuses_patients_in_two_splits(tmp_path):
    a = make_pack(tmp_path / "a", n=64, patients=32, size=8)
    b = make_pack(tmp_path / "b", n=80, patients=32, size=8, splits=(0.2, 0.2))
    with pytest.raises(LeakageError, match="in two splits"):
        kontrast.pack("merge", a, b, out=tmp_path / "m")
    assert not (tmp_path / "m").exists()
    outcome = kontrast.pack("merge", a, b, out=tmp_path / "m", repair_splits=True)
    assert outcome.summary["rows"] == 80 and outcome.summary["rejects"] == 64 and outcome.summary["moved"] > 0
    table = Pack.open(outcome).table
    assert (table.groupby("patient_id")["split"].nunique() == 1).all() and table["sha256"].is_unique


def test_packs_that_are_unlike_are_not_merged(tmp_path):
    a = make_pack(tmp_path / "a", n=8, size=8)
    for name, options in (
        ("size", {"size": 16}), ("patient key", {"key": Key(b"another key of the tests, 32 byte")}),
        ("dtype", {"dtype": "uint16"}), ("knowledge of patients", {"patients_known": False}),
    ):  # fmt: skip
        other = make_pack(tmp_path / name, **({"n": 8, "size": 8, "seed": 3} | options))
        with pytest.raises(UsageError, match=f"differ in their {name}: a .*, {name} "):
            kontrast.pack("merge", a, other, out=tmp_path / "m")


def test_subset(tmp_path, small):
    whole = Pack.open(make_pack(tmp_path / "a", masks=True))
    part = Pack.open(kontrast.pack("subset", whole.path, out=tmp_path / "s", split=("train", "val"), findings=("Bar",)))
    rows = np.flatnonzero(whole.table["split"].isin(["train", "val"]))
    assert part.findings == ("Bar",) and not len(part.rows("test"))
    same(whole, rows, part, np.arange(len(part)))
    (tmp_path / "ids.csv").write_text("x,image_id\n" + "".join(f"1,{i}\n" for i in whole.table["image_id"][5:9]))
    few = Pack.open(kontrast.pack("subset", whole.path, out=tmp_path / "f", ids=tmp_path / "ids.csv"))
    same(whole, np.arange(5, 9), few, np.arange(4))
    with pytest.raises(DataError, match="Nothing of"):
        kontrast.pack(
            "subset", few.path, out=tmp_path / "n", split=("test",) if not len(few.rows("test")) else ("val",)
        )
    with pytest.raises(UsageError, match="Did you mean 'Disc'"):
        kontrast.pack("subset", whole.path, out=tmp_path / "n", findings=("Disk",))
    with pytest.raises(UsageError, match="Did you mean 'train'"):
        kontrast.pack("subset", whole.path, out=tmp_path / "n", split=("trian",))


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_a_merge_that_was_killed_goes_on_to_the_same_bytes(tmp_path, small, monkeypatch):
    a, b = (make_pack(tmp_path / name, n=40, size=8, seed=i) for i, name in enumerate("ab"))
    calm = kontrast.pack("merge", a, b, out=tmp_path / "calm")
    real, calls = joining._shard, []

    def die(*args):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return real(*args)

    monkeypatch.setattr(joining, "_shard", die)
    with pytest.raises(Killed):
        kontrast.pack("merge", a, b, out=tmp_path / "m")
    kontrast.pack("merge", a, b, out=tmp_path / "m")
    assert len(calls) == 4  # the first shard was not made again
    names = sorted(path.name for path in calm.out.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "m").iterdir())
    assert all((calm.out / name).read_bytes() == (tmp_path / "m" / name).read_bytes() for name in names)


def test_export_to_folders_can_be_prepared_again(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("5a" * 32)
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "key"))
    pack = Pack.open(make_pack(tmp_path / "p", size=32, n=24))
    out = kontrast.pack("export", pack.path, out=tmp_path / "e").out
    for row, name in enumerate(pack.table["image_id"]):
        path = out / pack.table["split"][row] / f"{name}.png"
        assert (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == pack.images([row])[0]).all()
    again = Pack.open(kontrast.prepare(out, out=tmp_path / "q", size=32, workers=1))
    assert again.findings == pack.findings and again.card.content["layout"] == "table"
    order = [
        list(again.table["source"]).index(f"{s}/{i}.png")
        for s, i in zip(pack.table["split"], pack.table["image_id"], strict=True)
    ]
    assert (again.images(order) == pack.images(range(24))).all()
    assert np.array_equal(again.labels(order), pack.labels(range(24)), equal_nan=True)
    assert kontrast.pack("export", pack.path, out=out).status == "already done"
    with pytest.raises(OutputError, match="other settings"):
        kontrast.pack("export", pack.path, out=out, format="webdataset")


def test_export_as_medmnist(tmp_path, capsys):
    pack = Pack.open(make_pack(tmp_path / "p", n=40))
    out = kontrast.pack("export", pack.path, out=tmp_path / "e", format="medmnist").out
    with np.load(out / "pack.npz", allow_pickle=False) as arrays:
        for split in ("train", "val", "test"):
            rows = pack.rows(split)
            assert (arrays[f"{split}_images"] == pack.images(rows)).all()
            assert (arrays[f"{split}_labels"] == (pack.labels(rows) == 1)).all()
            assert arrays[f"{split}_labels"].dtype == np.uint8
    assert json.loads((out / "findings.json").read_text()) == ["Disc", "Bar"]
    assert "uncertain as zeros, blank as negative" in capsys.readouterr().out
    with pytest.raises(UsageError, match="leave some open"):
        kontrast.pack("export", pack.path, out=tmp_path / "f", format="medmnist", uncertain="ignore")
    wide = make_pack(tmp_path / "w", n=8, dtype="uint16")
    with pytest.raises(UsageError, match="8 bits"):
        kontrast.pack("export", wide, out=tmp_path / "g", format="medmnist")


def test_export_as_webdataset(tmp_path, monkeypatch):
    monkeypatch.setattr("kontrast.artifacts.exporting.TAR_IMAGES", 10)
    pack = Pack.open(make_pack(tmp_path / "p", n=40, dtype="uint16"))
    out = kontrast.pack("export", pack.path, out=tmp_path / "e", format="webdataset", findings=("Bar",)).out
    found = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as archive:
            names = archive.getnames()
            assert len(names) <= 20 and all(entry.mtime == 0 and not entry.uname for entry in archive)
            for name in names:
                found[name] = archive.extractfile(name).read()
    for row, facts in pack.table.iterrows():
        image = cv2.imdecode(np.frombuffer(found[f"{facts['image_id']}.png"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert (image == pack.images([row])[0]).all() and image.dtype == np.uint16
        said = json.load(io.BytesIO(found[f"{facts['image_id']}.json"]))
        bar = "" if np.isnan(facts["Bar"]) else str(int(facts["Bar"]))
        assert said["Bar"] == bar and said["split"] == facts["split"] and "Disc" not in said


def test_every_flipped_bit_is_found_and_a_pack_is_read_where_nothing_can_be_written(tmp_path):
    path = make_pack(tmp_path / "p", n=12, size=8, masks=True)
    rng = np.random.default_rng(0)
    for name in sorted(p.name for p in path.iterdir() if p.name != "card.json"):
        data = (path / name).read_bytes()
        for _ in range(3):
            broken = bytearray(data)
            broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
            (path / name).write_bytes(broken)
            assert [damage.file for damage in damages(path)] == [name]
        (path / name).write_bytes(data)
    for file in (*path.iterdir(), path):
        file.chmod(file.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    before = sorted((file.name, file.stat().st_mtime_ns) for file in path.iterdir())
    assert kontrast.pack("verify", path).summary["damaged"] == [] and len(Pack.open(path)) == 12
    kontrast.pack("subset", path, out=tmp_path / "s", split=("train",))
    assert sorted((file.name, file.stat().st_mtime_ns) for file in path.iterdir()) == before
