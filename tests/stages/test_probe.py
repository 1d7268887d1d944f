import json
import re

import numpy as np
import pandas as pd
import pytest

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import sha256_file
from kontrast.artifacts.claims import claim
from kontrast.artifacts.classifier import load_classifier
from kontrast.artifacts.encoder import load_encoder, save_encoder
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.engine.features import embed, predict
from kontrast.errors import ArtifactError, LeakageError, OutputError, TrainingError, UsageError


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("probe") / "pack", n=120)


def edit_table(path, change) -> None:
    """Rewrite a Pack's table and its checksum, as another preparation would have."""
    change(pd.read_csv(path / "table.csv", dtype=str).astype({"Disc": float, "Bar": float})).to_csv(
        path / "table.csv", index=False
    )
    card = json.loads((path / "card.json").read_text())
    card["files"]["table.csv"] = {
        "sha256": sha256_file(path / "table.csv"),
        "bytes": (path / "table.csv").stat().st_size,
    }
    (path / "card.json").write_text(json.dumps(card))


def test_the_head_is_the_logistic_regression_on_frozen_features(pack, tmp_path) -> None:
    made = kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18", seed=3)
    classifier, card, seen = load_classifier(made)
    encoder, spec, _ = load_encoder("random", encoder="resnet18", seed=3, pack=Pack.open(pack))
    for name, value in encoder.state_dict().items():
        assert (classifier.encoder.state_dict()[name] == value).all(), name  # frozen: not a bit moved
    data = Pack.open(pack)
    rows = data.rows("val")
    x = embed(encoder, spec, data, rows).astype(np.float64)
    head = classifier.head
    logits = x @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
    np.testing.assert_allclose(predict(classifier, data, rows, raw=True), 1 / (1 + np.exp(-logits)), atol=1e-4)
    assert made.summary["val"]["macro_auroc"] > 0.6
    assert set(seen.table["role"]) == {"train", "val"}
    assert all(card.content["thresholds"][f]["value"] is not None for f in classifier.findings)


def test_again_it_is_done_and_with_other_settings_refused(pack, tmp_path) -> None:
    kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18")
    assert kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18").status == "already done"
    with pytest.raises(OutputError, match="seed was 0, is 1"):
        kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18", seed=1)


@pytest.mark.parametrize(("split", "kept"), [("test", "test"), ("val", "val")])
def test_weights_that_met_a_held_out_split_are_refused_unless_allowed_and_marked(pack, tmp_path, split, kept) -> None:
    data = Pack.open(pack)
    encoder, spec, _ = load_encoder("random", encoder="resnet18", pack=data)
    met = Seen.of(data, data.rows("train"), "pretrain") + Seen.of(data, data.rows(split), "pretrain")
    claim(tmp_path / "e", "encoder", config={})
    save_encoder(tmp_path / "e", encoder, spec, config={}, seen=met)
    with pytest.raises(LeakageError, match=f"The {kept} split of this Pack is not held out"):
        kontrast.probe(tmp_path / "e", pack, out=tmp_path / "c")
    assert not (tmp_path / "c").exists()
    made = kontrast.probe(tmp_path / "e", pack, out=tmp_path / "c", allow_overlap=True)
    asked = {"allow_overlap": True, "replicates": 20}
    scores = json.loads((kontrast.evaluate(made, pack, out=tmp_path / "s", **asked).out / "scores.json").read_text())
    assert f"{kept} is not held out" in scores["note"]


def test_labels_of_val_may_have_chosen_the_weights_before(pack, tmp_path) -> None:
    data = Pack.open(pack)
    encoder, spec, _ = load_encoder("random", encoder="resnet18", pack=data)
    claim(tmp_path / "e", "encoder", config={})
    save_encoder(tmp_path / "e", encoder, spec, config={}, seen=Seen.of(data, data.rows("val"), "val"))
    made = kontrast.probe(tmp_path / "e", pack, out=tmp_path / "c")
    assert made.summary["earlier_labels"] == len(data.rows("val"))


