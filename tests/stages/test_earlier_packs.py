"""A Pack that version 0.1.0 wrote (tests/golden, 8 images of 4 patients): read, verified, joined, and not grown."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kontrast
from kontrast.artifacts.card import PROTOCOLS, hashes_of, read_card
from kontrast.artifacts.pack import Pack, damages
from kontrast.errors import ArtifactError, OutputError
from stages.sources import files

GOLDEN = Path(__file__).parents[1] / "golden"
pytestmark = pytest.mark.usefixtures("key")


@pytest.fixture
def old(tmp_path):
    shutil.copytree(GOLDEN / "pack-0.1.0", tmp_path / "old")
    shutil.copytree(GOLDEN / "source", tmp_path / "src")
    return tmp_path / "old"


def test_it_says_its_format_and_holds_what_a_new_one_holds(old, tmp_path):
    card = read_card(old, "pack")
    assert (card.protocol, card.version) == (1, "0.1.0") and PROTOCOLS["pack"] > 1 and kontrast.__version__ != "0.1.0"
    new = Pack.open(kontrast.prepare(tmp_path / "src", out=tmp_path / "new", size=16))
    pack = Pack.open(old)
    pd.testing.assert_frame_equal(pack.table, new.table)
    apart = np.abs(pack.images(range(8)).astype(int) - new.images(range(8)))
    assert apart.max() <= 1 and apart.mean() < 0.01, "shrinking rounds a few values the other way since"
    assert (pack.mean, pack.std) == pytest.approx((new.mean, new.std), rel=1e-4) and pack.findings == new.findings
    assert damages(old) == [] and len(hashes_of(old)) == 1


def test_the_same_command_is_done_and_new_images_ask_for_another_pack(old, tmp_path):
    before, src = files(old), tmp_path / "src"
    assert kontrast.prepare(src, out=old, size=16).status == "already done" and files(old) == before
    shutil.copy(src / "image0.png", src / "image9.png")
    with (src / "labels.csv").open("a") as table:
        table.write("image9.png,p9,AP,F,50,1,0\n")
    with pytest.raises(OutputError, match="made by an earlier version") as error:
        kontrast.prepare(src, out=old, size=16)
    assert "another --out" in error.value.fix and files(old) == before


def test_it_is_a_part_of_new_ones(old, tmp_path):
    part = Pack.open(kontrast.pack("subset", old, out=tmp_path / "part", views="frontal"))
    assert len(part) == 4 and part.card.protocol == PROTOCOLS["pack"]


def test_a_card_of_a_format_to_come_is_told_from_a_damaged_one(old):
    card = json.loads((old / "card.json").read_text())
    (old / "card.json").write_text(json.dumps(card | {"protocol": 99, "version": "9.9.9", "field": "of then"}))
    with pytest.raises(ArtifactError, match=r"newer format \(protocol 99\)"):
        Pack.open(old)
