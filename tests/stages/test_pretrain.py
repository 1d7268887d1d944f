"""`kontrast pretrain` from Pack to Encoder: every method, resume, refusals, several Packs, several processes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import read_card
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.seen import Seen
from kontrast.errors import ArtifactError, OutputError, TrainingError, UsageError
from kontrast.methods import METHODS
from kontrast.nn.encoders import ENCODERS
from kontrast.nn.vit import VisionTransformer
from stages.run_pretrain import Toy

SCRIPT = Path(__file__).parent / "run_pretrain.py"
ASKED = {"encoder": "toy", "batch_size": 8, "precision": "fp32"}
SMALL = {**ASKED, "epochs": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    # one thread, as in the processes started below: sums in another order would not agree bit for bit
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setitem(ENCODERS, "toy", lambda spec: Toy())
    monkeypatch.setitem(ENCODERS, "vit_toy", lambda spec: VisionTransformer(
        size=spec.size, patch=spec.patch, dim=12, depth=1, heads=1
    ))  # fmt: skip
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "a", n=60, size=16)


def _weights(folder):
    return load_file(folder / "encoder.safetensors")


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def _lines(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("images_per_s", "wait_share")} for line in lines]


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_makes_an_encoder(pack, tmp_path, method):
    small = SMALL | ({"encoder": "vit_toy"} if METHODS[method].needs_vit else {})
    widths = [f for f in dataclasses.fields(METHODS[method].Config) if f.name in ("dim", "hidden_dim")]
    small["options"] = {f.name: 64 for f in widths if f.default != "auto"}
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", method=method, **small)
    assert (outcome.status, outcome.summary["method"], outcome.summary["steps"]) == ("done", method, 8)
    encoder, spec, seen = load_encoder(tmp_path / "e")
    assert spec.size == 16 and encoder(torch.zeros(2, 1, 16, 16)).shape == (2, 12)
    assert set(seen.table["role"]) == {"pretrain"} and len(seen) == 36
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == [
        "card.json", "encoder.safetensors", "metrics.jsonl", "seen.csv", "views.png",
    ]  # fmt: skip
    line = _lines(tmp_path / "e")[-1]
    assert line["step"] == 8 and np.isfinite(line["loss"])
    assert {"feature_std_ratio", "effective_rank", "grad_norm", "lr"} <= line.keys()
    card = read_card(tmp_path / "e", "encoder")
    assert card.content["plan"]["batch_size"] == 8 and "auto" not in card.content["plan"].values()
    assert card.config["method"] == method and card.config["lr"] == "auto"
    assert small["options"].items() <= card.content["plan"]["options"].items()
    assert [p.role for p in card.parents] == ["pack"]
    again = kontrast.pretrain(pack, out=tmp_path / "e", method=method, **small)
    assert again.status == "already done" and again.summary["loss"] == outcome.summary["loss"]


def test_what_is_left_open_is_chosen_and_said(pack, tmp_path, capsys):
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", encoder="toy", epochs=1)
    said = capsys.readouterr().out
    for option in ("--device", "--method", "--size", "--batch-size", "--optimizer", "--lr", "--precision"):
        assert f"{option} = " in said, option
    assert outcome.summary["method"] == "moco"


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(pack, tmp_path):
    torch.manual_seed(1)
    kontrast.pretrain(pack, out=tmp_path / "a", **SMALL)
    torch.manual_seed(2)
    kontrast.pretrain(pack, out=tmp_path / "b", **SMALL)
    kontrast.pretrain(pack, out=tmp_path / "c", seed=1, **SMALL)
    assert (tmp_path / "a/card.json").read_bytes() == (tmp_path / "b/card.json").read_bytes()
    assert not _same(_weights(tmp_path / "a"), _weights(tmp_path / "c"))


def test_several_packs_of_several_sizes(pack, tmp_path, capsys):
    other = make_pack(tmp_path / "b", n=40, size=24, seed=5)
    outcome = kontrast.pretrain(pack, other, out=tmp_path / "e", **SMALL)
    assert outcome.summary["images"] == 36 + 24
    assert "24 px are reduced to 16 px" in capsys.readouterr().out
    card = read_card(tmp_path / "e")
    assert len(card.parents) == 2 and card.content["plan"]["size"] == 16
    assert len(Seen.load(tmp_path / "e")) == 60


@pytest.mark.parametrize("method", ["dinov2", "mae"])
def test_hiding_patches_takes_a_vision_transformer(pack, tmp_path, capsys, method):
    with pytest.raises(UsageError, match=r"Vision Transformer.*toy"):
        kontrast.pretrain(pack, out=tmp_path / "e", method=method, **SMALL)
    assert not (tmp_path / "e").exists()
    asked = {name: value for name, value in SMALL.items() if name != "encoder"}
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", method=method, **asked, dry_run=True)
    assert outcome.summary["plan"]["encoder"] == "vit_small" and "hides patches" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["moco", "simclr", "byol", "swav"])
def test_pairs_of_a_patient_train_and_are_said(pack, tmp_path, capsys, method):
    kontrast.pretrain(pack, out=tmp_path / "e", method=method, positives="patient", **SMALL)
    said = capsys.readouterr().out
    assert "--positives = patient  (36 of 36 images have another of their patient)" in said
    card, line = read_card(tmp_path / "e"), _lines(tmp_path / "e")[-1]
    assert card.content["plan"]["positives"] == card.config["positives"] == "patient"
    if method in ("moco", "simclr"):
        assert "--same-patient-negatives = mask  (36 of 36" in said
        assert card.content["plan"]["options"]["same_patient_negatives"] == "mask"
        assert line["same_patient_negatives"] > 0
    kontrast.pretrain(pack, out=tmp_path / "plain", method=method, **SMALL)
    assert not _same(_weights(tmp_path / "e"), _weights(tmp_path / "plain"))


def test_kept_negatives_are_counted_and_unknown_patients_give_the_published_loss(pack, tmp_path, capsys):
    kontrast.pretrain(pack, out=tmp_path / "keep", method="simclr", same_patient_negatives="keep", **SMALL)
    nameless = make_pack(tmp_path / "p", n=60, size=16, patients_known=False)
    kontrast.pretrain(nameless, out=tmp_path / "nameless", method="simclr", **SMALL)
    assert "patients are not known" in capsys.readouterr().out
    kept, unknown = _lines(tmp_path / "keep"), _lines(tmp_path / "nameless")
    assert all("same_patient_negatives" not in line for line in unknown)
    assert [line["loss"] for line in kept] == [line["loss"] for line in unknown]  # the same pictures
    assert sum(line["same_patient_negatives"] for line in kept) > 0


def test_labels_are_never_read(pack, tmp_path, monkeypatch):
    from kontrast.artifacts.pack import Pack

    monkeypatch.setattr(Pack, "labels", lambda *_: pytest.fail("pretrain read a label"))
    kontrast.pretrain(pack, out=tmp_path / "e", **SMALL)


def test_it_goes_on_from_another_encoder(pack, tmp_path):
    kontrast.pretrain(pack, out=tmp_path / "a", **SMALL)
    other = make_pack(tmp_path / "p", n=40, size=16, seed=5)
    kontrast.pretrain(other, out=tmp_path / "b", init=str(tmp_path / "a"), **{**SMALL, "lr": 1e-9, "epochs": 1})
    card = read_card(tmp_path / "b")
    assert [p.role for p in card.parents] == ["pack", "encoder"]
    assert card.content["pixels"] == read_card(tmp_path / "a").content["pixels"]
    assert len(Seen.load(tmp_path / "b")) == 36 + 24
    first, second = _weights(tmp_path / "a"), _weights(tmp_path / "b")
    assert torch.allclose(first["body.0.weight"], second["body.0.weight"], atol=1e-6)


def test_a_wrong_word_for_the_weights_is_named_before_a_pack_is_opened(tmp_path):
    with pytest.raises(ArtifactError, match="Did you mean 'imagenet'"):
        kontrast.pretrain(tmp_path / "no pack", out=tmp_path / "e", init="imagnet")


def test_minutes_become_steps(pack, tmp_path, capsys):
    settings = {k: v for k, v in SMALL.items() if k != "epochs"}
    start = time.monotonic()
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", minutes=0.05, **settings)
    assert outcome.summary["steps"] >= 3
    assert time.monotonic() - start < 30
    assert "0.05 minutes at" in capsys.readouterr().out


def test_a_dry_run_writes_nothing_and_says_its_plan(pack, tmp_path, capsys):
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", minutes=5, encoder="toy", dry_run=True)
    plan = outcome.summary["plan"]
    assert outcome.status == "planned" and plan["method"] == "moco"
    assert plan["steps"] is plan["epochs"] is None  # they are measured
    assert "into 5 minutes" in capsys.readouterr().out
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", epochs=3, encoder="toy", batch_size=8, dry_run=True)
    plan = outcome.summary["plan"]
    said = capsys.readouterr().out
    for part in ("pretrain a toy with moco", f"{plan['steps']:,} steps, 3 epochs, of 8 images", f"lr {plan['lr']:g}"):
        assert part in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"method": "mocco"}, "moco"),
        ({"encoder": "resnet19"}, "resnet18"),
        ({"batch_size": 100}, "--batch-size"),
        ({"prototypes": 9}, "--prototypes"),
        ({"epochs": 1, "minutes": 1}, "--minutes"),
        ({"temperature": 0.0}, "--temperature"),
        ({"momentum": 1.5}, "--momentum"),
        ({"size": 8}, "--size"),
        ({"precision": "fp16"}, "fp16"),
        ({"queue_length": 1000}, "--queue-length"),
        ({"epoch": 5}, "epochs"),
        ({"device": "gpu"}, "cuda"),
        ({"lr": -1.0}, "--lr"),
        ({"positives": "patients"}, "patient"),
        ({"positives": "study"}, "--positives patient or image"),
        ({"same_patient_negatives": "drop"}, "mask"),
        ({"same_patient_negatives": "mask", "method": "byol"}, "--same-patient-negatives"),
        ({"chunk_size": 8}, "simclr"),
        ({"chunk_size": 1}, "--chunk-size"),
        ({"chunk_size": 3, "batch_size": 8, "method": "simclr"}, "--chunk-size 2"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_wrong_settings_are_named_and_leave_the_folder_free(pack, tmp_path, options, word):
    with pytest.raises(UsageError) as error:
        kontrast.pretrain(pack, out=tmp_path / "e", **options)
    assert word in str(error.value)
    assert not (tmp_path / "e").exists()


def test_no_pack_and_a_taken_folder(pack, tmp_path):
    with pytest.raises(UsageError, match="No Pack"):
        kontrast.pretrain(out=tmp_path / "e")
    kontrast.pretrain(pack, out=tmp_path / "e", **SMALL)
    with pytest.raises(OutputError, match="lr was"):
        kontrast.pretrain(pack, out=tmp_path / "e", lr=0.5, **SMALL)


def _command(pack, out, *more):
    words = ["pretrain", pack, "--out", out, "--encoder", "toy", "--batch-size", "8", "--precision", "fp32", *more]
    return [str(word) for word in words]


def _run(*words, **options):
    path = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, timeout=200, **options)


def test_sigterm_ends_with_75_and_the_plan_is_kept(pack, tmp_path):
    out = tmp_path / "e"
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = _command(pack, out, "--minutes", "0.12")
    process = subprocess.Popen([sys.executable, str(SCRIPT), *command], env=env, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not ((out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 75, error
    assert "SIGTERM" in error and "Run the same command again" in error
    plan = json.loads((out / "plan.json").read_text())
    result = _run(str(SCRIPT), *command, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == plan["steps"]
    assert [line["step"] for line in _lines(out)] == sorted({line["step"] for line in _lines(out)})


def test_a_batch_in_chunks_is_in_the_plan_and_trains(pack, tmp_path):
    small = {**ASKED, "epochs": 1, "device": "cpu", "method": "simclr"}
    kontrast.pretrain(pack, out=tmp_path / "plain", **small)
    kontrast.pretrain(pack, out=tmp_path / "chunks", chunk_size=4, **small)
    assert read_card(tmp_path / "chunks").content["plan"]["chunk_size"] == 4
    plain, chunks = _lines(tmp_path / "plain"), _lines(tmp_path / "chunks")
    assert plain[0]["loss"] != chunks[0]["loss"], "other batch-norm groups"


@pytest.mark.slow
def test_two_processes_share_the_chunks_of_a_batch(pack, tmp_path):
    base = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    asked = ["--epochs", "3", "--method", "simclr", "--chunk-size", "2", "--positives", "patient"]
    result = _run(*base, *_command(pack, tmp_path / "two", *asked))
    assert result.returncode == 0, result.stderr
    kontrast.pretrain(pack, out=tmp_path / "one", method="simclr", chunk_size=2, positives="patient", **ASKED, epochs=3)
    assert read_card(tmp_path / "one").content["plan"]["chunk_size"] == 2
    one, two = _lines(tmp_path / "one"), _lines(tmp_path / "two")
    np.testing.assert_allclose([line["loss"] for line in one], [line["loss"] for line in two], rtol=2e-3)
    assert [line["same_patient_negatives"] for line in one] == [line["same_patient_negatives"] for line in two]
    others = _weights(tmp_path / "two")
    for name, value in _weights(tmp_path / "one").items():
        torch.testing.assert_close(value, others[name], rtol=2e-2, atol=2e-3)


def test_a_collapse_is_said_or_ends_the_run_which_goes_on_if_asked(pack, tmp_path, monkeypatch, capsys):
    from kontrast.engine import monitor

    # A calm run that is called a collapse whatever its last bits are: no processor decides which sign it shows.
    monkeypatch.setattr(monitor, "FEW", 1000.0)
    settings = {**SMALL, "epochs": 14, "lr": 0.001}
    kontrast.pretrain(pack, out=tmp_path / "warned", **settings)
    assert "after step 50: features vary in" in capsys.readouterr().err
    for _ in range(2):
        with pytest.raises(TrainingError, match="stopped, after step 50") as error:
            kontrast.pretrain(pack, out=tmp_path / "stopped", on_collapse="stop", **settings)
        assert "--lr 0.001 where 0.000177 is usual" in error.value.fix and "--on-collapse warn" in error.value.fix
        assert (tmp_path / "stopped/checkpoint-00000050.pt").exists()
        assert not (tmp_path / "stopped/card.json").exists()
    kontrast.pretrain(pack, out=tmp_path / "stopped", **settings)
    assert (tmp_path / "stopped/card.json").read_bytes() == (tmp_path / "warned/card.json").read_bytes()
    assert _lines(tmp_path / "stopped") == _lines(tmp_path / "warned")
    capsys.readouterr()
    assert kontrast.pretrain(pack, out=tmp_path / "warned", on_collapse="stop", **settings).status == "already done"
