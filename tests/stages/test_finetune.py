import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import read_card
from kontrast.artifacts.classifier import load_classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine.features import predict
from kontrast.errors import ArtifactError, UsageError

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("finetune") / "pack", n=120)


TOY = {"encoder": "toy", "epochs": 2, "batch_size": 24}
SMALL = TOY | {"encoder": "resnet18"}


def test_all_weights_move_and_the_best_epoch_is_kept(pack, tmp_path) -> None:
    start, _, _ = load_classifier(kontrast.probe("random", pack, out=tmp_path / "p", encoder="resnet18"))
    made = kontrast.finetune("random", pack, out=tmp_path / "c", **SMALL)
    classifier, card, _ = load_classifier(made)
    before, after = dict(start.named_parameters()), dict(classifier.named_parameters())
    assert all(not torch.equal(before[name], after[name]) for name in after)
    assert made.summary["best_epoch"] in (1, 2)
    assert card.content["protocol"] == "finetune"
    assert not list(made.out.glob("checkpoint-*")), "the finished artifact keeps no checkpoint"
    lines = [json.loads(line) for line in (made.out / "metrics.jsonl").read_text().splitlines()]
    assert all(line["grad_norm"] > 0 and 0 <= line["lr"] <= 1e-4 for line in lines)
    assert lines[-1]["val_auroc"] is not None


def test_the_random_baseline_starts_from_a_head_that_fits(pack, tmp_path) -> None:
    # Its batch-norm knows no image yet: a head fitted on such features began with ten times the loss of guessing.
    still = {"encoder": "resnet18", "epochs": 1, "batch_size": 24, "lr": 1e-9, "recipe": "none"}
    made = kontrast.finetune("random", pack, out=tmp_path / "c", **still)
    lines = [json.loads(line) for line in (made.out / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] < math.log(2)


def test_two_runs_start_from_the_same_weights_and_end_the_same(pack, tmp_path) -> None:
    # The first version handed the backbone on by reference: the second run began where the first had ended.
    one = kontrast.finetune("random", pack, out=tmp_path / "a", **TOY)
    two = kontrast.finetune("random", pack, out=tmp_path / "b", **TOY)
    a, b = (load_classifier(made)[0].state_dict() for made in (one, two))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "option",
    [
        {"loss": "focal"},
        {"pos_weight": "balanced"},
        {"sampler": "weighted"},
        {"uncertain": "soft"},
        {"uncertain": "ones,Disc=ignore", "blank": "ignore"},
        {"start_head": "random", "recipe": "none", "optimizer": "sgd", "schedule": "onecycle", "patience": 1},
    ],
    ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items()),
)
def test_every_choice_trains(pack, tmp_path, option) -> None:
    made = kontrast.finetune("random", pack, out=tmp_path / "c", encoder="toy", epochs=1, **option)
    assert 0 <= made.summary["val"]["macro_auroc"] <= 1


def test_a_model_that_ignores_uncertain_labels_fills_them(tmp_path, capsys) -> None:
    pack = make_pack(tmp_path / "pack", n=60, size=16, unclear=0.25)
    policy = "selftrained,Bar=multiclass"
    made = kontrast.finetune("random", pack, out=tmp_path / "c", encoder="toy", epochs=1, uncertain=policy)
    classifier, card, _ = load_classifier(made)
    taught, teacher, _ = load_classifier(made.out / "teacher")
    assert card.content["label_policy"]["uncertain"] == policy
    assert teacher.config["uncertain"] == "Disc=ignore,Bar=multiclass"
    again = {**card.config, "uncertain": "ignore,Bar=multiclass"}
    assert {k: v for k, v in teacher.config.items() if k not in ("uncertain", "findings")} == {
        k: v for k, v in again.items() if k not in ("uncertain", "findings")
    }
    # of one seed and the same images: they differ by the labels that were filled, which are no positives of the table
    assert not torch.equal(classifier.head.weight, taught.head.weight)
    assert made.summary["positives"]["Disc"] == teacher.content["summary"]["positives"]["Disc"]
    capsys.readouterr()
    scores = kontrast.evaluate(made, pack, out=tmp_path / "e", uncertain="ignore", replicates=20)
    assert f"uncertain = ignore, blank = negative; trained with uncertain = {policy}." in capsys.readouterr().out
    assert json.loads((scores.out / "scores.json").read_text())["trained_with"]["uncertain"] == policy
    with pytest.raises(UsageError, match="selftrained is for training"):
        kontrast.evaluate(made, pack, out=tmp_path / "f", uncertain="selftrained")


@pytest.mark.slow
def test_a_small_fraction_still_gets_steps(pack, tmp_path) -> None:
    made = kontrast.finetune("random", pack, out=tmp_path / "c", encoder="resnet18", label_fraction=0.2)
    assert made.summary["steps"] >= 200


def test_wrong_values_are_named_as_typed(pack, tmp_path) -> None:
    with pytest.raises(UsageError, match="--batch-size"):
        kontrast.finetune("random", pack, out=tmp_path / "c", batch_size=0)
    with pytest.raises(UsageError, match="bce"):
        kontrast.finetune("random", pack, out=tmp_path / "c", loss="bse")


def test_permuted_labels_make_a_classifier_that_only_explain_takes(tmp_path, capsys) -> None:
    pack = make_pack(tmp_path / "pack", n=60, size=16)
    options = SMALL | {"epochs": 1, "lr": 1e-5, "recipe": "none"}  # the head that it starts from fits 36 images already
    made = kontrast.finetune("random", pack, out=tmp_path / "c", permute_labels=True, **options)
    card = read_card(made)
    assert card.content["permuted_labels"] and made.summary["best_epoch"] is None and made.summary["val_images"] == 0
    assert all(one["value"] is None for one in card.content["thresholds"].values())
    assert "AUROC on validation" not in capsys.readouterr().out
    data = Pack.open(pack)
    model, *_ = load_classifier(made, permuted=True)
    y = data.labels(data.rows("train")) == 1
    p = predict(model, data, data.rows("train"))
    order = np.random.default_rng([0, 2]).permutation(len(y))
    fits = [np.mean([roc_auc_score(t[:, f], p[:, f]) for f in (0, 1)]) for t in (y[order], y)]
    assert fits[0] > 0.9 and fits[1] < 0.8 and made.summary["fit"] == pytest.approx(fits[0], abs=1e-6)
    for refused in (
        lambda: kontrast.evaluate(made, pack, out=tmp_path / "e"),
        lambda: kontrast.audit(pack, out=tmp_path / "a", classifier=made.out),
        lambda: kontrast.explain(made, pack, out=tmp_path / "x"),
        lambda: kontrast.probe(made, pack, out=tmp_path / "p"),
    ):
        with pytest.raises(ArtifactError, match="trained on permuted labels"):
            refused()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "pack"]
    page = kontrast.report(pack, made.out, out=tmp_path / "page.html").out.read_text()
    assert "classifier of permuted labels" in page and 'id="finetuning"' not in page
    with pytest.raises(UsageError, match="there is none here"):
        kontrast.report(pack, made.out, out=tmp_path / "p.html", cards=tmp_path / "cards")
