import json

import numpy as np
import pandas as pd
import pytest
import torch

import kontrast
from helpers import make_pack
from kontrast import console
from kontrast.artifacts.card import read_card
from kontrast.cli import main
from kontrast.errors import ArtifactError, OutputError, UsageError
from kontrast.nn.encoders import EncoderSpec, build_encoder


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("packs") / "pack", n=20)


def test_features_stand_in_the_tables_order(pack, tmp_path):
    outcome = kontrast.embed("random", pack, out=tmp_path / "e", encoder="resnet18", device="cpu", seed=4)
    features, rows = np.load(outcome.out / "features.npy"), pd.read_csv(outcome.out / "rows.csv")
    table = pd.read_csv(pack / "table.csv", dtype={"image_id": str})
    assert (features.dtype, features.shape) == (np.float32, (20, 512))
    assert rows["image_id"].astype(str).tolist() == table["image_id"].tolist()
    assert rows["split"].tolist() == table["split"].tolist()
    assert outcome.summary == {"images": 20, "feature_dim": 512, "encoder": "resnet18", "size": 16}
    card = read_card(outcome.out, "embedding")
    assert [p.role for p in card.parents] == ["pack"]
    image = np.load(pack / "images-00000.npy")[7].astype(np.float32) / 255
    content = read_card(pack).content
    x = torch.from_numpy((image - content["mean"]) / content["std"])[None, None].float()
    with torch.no_grad():
        expected = build_encoder(EncoderSpec("resnet18", 16), seed=4).eval()(x)[0]
    np.testing.assert_allclose(features[7], expected, rtol=1e-3, atol=1e-4)


def test_one_split(pack, tmp_path):
    kontrast.embed("random", pack, out=tmp_path / "e", encoder="resnet18", split="test", device="cpu")
    assert set(pd.read_csv(tmp_path / "e" / "rows.csv")["split"]) == {"test"}


def test_again_is_done_and_other_settings_are_refused(pack, tmp_path, capsys):
    options = {"out": tmp_path / "e", "encoder": "resnet18", "device": "cpu"}
    assert kontrast.embed("random", pack, **options, dry_run=True).status == "planned"
    assert not (tmp_path / "e").exists()
    assert kontrast.embed("random", pack, **options).status == "done"
    before = (tmp_path / "e" / "features.npy").stat().st_mtime_ns
    again = kontrast.embed("random", pack, **options)
    assert (again.status, again.summary["images"]) == ("already done", 20)
    assert (tmp_path / "e" / "features.npy").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="size was left out, is 24; seed was 0, is 1"):
        kontrast.embed("random", pack, **options, size=24, seed=1)


def test_the_command_prints_json(pack, tmp_path, capsys):
    words = ["embed", "random", str(pack), "--out", str(tmp_path / "e"), "--encoder", "resnet18", "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--size", "24", "--json"])
    console.configure()  # --json had sent the lines elsewhere
    assert end.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["status"], printed["size"], printed["feature_dim"]) == ("done", 24, 512)


@pytest.mark.parametrize(
    ("encoder", "options", "error", "says"),
    [
        ("random", {}, UsageError, "--encoder"),
        ("nowhere", {}, ArtifactError, "nowhere"),
        ("random", {"encoder": "resnet18", "batch_size": 0}, UsageError, "--batch-size"),
        ("random", {"encoder": "vit_small", "size": 33}, UsageError, "multiple of 8"),
        ("random", {"encoder": "resnet18", "splitt": "val"}, UsageError, "'split'"),
    ],
)
def test_mistakes_leave_nothing_behind(pack, tmp_path, encoder, options, error, says):
    with pytest.raises(error) as caught:
        kontrast.embed(encoder, pack, out=tmp_path / "e", **options)
    assert says in str(caught.value)
    assert not (tmp_path / "e").exists()


def test_a_pickle_in_place_of_weights_is_refused(pack, tmp_path):
    import os
    import pickle

    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Touch()))
    with pytest.raises(ArtifactError, match="pickle"):
        kontrast.embed(tmp_path / "weights.pth", pack, out=tmp_path / "e", encoder="resnet18")
    assert not (tmp_path / "canary").exists() and not (tmp_path / "e").exists()
