import json
import math

import pytest
import torch

import kontrast
from helpers import make_pack
from kontrast.artifacts.classifier import load_classifier
from kontrast.errors import UsageError


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("finetune") / "pack", n=120)


SMALL = {"encoder": "resnet18", "epochs": 2, "batch_size": 24}


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
    one = kontrast.finetune("random", pack, out=tmp_path / "a", **SMALL)
    two = kontrast.finetune("random", pack, out=tmp_path / "b", **SMALL)
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
    made = kontrast.finetune("random", pack, out=tmp_path / "c", encoder="resnet18", epochs=1, **option)
    assert 0 <= made.summary["val"]["macro_auroc"] <= 1


def test_a_model_that_ignores_uncertain_labels_fills_them(tmp_path, capsys) -> None:
    pack = make_pack(tmp_path / "pack", n=60, size=16, unclear=0.25)
    policy = "selftrained,Bar=multiclass"
    made = kontrast.finetune("random", pack, out=tmp_path / "c", encoder="resnet18", epochs=1, uncertain=policy)
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
