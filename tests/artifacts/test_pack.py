import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import KEY, make_pack
from kontrast.artifacts.card import read_card, sha256_file, write_card
from kontrast.artifacts.lock import locked
from kontrast.artifacts.pack import Pack, PackWriter, Shard, damages, shard_rows, slug
from kontrast.artifacts.pack_writer import tidy
from kontrast.errors import ArtifactError, LeakageError, OutputError, UsageError
from kontrast.types import TABLE_COLUMNS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "p", masks=True)


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def row(i, split="train", patient=None, **more):
    base = dict.fromkeys(TABLE_COLUMNS, "")
    patient = KEY.hash(f"p{i}" if patient is None else patient)
    return base | {
        "image_id": KEY.hash(str(i)), "patient_id": patient, "split": split, "source": f"{i}.png",
        "sha256": "0" * 64, "height": 5, "width": 7, "age": None, **more,
    }  # fmt: skip


def write(folder, images, rows, findings=(), per_shard=3, **content):
    folder.mkdir(exist_ok=True)
    writer = PackWriter(folder=folder, findings=findings, size=images.shape[1], dtype=str(images.dtype), key_id="k")
    for index, first in enumerate(range(0, len(rows), per_shard)):
        part = slice(first, first + per_shard)
        writer.write(index, Shard(images=images[part], rows=rows[part], **{k: v[part] for k, v in content.items()}))
    writer.finish(config={}, content={"patients_known": True, "layout": "t", "roles": {}, "notes": []})
    return Pack.open(folder)


def test_what_goes_in_comes_out(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6), dtype=np.uint8)
    labels = [1.0, 0.0, -1.0, np.nan, None, 1, 0, -1]
    ages = [None, 63.0, 0.5, np.nan, 90, 1.0, 2.0, 3.0]
    rows = [row(i, age=a, Edema=v, sex="F", view="PA") for i, (v, a) in enumerate(zip(labels, ages, strict=True))]
    rows[2]["source"] = 'odd, "name"\n.png'
    pack = write(tmp_path / "p", images, rows, ("Edema",))
    np.testing.assert_array_equal(pack.images(range(8)), images)
    np.testing.assert_array_equal(pack.labels(range(8))[:, 0], [1, 0, -1, np.nan, np.nan, 1, 0, -1])
    np.testing.assert_array_equal(pack.table["age"], [np.nan, 63, 0.5, np.nan, 90, 1, 2, 3])
    assert pack.table["source"][2] == 'odd, "name"\n.png'
    assert pack.table["study_id"].tolist() == [""] * 8
    text = (tmp_path / "p" / "table.csv").read_text().splitlines()
    assert text[0] == "image_id,patient_id,study_id,split,view,sex,age,source,sha256,height,width,Edema"
    assert text[1].endswith(",,0.png," + "0" * 64 + ",5,7,1")


@given(st.lists(st.integers(0, 63), max_size=40))
@settings(max_examples=50, deadline=None)
def test_rows_come_in_any_order_with_repeats(made, rows):
    pack = Pack.open(made, verify=False)
    everything = np.concatenate([np.load(made / f"images-{i:05d}.npy") for i in range(2)])
    np.testing.assert_array_equal(pack.images(rows), everything[rows].reshape(-1, 16, 16))


def test_rows_beyond_the_end_are_refused(made):
    for bad in ([64], [-1]):
        with pytest.raises(IndexError):
            Pack.open(made).images(bad)


def test_splits_are_apart_and_complete(made):
    pack = Pack.open(made)
    parts = [pack.rows(split) for split in ("train", "val", "test")]
    assert sorted(np.concatenate(parts)) == list(range(64)) == list(pack.rows())
    people = [set(pack.table["patient_id"].iloc[rows]) for rows in parts]
    assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
    for name, rows, patients in zip(("train", "val", "test"), parts, people, strict=True):
        assert pack.card.content["splits"][name] == {"images": len(rows), "patients": len(patients)}
    with pytest.raises(UsageError, match="'tets' is not known"):
        pack.rows("tets")


