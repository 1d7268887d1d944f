import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import make_pack
from kontrast.artifacts.card import parent, read_card
from kontrast.artifacts.claims import claim
from kontrast.artifacts.classifier import Classifier, save_classifier
from kontrast.artifacts.encoder import load_encoder, save_encoder, source_name, source_parents
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.errors import ArtifactError, UsageError
from kontrast.nn.encoders import EncoderSpec, build_encoder


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return Pack.open(make_pack(tmp_path_factory.mktemp("packs") / "pack", size=32, n=24))


@pytest.fixture(scope="module")
def made(tmp_path_factory, pack):
    """An Encoder artifact, the network and the spec that it was made of."""
    folder = tmp_path_factory.mktemp("encoders") / "encoder"
    spec = EncoderSpec("resnet18", 32, mean=0.4, std=0.1)
    network = build_encoder(spec, seed=3)
    claim(folder, "encoder", config={"epochs": 1})
    save_encoder(
        folder, network, spec, config={"epochs": 1}, parents=[parent("pack", pack.path)],
        content={"method": "simclr"}, seen=Seen.of(pack, pack.rows("train"), "pretrain"),
    )  # fmt: skip
    return folder, network, spec


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_round_trip(made, pack):
    folder, network, spec = made
    again, spec_again, seen = load_encoder(folder)
    assert equal(again.state_dict(), network.state_dict())
    assert spec_again == spec
    assert len(seen) == len(pack.rows("train"))
    card = read_card(folder, "encoder")
    assert card.content["encoder"] == {"name": "resnet18", "size": 32, "stem": "small", "mean": 0.4, "std": 0.1}
    assert (card.content["feature_dim"], card.content["method"]) == (512, "simclr")
    assert set(card.files) == {"encoder.safetensors", "seen.csv"}
    assert not (folder / "run.json").exists()


def test_weights_carry_the_public_names(made):
    assert {"conv1.weight", "layer1.0.bn1.running_var", "layer4.0.downsample.0.weight"} <= load_file(
        made[0] / "encoder.safetensors"
    ).keys()


def test_another_size_keeps_stem_and_weights(made):
    folder, network, _ = made
    again, spec, _ = load_encoder(folder, size=64)
    assert (spec.size, spec.stem, spec.mean) == (64, "small", 0.4)
    assert equal(again.state_dict(), network.state_dict())


def test_positions_of_a_vit_follow_the_size(tmp_path):
    spec = EncoderSpec("vit_small", 64)
    save_encoder(tmp_path, build_encoder(spec, seed=0), spec, config={}, seen=Seen.nothing())
    network, spec, _ = load_encoder(tmp_path, size=96)
    assert network.pos_embed.shape[1] == 1 + 12 * 12
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 96, 96)).shape == (1, 384)


def test_a_classifiers_encoder(tmp_path, made, pack):
    _, network, spec = made
    classifier = Classifier(network, spec, pack.findings)
    values = {name: {"value": 0.5, "rule": "f1", "reason": None} for name in pack.findings}
    save_classifier(tmp_path, classifier, thresholds=values, config={}, seen=Seen.of(pack, pack.rows("val"), "val"))
    again, spec_again, seen = load_encoder(tmp_path)
    assert equal(again.state_dict(), network.state_dict())
    assert spec_again == spec
    assert set(seen.table["role"]) == {"val"}


def test_random_is_fresh_and_takes_the_packs_statistics(pack):
    one, spec, seen = load_encoder("random", encoder="resnet18", seed=1, pack=pack)
    other, *_ = load_encoder("random", encoder="resnet18", seed=1, size=pack.size)
    third, *_ = load_encoder("random", encoder="resnet18", seed=2, size=pack.size)
    assert (spec.size, spec.mean, spec.std) == (pack.size, pack.mean, pack.std)
    assert equal(one.state_dict(), other.state_dict()) and not equal(one.state_dict(), third.state_dict())
    assert len(seen) == 0
    assert "without any Pack's images" in seen.overlap(pack, pack.rows("test")).text


@pytest.fixture
def public(tmp_path, monkeypatch):
    """A weights file as torchvision publishes it, in $KONTRAST_WEIGHTS."""
    state = dict(build_encoder(EncoderSpec("resnet18", 224), seed=9).state_dict())
    state["conv1.weight"] = torch.randn(64, 3, 7, 7)
    state["fc.weight"] = torch.randn(10, 512)
    path = tmp_path / "resnet18-f37072fd.safetensors"
    save_file(state, path)
    monkeypatch.setenv("KONTRAST_WEIGHTS", str(tmp_path))
    return path, state


def test_imagenet_says_what_it_left_out_and_keeps_its_stem(public, pack, capsys):
    network, spec, seen = load_encoder("imagenet", encoder="resnet18", pack=pack)
    assert (spec.size, spec.stem) == (32, "imagenet")
    torch.testing.assert_close(network.conv1.weight, public[1]["conv1.weight"].sum(1, keepdim=True))
    said = capsys.readouterr().out
    assert "fc.weight" in said and "every tensor matched" in said and "stem = imagenet" in said
    assert len(seen) == 0


def test_a_bare_weights_file_has_met_nobody_knows_whom(public, pack):
    _, _, seen = load_encoder(public[0], encoder="resnet18", size=64)
    overlap = seen.overlap(pack, pack.rows("test"))
    assert overlap.patients is None and "unknown" in overlap.text


def test_torch_files_load_too(tmp_path):
    network = build_encoder(EncoderSpec("resnet18", 32), seed=2)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    again, spec, _ = load_encoder(tmp_path / "w.pth", encoder="resnet18", size=224)
    assert spec.stem == "small"
    assert equal(again.state_dict(), network.state_dict())


def test_how_cards_name_a_source(made, public):
    assert [source_name(s) for s in ("random", "imagenet", made[0])] == ["random", "imagenet", "artifact"]
    assert source_name(public[0]).startswith("weights ") and len(source_name(public[0])) == 8 + 64
    assert source_parents("random") == source_parents(public[0]) == []
    assert source_parents(made[0])[0].kind == "encoder"


@pytest.mark.parametrize(
    ("source", "options", "error", "says"),
    [
        ("random", {}, UsageError, "--encoder"),
        ("random", {"encoder": "resnet51"}, UsageError, "resnet50"),
        ("imagnet", {}, ArtifactError, "Did you mean 'imagenet'?"),
        ("somewhere/else", {}, ArtifactError, "somewhere/else"),
    ],
)
def test_a_source_that_is_none(source, options, error, says):
    with pytest.raises(error) as caught:
        load_encoder(source, **options)
    assert says in str(caught.value)


def test_another_architecture_than_the_artifacts(made):
    assert load_encoder(made[0], encoder="resnet18")[1].name == "resnet18"
    with pytest.raises(UsageError, match="holds a resnet18"):
        load_encoder(made[0], encoder="resnet50")


def test_a_pack_is_no_encoder(pack):
    with pytest.raises(ArtifactError, match="it is a pack"):
        load_encoder(pack.path)


def test_a_flipped_bit_is_seen(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    data = bytearray((folder / "encoder.safetensors").read_bytes())
    data[-5] ^= 1
    (folder / "encoder.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match="checksum"):
        load_encoder(folder)


def test_seen_is_a_plain_table(made, pack):
    table = pd.read_csv(made[0] / "seen.csv", dtype=str)
    assert list(table.columns) == ["key_id", "patient_id", "sha256", "role", "look"]
    assert set(table["patient_id"]) <= set(pack.table["patient_id"])
