"""`kontrast pretrain --watch`: scores by labels while it trains, the best weights beside the last, exact resumes."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import read_card, sha256_file
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.engine import watching
from kontrast.engine.features import embed
from kontrast.engine.linear import fit_path, knn
from kontrast.errors import LeakageError, UsageError
from kontrast.nn.encoders import ENCODERS
from stages.run_pretrain import Toy
from stages.test_pretrain import SCRIPT, _command, _lines, _run, _same, _weights

SMALL = {"encoder": "toy", "batch_size": 8, "precision": "fp32", "epochs": 2, "device": "cpu", "method": "simclr"}
SCORES = {"knn_auroc", "probe_auroc"}


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setitem(ENCODERS, "toy", lambda spec: Toy())
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "a", n=60, size=16)


def test_scores_are_in_the_lines_and_the_best_weights_beside_the_last(pack, tmp_path, capsys):
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", watch=str(pack), watch_every=3, **SMALL)
    lines = _lines(tmp_path / "e")
    assert [line["step"] for line in lines if line.keys() >= SCORES] == [3, 6, 8]
    best = max((line for line in lines if "probe_auroc" in line), key=lambda line: line["probe_auroc"])
    found = outcome.summary["watch"]
    assert found["best"]["step"] == best["step"] and found["best"]["probe_auroc"] == best["probe_auroc"]
    assert found["last"]["step"] == 8 and found["last"]["probe_auroc"] == lines[-1]["probe_auroc"]
    said = capsys.readouterr().out
    assert f"after step {best['step']}, is kept in {tmp_path / 'e' / 'best'}" in said and "blank = negative" in said

    card = read_card(tmp_path / "e/best", "encoder")
    assert card.content["summary"]["chosen"] == f"step {best['step']} of 8, the best by a probe on labels"
    assert card.content["summary"]["steps"] == best["step"]
    assert [p.role for p in card.parents] == ["pack", "watch"]
    chosen, last = Seen.load(tmp_path / "e/best").table, Seen.load(tmp_path / "e").table
    assert set(last["role"]) == {"pretrain"}, "labels had no part in the last weights"
    assert set(chosen["role"]) == {"pretrain", "train", "val"}, "they had one in the choice of the best"
    again = kontrast.pretrain(pack, out=tmp_path / "e", watch=str(pack), watch_every=3, **SMALL)
    assert again.status == "already done" and again.summary["watch"] == found


def test_the_last_weights_are_those_of_a_run_without_a_watch(pack, tmp_path):
    kontrast.pretrain(pack, out=tmp_path / "plain", **SMALL)
    kontrast.pretrain(pack, out=tmp_path / "watched", watch=str(pack), **SMALL)
    assert _same(_weights(tmp_path / "plain"), _weights(tmp_path / "watched"))
    without = [{k: v for k, v in line.items() if k not in SCORES} for line in _lines(tmp_path / "watched")]
    assert without == _lines(tmp_path / "plain")


def test_scores_are_those_of_the_kept_weights(pack, tmp_path):
    """The best Encoder, opened anew, scores what its card says; scikit-learn counts the AUROC."""
    pack = make_pack(tmp_path / "more", n=240, size=16, splits=(0.3, 0.6))
    kontrast.pretrain(pack, out=tmp_path / "e", watch=str(pack), watch_every=2, **SMALL)
    card = read_card(tmp_path / "e/best")
    encoder, spec, _ = load_encoder(tmp_path / "e/best")
    data = Pack.open(pack)
    train, val = data.rows("train"), data.rows("val")
    x, z = (embed(encoder, spec, data, rows) for rows in (train, val))
    y, truth = (np.nan_to_num(data.labels(rows), nan=0) > 0.5 for rows in (train, val))
    y, ones = y.astype(np.float32), np.ones(y.shape, np.float32)
    for name, p in (
        ("probe_auroc", fit_path(x, y, ones, [0.1])[0].probabilities(z)),
        ("knn_auroc", knn(x, y, ones, z)),
    ):
        mine = np.mean([roc_auc_score(truth[:, f], p[:, f]) for f in range(2)])
        assert card.content["summary"]["watch"]["best"][name] == pytest.approx(mine, abs=1e-6)


def test_scores_say_that_labels_chose_the_encoder(pack, tmp_path, capsys):
    kontrast.pretrain(pack, out=tmp_path / "e", watch=str(pack), **SMALL)
    for encoder, note in (("e", None), ("e/best", "the labels of 48 images made or chose the encoder")):
        made = kontrast.probe(tmp_path / encoder, pack, out=tmp_path / "p" / encoder, label_fraction=0.5)
        assert made.summary.get("earlier_labels") == (48 if note else None)
        scored = kontrast.evaluate(made, pack, out=tmp_path / "s" / encoder, replicates=20)
        said = json.loads((tmp_path / "s" / encoder / "scores.json").read_text()).get("note")
        assert (said is None) if note is None else note in said, scored
    assert "chose this encoder before" in capsys.readouterr().err


def test_by_default_there_are_about_twenty_scores(pack, tmp_path):
    kontrast.pretrain(pack, out=tmp_path / "e", watch=str(pack), **{**SMALL, "epochs": 15})
    assert [line["step"] for line in _lines(tmp_path / "e") if "probe_auroc" in line] == list(range(3, 61, 3))


def _with_column(folder, column, value, split):
    """A Pack changed in one column of one split, its card made to agree."""
    path = folder / "table.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[table["split"] == split, column] = value
    table.to_csv(path, index=False, lineterminator="\n")
    card = json.loads((folder / "card.json").read_text())
    card["files"]["table.csv"] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_where_no_finding_has_both_classes_it_is_null_with_a_reason(pack, tmp_path, capsys):
    flat = _with_column(make_pack(tmp_path / "flat", n=60, size=16), ["Disc", "Bar"], "0", "val")
    kontrast.pretrain(pack, out=tmp_path / "e", watch=str(flat), watch_every=4, **SMALL)
    scored = [line for line in _lines(tmp_path / "e") if "probe_auroc" in line]
    assert [(line["knn_auroc"], line["probe_auroc"]) for line in scored] == [(None, None)] * 2
    assert "both classes among the 12 val images" in scored[0]["watch_reason"]
    assert not (tmp_path / "e/best").exists() and "no weights could be chosen" in capsys.readouterr().out


def test_features_that_are_not_finite_are_no_score(pack):
    encoder, spec, _ = load_encoder("random", encoder="toy", pack=Pack.open(pack))
    with torch.no_grad():
        encoder.body[0].bias[0] = math.inf
    task, _ = watching.watch_task(Pack.open(pack), Seen.nothing(), 0)
    found = watching.score(encoder, spec, task, torch.device("cpu"))
    assert found == {"knn_auroc": None, "probe_auroc": None, "watch_reason": "features are not finite"}


def test_many_images_are_thinned_by_whole_patients(pack, monkeypatch):
    monkeypatch.setattr(watching, "IMAGES", 10)
    data = Pack.open(pack)
    task, _ = watching.watch_task(data, Seen.nothing(), 0)
    patients = data.table["patient_id"].to_numpy()
    for rows, split in ((task.train, "train"), (task.val, "val")):
        assert 0 < len(rows) <= 12 and set(rows) < set(data.rows(split))
        assert set(data.rows(split)[np.isin(patients[data.rows(split)], patients[rows])]) == set(rows)


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"splits": (1.0, 0.0)}, {}, UsageError, "no val split"),
        ({"splits": (0.0, 0.5)}, {}, UsageError, "no train split"),
        ({"findings": ()}, {}, UsageError, "no labels"),
        ({"splits": (0.2, 0.8)}, {}, LeakageError, "shared with the training data"),
        ({}, {"watch_every": 0}, UsageError, "--watch-every"),
        ({}, {"watch": None, "watch_every": 3}, UsageError, "without --watch"),
    ],
    ids=["no val", "no train", "no labels", "leak", "never", "alone"],
)
def test_what_cannot_be_watched_with_is_refused(pack, tmp_path, change, options, error, words):
    other = make_pack(tmp_path / "other", n=60, size=16, **change)
    with pytest.raises(error, match=words):
        kontrast.pretrain(pack, out=tmp_path / "e", **{**SMALL, "watch": str(other), **options})
    assert not (tmp_path / "e").exists()


def test_patients_met_with_other_images_are_a_leak_too(pack, tmp_path):
    met = str(Pack.open(pack).table["patient_id"].iloc[0])
    other = _with_column(make_pack(tmp_path / "other", n=60, size=16, seed=9), "patient_id", met, "val")
    with pytest.raises(LeakageError, match="1 patient and 0 images"):
        kontrast.pretrain(pack, out=tmp_path / "e", watch=str(other), **SMALL)


def test_an_unknown_overlap_is_said_and_an_earlier_life_counts(pack, tmp_path, capsys):
    nameless = make_pack(tmp_path / "nameless", n=40, size=16, seed=3, patients_known=False)
    outcome = kontrast.pretrain(pack, out=tmp_path / "e", watch=str(nameless), **SMALL)
    assert "is unknown" in capsys.readouterr().err and "unknown" in outcome.summary["watch"]["overlap"]
    other = make_pack(tmp_path / "other", n=40, size=16, seed=5)
    met = make_pack(tmp_path / "met", n=60, size=16, splits=(0.2, 0.8))
    kontrast.pretrain(other, out=tmp_path / "b", watch=str(met), **SMALL)
    with pytest.raises(LeakageError):
        kontrast.pretrain(other, out=tmp_path / "c", init=str(tmp_path / "e"), watch=str(met), **SMALL)


def test_the_test_split_is_never_read(pack, tmp_path, monkeypatch):
    data = Pack.open(pack)
    test = set(data.rows("test"))
    for name in ("images", "labels"):
        read = getattr(Pack, name)

        def careful(self, rows, read=read):
            assert not test & set(np.asarray(rows).tolist())
            return read(self, rows)

        monkeypatch.setattr(Pack, name, careful)
    kontrast.pretrain(pack, out=tmp_path / "e", watch=str(pack), **SMALL)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_scores_and_the_same_best(pack, tmp_path):
    asked = ("--epochs", "40", "--method", "simclr", "--watch", pack, "--watch-every", "5")
    result = _run(str(SCRIPT), "--kills", "5", *_command(pack, tmp_path / "killed", *asked))
    assert result.returncode == 0, result.stderr
    assert "kills left: 0" in result.stdout
    kontrast.pretrain(
        pack, out=tmp_path / "whole", **{**SMALL, "epochs": 40, "device": "auto"}, watch=str(pack), watch_every=5
    )
    assert _lines(tmp_path / "whole") == _lines(tmp_path / "killed")
    for place in ("card.json", "best/card.json", "best/seen.csv"):
        assert (tmp_path / "whole" / place).read_bytes() == (tmp_path / "killed" / place).read_bytes(), place
    best, last = (load_file(tmp_path / "killed" / place / "encoder.safetensors") for place in ("best", "."))
    assert _same(best, _weights(tmp_path / "whole/best")) and not _same(best, last)


@pytest.mark.slow
def test_of_two_processes_one_scores_and_both_go_on(pack, tmp_path):
    base = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    asked = ("--epochs", "3", "--method", "simclr", "--watch", pack, "--watch-every", "4")
    result = _run(*base, *_command(pack, tmp_path / "two", *asked))
    assert result.returncode == 0, result.stderr
    scored = [line for line in _lines(tmp_path / "two") if "probe_auroc" in line]
    assert [line["step"] for line in scored] == [4, 8, 12] and (tmp_path / "two/best/card.json").exists()