def test_statistics_are_those_of_train_pictures_without_padding(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (7, 9, 9), dtype=np.uint8)
    content = np.array(
        [[0, 9, 0, 9], [1, 8, 0, 9], [0, 9, 3, 6], [4, 5, 4, 5], [0, 9, 0, 9], [2, 9, 0, 9], [0, 3, 0, 9]]
    )
    rows = [row(i, split="train" if i % 2 else "test") for i in range(7)]
    pack = write(tmp_path / "p", images, rows, content=content)
    pixels = np.concatenate([images[i][a:b, c:d].ravel() for i, (a, b, c, d) in enumerate(content) if i % 2]) / 255
    assert pack.mean == pytest.approx(pixels.mean(), rel=1e-12) and pack.std == pytest.approx(pixels.std(), rel=1e-12)
    assert pack.card.content["statistics"] == "train"


def test_statistics_of_a_pack_without_train_are_those_of_all(tmp_path):
    images = np.full((2, 4, 4), 51, np.uint8)
    pack = write(tmp_path / "p", images, [row(0, split="test"), row(1, split="test")])
    assert (pack.mean, pack.std, pack.card.content["statistics"]) == (0.2, 0.0, "all")


def test_sixteen_bit_packs(tmp_path):
    images = np.random.default_rng(2).integers(0, 65536, (4, 5, 5), dtype=np.uint16)
    pack = write(tmp_path / "p", images, [row(i) for i in range(4)])
    assert pack.images([3]).dtype == np.uint16
    np.testing.assert_array_equal(pack.images([3, 0]), images[[3, 0]])
    assert pack.mean == pytest.approx((images / 65535).mean()) and pack.std == pytest.approx((images / 65535).std())


def test_masks_are_plain_arrays_and_blank_where_there_is_none(made):
    pack = Pack.open(made)
    assert pack.mask_names == ("Disc", "Bar")
    disc = pack.mask("Disc", pack.rows())
    assert disc.dtype == bool and disc.shape == (64, 16, 16)
    stored = np.concatenate([np.load(made / f"masks-disc-{i:05d}.npy") for i in range(2)])
    assert stored.dtype == np.uint8 and set(np.unique(stored)) == {0, 1}
    np.testing.assert_array_equal(disc, stored == 1)
    labels = pack.labels(pack.rows())[:, 0]
    assert disc[labels == 1].any((1, 2)).all() and not disc[labels == 0].any()
    with pytest.raises(UsageError, match="Did you mean 'Disc'"):
        pack.mask("Disk", [0])


def test_a_shard_without_images_or_masks_leaves_no_file(tmp_path):
    writer = PackWriter(folder=tmp_path, findings=(), size=4, key_id="k")
    mask = np.eye(4, dtype=bool)
    one = np.full((1, 4, 4), 9, np.uint8)
    writer.write(0, Shard(images=one, rows=[row(0)], masks={"Left Lung": {}}))
    writer.write(1, Shard(images=np.empty((0, 4, 4), np.uint8), rows=[], rejects=[("bad.png", "empty file")]))
    writer.write(2, Shard(images=one, rows=[row(2)], masks={"Left Lung": {0: mask}}))
    assert writer.rejected() == {0: [], 1: [("bad.png", "empty file")], 2: []}
    card = writer.finish(
        config={}, content={"patients_known": True}, mask_names=["Left Lung", "Heart"], rejects=[("a.png", "not found")]
    )
    assert sorted(card.files) == [
        "images-00000.npy", "images-00002.npy", "masks-left_lung-00002.npy", "rejects.csv", "table.csv"
    ]  # fmt: skip
    pack = Pack.open(tmp_path)
    assert len(pack) == 2 and pack.mask_names == ("Left Lung", "Heart")
    np.testing.assert_array_equal(pack.mask("Left Lung", [1, 0]), np.stack([mask, np.zeros((4, 4), bool)]))
    assert not pack.mask("Heart", [0, 1]).any()
    assert (tmp_path / "rejects.csv").read_text() == "file,reason\na.png,not found\nbad.png,empty file\n"
    assert not (tmp_path / ".parts").exists()


