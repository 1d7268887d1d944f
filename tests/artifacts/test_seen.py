import dataclasses

import numpy as np
import pytest

from helpers import make_pack
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen, looks
from kontrast.data.identity import Key
from kontrast.errors import ArtifactError


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return Pack.open(make_pack(tmp_path_factory.mktemp("seen") / "p"))


def with_table(pack, **columns):
    return dataclasses.replace(pack, table=pack.table.assign(**columns))


def test_train_and_test_of_one_pack_share_nothing(pack):
    overlap = Seen.of(pack, pack.rows("train"), "train").overlap(pack, pack.rows("test"))
    assert (overlap.patients, overlap.images) == (0, 0)
    assert overlap.text == "0 patients and 0 images shared with the training data"


def test_overlap_counts_patients_and_images(pack):
    seen = Seen.of(pack, np.arange(0, 5), "train")  # patients 0, 0, 1, 1, 2
    overlap = seen.overlap(pack, np.arange(4, 10))  # patients 2, 2, 3, 3, 4, 4
    assert (overlap.patients, overlap.images) == (1, 1)
    assert overlap.text == "1 patient and 1 image shared with the training data"


def test_another_key_is_unknown_but_images_still_compare(pack, tmp_path):
    other = Pack.open(make_pack(tmp_path / "p", key=Key(b"another key")))
    other = with_table(other, sha256=pack.table["sha256"])
    overlap = Seen.of(pack, pack.rows("train"), "pretrain").overlap(other, other.rows("train"))
    assert overlap.patients is None and overlap.images == len(pack.rows("train"))
    assert "unknown" in overlap.text and "another key" in overlap.text


def test_unknown_patients_are_unknown_on_either_side(pack, tmp_path):
    nameless = Pack.open(make_pack(tmp_path / "p", patients_known=False))
    seen = Seen.of(nameless, nameless.rows("train"), "pretrain")
    assert set(seen.table["patient_id"]) == {""}
    for overlap in (
        seen.overlap(pack, pack.rows("test")),
        Seen.of(pack, pack.rows("train"), "train").overlap(nameless, nameless.rows("test")),
        seen.overlap(nameless, nameless.rows("test")),
    ):
        assert overlap.patients is None and "unknown" in overlap.text


def test_what_is_found_counts_even_when_not_all_can_be_compared(pack, tmp_path):
    other = Pack.open(make_pack(tmp_path / "p", key=Key(b"another key"), seed=1))
    seen = Seen.of(pack, pack.rows("train"), "train") + Seen.of(other, other.rows("train"), "pretrain")
    assert seen.overlap(pack, pack.rows("train")).patients == len(set(pack.table["patient_id"][pack.rows("train")]))
    assert seen.overlap(pack, pack.rows("train")).text.startswith("at least ")
    assert seen.overlap(pack, pack.rows("test")).patients is None


def test_nothing_seen_is_no_overlap(pack):
    overlap = Seen.nothing().overlap(pack, pack.rows())
    assert (overlap.patients, overlap.images) == (0, 0) and "without" in overlap.text


def test_adding_keeps_roles_and_drops_repeats(pack):
    train, val = Seen.of(pack, pack.rows("train"), "train"), Seen.of(pack, pack.rows("val"), "val")
    both = train + val + train + Seen.nothing()
    assert len(both) == len(train) + len(val)
    assert set(both.table["role"]) == {"train", "val"}
    assert len(Seen.nothing() + Seen.nothing()) == 0


def test_saving_and_loading(pack, tmp_path):
    seen = Seen.of(pack, pack.rows("train"), "train")
    seen.save(tmp_path)
    assert (tmp_path / "seen.csv").read_text().startswith("key_id,patient_id,sha256,role,look\n")
    assert Seen.load(tmp_path).table.equals(seen.table)
    Seen.nothing().save(tmp_path)
    assert len(Seen.load(tmp_path)) == 0


def test_raw_checksums_are_cut_to_16_digits(pack):
    assert set(Seen.of(pack, pack.rows(), "train").table["sha256"].str.len()) == {16}


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n", b"\xff\xfe"])
def test_a_damaged_file_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "seen.csv").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"seen\.csv is (missing|damaged)"):
        Seen.load(tmp_path)


def test_a_copy_under_another_checksum_is_found_by_its_look(pack, tmp_path):
    seen = Seen.of(pack, pack.rows("train"), "pretrain")
    rows = pack.rows("train")[:5]
    converted = with_table(pack, sha256="0" * 64, patient_id=[f"other{i}" for i in range(len(pack))])
    overlap = seen.overlap(converted, rows)
    assert (overlap.patients, overlap.images, overlap.near) == (0, 0, 5) and overlap.shared
    assert "5 other images nearly the same as one of it" in overlap.text
    assert not seen.overlap(converted, pack.rows("test")).shared
    assert seen.overlap(pack, rows).near == 0, "those found by checksum are not counted again"


def test_generated_chests_are_alike_without_being_copies(pack):
    drawn = dataclasses.replace(
        pack, card=dataclasses.replace(pack.card, content=pack.card.content | {"generated": True})
    )
    assert looks(pack, pack.rows()).any() and not looks(drawn, drawn.rows()).any()
    seen = Seen.of(drawn, drawn.rows("train"), "pretrain")
    other = with_table(drawn, sha256="0" * 64, patient_id=[f"other{i}" for i in range(len(drawn))])
    assert seen.overlap(other, drawn.rows("train")[:5]).near == 0  # known to be none, not unknown
    assert seen.overlap(drawn, drawn.rows("train")[:5]).images == 5, "the same file is still the same"


def test_what_an_older_version_saw_has_no_look_and_is_unknown(pack, tmp_path):
    seen = Seen.of(pack, pack.rows("train"), "train")
    (tmp_path / "seen.csv").write_text(seen.table.drop(columns="look").to_csv(index=False))
    overlap = Seen.load(tmp_path).overlap(pack, pack.rows("test"))
    assert overlap.near is None and "nearly the same images are among it is unknown" in overlap.text
    assert not overlap.shared