def test_validation_says_how_many_images_it_rests_on(tmp_path, capsys) -> None:
    path = make_pack(tmp_path / "pack", n=60, size=16, unclear=0.2)
    made = kontrast.probe("random", path, out=tmp_path / "c", encoder="resnet18", uncertain="ignore", blank="ignore")
    data = Pack.open(path)
    labels = data.labels(data.rows("val"))
    shares, table = re.split(r"AUROC on validation *\n", capsys.readouterr().out)
    assert not np.isin(labels, (0, 1)).all()
    for f, name in enumerate(data.findings):
        known, positive = int(np.isin(labels[:, f], (0, 1)).sum()), int((labels[:, f] == 1).sum())
        assert 0 < positive < known <= len(labels)
        assert made.summary["val"]["n"][name] == known and made.summary["val"]["positives"][name] == positive
        (line,) = [line.split() for line in table.splitlines() if line.strip().startswith(name)]
        assert line[1:3] == [str(known), str(positive)]
        (line,) = [line.split() for line in shares.splitlines() if line.strip().startswith(name)]
        assert line[4:] == [str(positive), "/", str(known)]
    assert table.split()[:5] == ["finding", "n", "pos", "linear", "kNN"]


def test_a_fraction_is_of_patients(pack, tmp_path) -> None:
    made = kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18", label_fraction=0.5, dry_run=True)
    data = Pack.open(pack)
    patients = data.table["patient_id"].iloc[data.rows("train")].nunique()
    assert made.summary["train_patients"] == round(patients / 2)
    assert made.status == "planned"
    assert not (tmp_path / "c").exists()


def test_a_finding_with_one_class_is_left_out_and_said(tmp_path, capsys) -> None:
    # every certain label of Bar is negative once its positives are blank and blank means negative
    path = make_pack(tmp_path / "pack", n=60)
    edit_table(path, lambda table: table.assign(Bar=table["Bar"].where(table["Bar"] != 1)))
    made = kontrast.probe("random", path, out=tmp_path / "c", encoder="resnet18")
    assert list(made.summary["positives"]) == ["Disc"]
    assert "negative" in made.summary["dropped"]["Bar"]
    said = capsys.readouterr()
    assert "warning: left out: Bar (all" in said.err
    data = Pack.open(path)
    of = []
    for split in ("train", "val"):
        labels = data.labels(data.rows(split))[:, data.findings.index("Disc")]
        of += [str((labels == 1).sum()), "/", str(len(labels))]  # a blank is negative, an uncertain label too
    assert ["Disc", *of] in [line.split() for line in said.out.splitlines()]
    assert "macro of 1" in said.out


@pytest.mark.parametrize("command", [kontrast.probe, kontrast.finetune, kontrast.embed])
def test_a_wrong_word_for_the_encoder_is_named_before_the_pack_is_opened(tmp_path, command) -> None:
    with pytest.raises(ArtifactError, match="Did you mean 'imagenet'"):
        command("imagnet", tmp_path / "no pack", out=tmp_path / "c")


def test_an_unknown_finding_names_its_neighbour(pack, tmp_path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'Disc'"):
        kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18", findings=("Disk",))


def test_too_few_labels_say_what_to_set(pack, tmp_path) -> None:
    with pytest.raises(TrainingError, match="both classes"):
        kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18", label_fraction=0.001)


@pytest.mark.parametrize(
    ("option", "word"),
    [({"label_fraction": 1.5}, "--label-fraction"), ({"neighbours": 0}, "--neighbours"), ({"blank": "zero"}, "blank")],
)
def test_wrong_values_are_named_as_typed(pack, tmp_path, option, word) -> None:
    with pytest.raises(UsageError, match=word):
        kontrast.probe("random", pack, out=tmp_path / "c", **option)


def test_a_wrong_option_names_its_neighbour(pack, tmp_path) -> None:
    with pytest.raises(UsageError, match="label_fraction"):
        kontrast.probe("random", pack, out=tmp_path / "c", label_fracton=0.1)