def test_a_patient_in_two_splits_is_refused(tmp_path):
    rows = [row(0, "train", "same"), row(1, "test", "same"), row(2, "test")]
    with pytest.raises(LeakageError, match="1 patient in more"):
        write(tmp_path / "p", np.zeros((3, 4, 4), np.uint8), rows)
    assert not (tmp_path / "p" / "card.json").exists()


def test_interrupted_writing_goes_on_and_ends_in_the_same_bytes(tmp_path):
    images = np.random.default_rng(3).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    rows = [row(i, split=("train", "val")[i % 2]) for i in range(6)]
    whole = write(tmp_path / "a", images, rows, per_shard=2).path
    folder = tmp_path / "b"
    first = PackWriter(folder=folder, findings=(), size=4, key_id="k")
    first.write(1, Shard(images=images[2:4], rows=rows[2:4]))
    (folder / ".images-00002.npy.partial").write_bytes(b"half a shard")
    again = PackWriter(folder=folder, findings=(), size=4, key_id="k")
    assert [again.written(i) for i in range(3)] == [False, True, False]
    for i in (2, 0):
        again.write(i, Shard(images=images[2 * i : 2 * i + 2], rows=rows[2 * i : 2 * i + 2]))
    again.finish(config={}, content={"patients_known": True, "layout": "t", "roles": {}, "notes": []})
    assert {p.name: p.read_bytes() for p in whole.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_forgotten_shard_leaves_nothing_behind(tmp_path):
    writer = PackWriter(folder=tmp_path, findings=(), size=4, key_id="k")
    full = Shard(images=np.ones((1, 4, 4), np.uint8), rows=[row(0)], masks={"Heart": {0: np.eye(4, dtype=bool)}})
    writer.write(0, full)
    writer.write(1, full)
    writer.forget(0)
    assert sorted(p.name for p in tmp_path.glob("*.npy")) == ["images-00001.npy", "masks-heart-00001.npy"]
    assert not writer.written(0) and writer.written(1)


def test_tidy_mends_a_pack_that_was_killed_after_its_card(copy):
    names = {p.name for p in copy.iterdir()}
    (copy / ".parts").mkdir()
    (copy / ".parts" / "part-00000.json").write_text("{}")
    (copy / "run.json").write_text("{}")
    (copy / ".table.csv.partial").write_text("")
    tidy(copy)
    assert {p.name for p in copy.iterdir()} == names
    (copy / "card.json").unlink()
    with pytest.raises(ArtifactError):
        tidy(copy)


@pytest.mark.parametrize("file", ["images-00001.npy", "table.csv", "rejects.csv"])
def test_a_flipped_byte_is_found_and_named(copy, file):
    data = bytearray((copy / file).read_bytes())
    data[-2] ^= 1
    (copy / file).write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{file} is damaged"):
        Pack.open(copy)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("size", [0, 5, 100, 5000])
def test_a_shard_cut_short_is_found_and_named(copy, size, verify):
    with (copy / "images-00000.npy").open("rb+") as stream:
        stream.truncate(size)
    with pytest.raises(ArtifactError, match=r"images-00000\.npy is (cut short|damaged)"):
        Pack.open(copy, verify=verify)


def test_a_missing_shard_is_named(copy):
    (copy / "images-00001.npy").unlink()
    for verify in (True, False):
        with pytest.raises(ArtifactError, match=r"images-00001\.npy is (missing|damaged)"):
            Pack.open(copy, verify=verify)


def test_pickled_objects_in_a_shard_are_refused(copy, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(copy / "images-00000.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError):
        Pack.open(copy, verify=False)
    assert not (tmp_path / "ran").exists()


def test_a_shard_of_another_shape_is_refused(copy):
    np.save(copy / "images-00001.npy", np.zeros((24, 12, 12), np.uint8))
    with pytest.raises(ArtifactError, match="expected"):
        Pack.open(copy, verify=False)


def vouch(folder):
    """Have the card agree with changed files, so that the checks behind the checksums are met."""
    card = json.loads((folder / "card.json").read_text())
    for name in card["files"]:
        card["files"][name] = {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
    (folder / "card.json").write_text(json.dumps(card))


def test_a_table_of_other_rows_or_columns_is_refused(copy):
    table = pd.read_csv(copy / "table.csv", dtype=str, keep_default_na=False)
    for wrong, words in ((table.iloc[1:], "64 rows expected, 63"), (table.drop(columns="sex"), "columns")):
        wrong.to_csv(copy / "table.csv", index=False)
        vouch(copy)
        with pytest.raises(ArtifactError, match=words):
            Pack.open(copy, verify=False)
    table.assign(Disc="yes").to_csv(copy / "table.csv", index=False)
    vouch(copy)
    with pytest.raises(ArtifactError, match="no number"):
        Pack.open(copy, verify=False)


def test_a_damaged_mask_is_found_when_it_is_used(copy):
    with (copy / "masks-bar-00000.npy").open("rb+") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    pack = Pack.open(copy)
    pack.mask("Disc", [0])
    with pytest.raises(ArtifactError, match=r"masks-bar-00000\.npy is damaged"):
        pack.mask("Bar", [0])


def test_damages_goes_on_after_the_first_and_names_the_rows(copy):
    assert damages(copy) == []
    (copy / "images-00001.npy").unlink()
    (copy / "table.csv").write_text("")
    found = {d.file: (d.first, d.last) for d in damages(copy)}
    assert found == {"images-00001.npy": (40, 63), "table.csv": (None, None)}


def test_other_folders_are_refused(tmp_path, made):
    with pytest.raises(ArtifactError, match="no such folder"):
        Pack.open(tmp_path / "nothing")
    (tmp_path / "e").mkdir()
    write_card(tmp_path / "e", "encoder", config={})
    with pytest.raises(ArtifactError, match="Expected a pack"):
        Pack.open(tmp_path / "e")


def test_a_large_pack_says_how_to_verify(copy, monkeypatch, capsys):
    monkeypatch.setattr("kontrast.artifacts.pack.VERIFY_BYTES", 10)
    data = bytearray((copy / "images-00001.npy").read_bytes())
    data[-2] ^= 1
    (copy / "images-00001.npy").write_bytes(data)
    Pack.open(copy)
    assert "kontrast pack verify" in capsys.readouterr().out


def test_a_pack_travels_to_another_process(made):
    pack = Pack.open(made)
    pack.mask("Disc", [0])
    sent = pickle.dumps(pack)
    assert len(sent) < 60_000
    np.testing.assert_array_equal(pickle.loads(sent).images([5]), pack.images([5]))


def test_the_same_pack_is_written_twice(tmp_path):
    a, b = make_pack(tmp_path / "a", masks=True), make_pack(tmp_path / "b", masks=True)
    assert {p.name: sha256_file(p) for p in a.iterdir()} == {p.name: sha256_file(p) for p in b.iterdir()}
    assert json.loads((a / "card.json").read_text())["files"] == read_card(b).files


def test_shards_stay_small():
    assert shard_rows(64) == 4096 and shard_rows(320) == 655 and shard_rows(320, "uint16") == 327
    assert shard_rows(20000) == 1


def test_slugs():
    assert slug("Pleural Effusion") == "pleural_effusion" and slug("Heart (left)/x") == "heart_left_x"


def test_one_process_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(OutputError, match="in use"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
