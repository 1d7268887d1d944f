"""What holds for every kind of artifact: whole or refused, portable, the same bytes again, nothing to execute."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import kontrast
from contracts.commands import read_table
from helpers import make_pack
from kontrast.artifacts.card import CARD, CLAIM, PROTOCOLS, parent, read_card, verify_files
from kontrast.artifacts.claims import claim
from kontrast.artifacts.classifier import Classifier, load_classifier, save_classifier
from kontrast.artifacts.encoder import load_encoder, save_encoder
from kontrast.artifacts.evaluation import read_evaluation, write_evaluation
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.errors import ArtifactError
from kontrast.nn.encoders import EncoderSpec, build_encoder

SAFE = {".npy", ".safetensors", ".csv", ".json"}
SPEC = EncoderSpec("resnet18", 16)


def pack_at(folder):
    return make_pack(folder / "pack", n=20, size=16, masks=True)


def make_encoder(folder):
    pack = Pack.open(pack_at(folder))
    claim(folder / "encoder", "encoder", config={"epochs": 1}, parents=[parent("pack", pack.path)])
    save_encoder(
        folder / "encoder", build_encoder(SPEC, seed=0), SPEC, config={"epochs": 1},
        parents=[parent("pack", pack.path)], seen=Seen.of(pack, pack.rows("train"), "pretrain"),
    )  # fmt: skip
    return folder / "encoder"


def make_classifier(folder):
    torch.manual_seed(0)
    classifier = Classifier(build_encoder(SPEC, seed=0), SPEC, ("Disc", "Bar"))
    thresholds = {name: {"value": 0.5, "rule": "f1", "reason": None} for name in classifier.findings}
    claim(folder / "classifier", "classifier", config={})
    save_classifier(folder / "classifier", classifier, thresholds=thresholds, config={}, seen=Seen.nothing())
    return folder / "classifier"


def make_evaluation(folder):
    pack = Pack.open(pack_at(folder))
    claim(folder / "evaluation", "evaluation", config={})
    write_evaluation(
        folder / "evaluation", truth=pack.table, predictions=np.random.default_rng(0).random((len(pack), 2)),
        findings=pack.findings, scores={"split": "test", "findings": {}, "macro": {}}, config={},
    )  # fmt: skip
    return folder / "evaluation"


def make_embedding(folder):
    kontrast.embed("random", pack_at(folder), out=folder / "embedding", encoder="resnet18", device="cpu")
    return folder / "embedding"


# How each kind is made, and read in full.
KINDS = {
    "pack": (pack_at, Pack.open),
    "encoder": (make_encoder, load_encoder),
    "classifier": (make_classifier, load_classifier),
    "evaluation": (make_evaluation, read_evaluation),
    "embedding": (make_embedding, lambda folder: (read_card(folder, "embedding"), verify_files(folder))),
}
# Made by one command each from many others, and tested with it.
WITH_THEIR_COMMANDS = {"phantom", "explanation", "study", "audit", "demo", "export"}


def test_no_kind_is_forgotten():
    assert set(KINDS) | WITH_THEIR_COMMANDS == set(PROTOCOLS)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def whole(kind, tmp_path_factory):
    """One artifact of the kind; tests copy it before they change anything."""
    return KINDS[kind][0](tmp_path_factory.mktemp(kind))


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def files_of(folder: Path):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_reads_back_wherever_it_is_moved(kind, copy, whole):
    KINDS[kind][1](copy)
    assert str(whole.parent) not in (copy / CARD).read_text()


def test_the_card_names_every_file_and_none_can_execute(kind, whole):
    card = read_card(whole, kind)
    assert set(files_of(whole)) == {CARD, *card.files}
    assert {Path(name).suffix for name in card.files} <= SAFE
    assert card.protocol == PROTOCOLS[kind]


def test_the_same_work_gives_the_same_bytes(kind, whole, tmp_path):
    assert files_of(KINDS[kind][0](tmp_path)) == files_of(whole)


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_harm_to_any_file_is_seen_and_named(kind, copy, harm):
    for name in read_card(copy).files:
        if name.startswith("masks-"):  # checked when they are first used
            continue
        path = copy / name
        data = path.read_bytes()
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(data[:-1] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ArtifactError) as error:
            KINDS[kind][1](copy)
        assert name in error.value.problem and error.value.fix
        path.write_bytes(data)
    KINDS[kind][1](copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": 3}', "\x00"])
def test_a_card_that_is_none(kind, copy, content):
    (copy / CARD).write_text(content)
    with pytest.raises(ArtifactError, match="damaged"):
        KINDS[kind][1](copy)


def test_a_newer_format_asks_for_a_newer_kontrast(kind, copy):
    card = json.loads((copy / CARD).read_text())
    (copy / CARD).write_text(json.dumps(card | {"protocol": 99, "version": "9.9.9"}))
    with pytest.raises(ArtifactError) as error:
        KINDS[kind][1](copy)
    assert "9.9.9" in error.value.fix


def test_unfinished_is_not_finished(kind, copy):
    (copy / CARD).unlink()
    (copy / CLAIM).write_text("{}")
    with pytest.raises(ArtifactError, match="unfinished"):
        KINDS[kind][1](copy)


def test_another_kind_is_refused(kind, copy):
    card = json.loads((copy / CARD).read_text())
    (copy / CARD).write_text(json.dumps(card | {"kind": "demo"}))
    with pytest.raises(ArtifactError, match="it is a demo"):
        KINDS[kind][1](copy)


def test_an_evaluation_writes_people_and_labels_as_the_pack_does(world):
    table, truth = (read_table(path) for path in (world.paths["pack"] / "table.csv", world.paths["truth"]))
    same = [name for name in truth.columns if name in table.columns]
    assert {"age", "sex", "Disc"} <= set(same) and truth["age"].ne("").any()
    pd.testing.assert_frame_equal(truth[same], table[table["split"] == "test"][same].reset_index(drop=True))
