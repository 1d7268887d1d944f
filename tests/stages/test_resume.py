"""A training that is stopped or killed, however often, ends as one that was not; or says why it cannot."""

import itertools
import os
import signal

import numpy as np
import pytest
import torch

import kontrast
from engine.crashes import put, watched
from helpers import make_pack
from kontrast.artifacts.card import read_card
from kontrast.artifacts.seen import Seen
from kontrast.engine import checkpoint, finetuning, selfsupervised
from kontrast.engine.checkpoint import list_checkpoints
from kontrast.engine.loop import LoopConfig
from kontrast.errors import Interrupted, OutputError
from kontrast.methods import METHODS
from kontrast.nn.encoders import ENCODERS
from stages.ends import SCRIPT, ended_alike, lines, live, run
from stages.run_pretrain import TOYS

SMALL = {"encoder": "toy", "batch_size": 12, "precision": "fp32", "device": "cpu", "epochs": 3}
WORDS = ["--encoder", "toy", "--batch-size", "12", "--precision", "fp32", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    # one thread, as in the processes started below: sums in another order would not agree bit for bit
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, make in TOYS.items():
        monkeypatch.setitem(ENCODERS, name, make)
    monkeypatch.setitem(LoopConfig.__init__.__kwdefaults__, "checkpoint_every", 7)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kept(monkeypatch):
    """The last checkpoint stays."""
    monkeypatch.setattr(checkpoint, "remove_checkpoints", lambda *_: None)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "a", n=60, size=16)


MOCO = ("--method", "moco", "--positives", "patient", "--queue-length", "12")


def test_killed_a_few_times_it_ends_in_the_same_bits(pack, tmp_path, kept):
    asked = SMALL | {"method": "moco", "positives": "patient", "queue_length": 12, "epochs": 30}
    kontrast.pretrain(pack, out=tmp_path / "whole", **asked)
    live(4, 1, "pretrain", pack, "--out", tmp_path / "killed", *WORDS, "--epochs", "30", *MOCO)
    ended_alike(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_killed_fifty_times_it_ends_in_the_same_bits(pack, tmp_path, processes):
    """Three add in another order than two: where a tensor stands in a bucket then decides its last bits."""
    for name, lives in (("whole", 0), ("killed", 50)):
        live(lives, processes, "pretrain", pack, "--out", tmp_path / name, *WORDS, "--epochs", "250", *MOCO)
    ended_alike(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", [1, 2])
def test_fine_tuning_killed_ten_times_ends_in_the_same_bits(pack, tmp_path, processes):
    for name, lives in (("whole", 0), ("killed", 10)):
        live(lives, processes, "finetune", "random", pack, "--out", tmp_path / name, *WORDS, "--epochs", "120")
    ended_alike(tmp_path / "whole", tmp_path / "killed")


@pytest.fixture
def stopped(monkeypatch):
    """Have a signal arrive at the end of a step, counted from 1, once."""

    def stop_in(step, number=signal.SIGTERM):
        steps = itertools.count(1)
        for model in (selfsupervised.SelfSupervised, finetuning.Supervised):

            def signalled(self, progress, plain=model.after_step):
                if next(steps) == step:
                    os.kill(os.getpid(), number)
                plain(self, progress)

            monkeypatch.setattr(model, "after_step", signalled)

    return stop_in


@pytest.mark.parametrize("method", [*METHODS, "simclr in chunks"])
def test_every_method_goes_on_exactly(pack, tmp_path, kept, stopped, method):
    """Queues, centres, teachers, momenta of the optimiser: all that the next step reads is in the checkpoint."""
    method, _, chunks = method.partition(" in ")
    asked = SMALL | {"method": method, "encoder": "vit_toy" if METHODS[method].needs_vit else "toy", "epochs": 2}
    asked |= {"chunk_size": 6} if chunks else {}
    kontrast.pretrain(pack, out=tmp_path / "whole", **asked)
    stopped(5)
    with pytest.raises(Interrupted) as error:
        kontrast.pretrain(pack, out=tmp_path / "cut", **asked)
    assert error.value.exit_code == 75
    assert [p.name for p in list_checkpoints(tmp_path / "cut")] == ["checkpoint-00000005.pt"]
    kontrast.pretrain(pack, out=tmp_path / "cut", **asked)
    ended_alike(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("damage", ["cut short", "a byte flipped", "empty"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(pack, tmp_path, kept, stopped, capsys, damage):
    kontrast.pretrain(pack, out=tmp_path / "whole", **SMALL | {"epochs": 4})
    stopped(11)
    with pytest.raises(Interrupted):
        kontrast.pretrain(pack, out=tmp_path / "cut", **SMALL | {"epochs": 4})
    newest, before = list_checkpoints(tmp_path / "cut")
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 16
    newest.write_bytes({"cut short": bytes(data[:-1]), "a byte flipped": bytes(data), "empty": b""}[damage])
    kontrast.pretrain(pack, out=tmp_path / "cut", **SMALL | {"epochs": 4})
    said = capsys.readouterr()
    assert f"{newest.name} is damaged" in said.err and "Resuming after step 7 " in said.out and "00007" in before.name
    ended_alike(tmp_path / "whole", tmp_path / "cut")


def _cut(pack, out, stopped, **asked):
    stopped(5)
    with pytest.raises(Interrupted):
        kontrast.pretrain(pack, out=out, **SMALL | asked)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"lr": 0.01}, "lr was 'auto', is 0.01"),
        ({"epochs": 4}, "epochs was 3.0, is 4.0"),
        ({"precision": "bf16"}, "precision"),
        ({"device": "auto"}, "device"),
        ({"seed": 1}, "seed"),
        ({"temperature": 0.1}, "temperature"),
        ({"method": "byol"}, "method"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_other_settings_are_refused_and_change_nothing(pack, tmp_path, stopped, changed, word):
    _cut(pack, tmp_path / "e", stopped)
    before = {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir()}
    with pytest.raises(OutputError) as error:
        kontrast.pretrain(pack, out=tmp_path / "e", **SMALL | changed)
    assert word in error.value.problem and "--allow-changes" in error.value.fix
    assert {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir()} == before


def test_other_packs_are_refused_and_change_nothing(pack, tmp_path, stopped):
    other = make_pack(tmp_path / "b", n=60, size=16, seed=5)
    _cut(pack, tmp_path / "e", stopped)
    for packs in ([other], [pack, other]):
        with pytest.raises(OutputError, match="other inputs: not the same pack") as error:
            kontrast.pretrain(*packs, out=tmp_path / "e", **SMALL)
        assert "--allow-changes" in error.value.fix


def test_allowed_changes_go_on_and_stay_in_the_card(pack, tmp_path, stopped, capsys):
    """A longer run at another rate, of a Pack more, and the one Pack's patients are not forgotten."""
    other = make_pack(tmp_path / "b", n=60, size=16, seed=5)
    _cut(pack, tmp_path / "e", stopped)
    asked = SMALL | {"epochs": 4, "lr": 0.01}
    kontrast.pretrain(other, out=tmp_path / "e", allow_changes=True, **asked)
    said = capsys.readouterr()
    assert "Resuming after step 5 of 12" in said.out and "otherwise than before" in said.err
    card = read_card(tmp_path / "e")
    assert card.content["plan"]["steps"] == 12 and card.config["epochs"] == 4
    (change,) = card.content["changes"]
    assert change["step"] == 5
    for word in ("lr was", "epochs was 3.0, is 4.0", "packs was", "image ids was"):
        assert sum(words.startswith(word) for words in change["changed"]) == 1, word
    alone = {}
    for name, packs in (("first", [pack]), ("second", [other])):
        kontrast.pretrain(*packs, out=tmp_path / name, **SMALL)
        alone[name] = set(Seen.load(tmp_path / name).table["sha256"])
    assert set(Seen.load(tmp_path / "e").table["sha256"]) == alone["first"] | alone["second"]
    assert not alone["first"] & alone["second"]
    assert [line["step"] for line in lines(tmp_path / "e")] == list(range(1, 13))
    again = kontrast.pretrain(other, out=tmp_path / "e", **asked)
    assert again.status == "already done"
    with pytest.raises(OutputError, match="finished encoder made with other settings"):
        kontrast.pretrain(other, out=tmp_path / "e", allow_changes=True, **SMALL)


def test_what_never_fits_is_refused_though_changes_are_allowed(pack, tmp_path, stopped):
    _cut(pack, tmp_path / "e", stopped)
    before = {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir()}
    kontrast.pretrain(pack, out=tmp_path / "start", **SMALL)
    for changed, word in (
        ({"method": "byol"}, "method"), ({"options": {"dim": 64}}, "network"), ({"optimizer": "sgd"}, "optimizer"),
        ({"init": str(tmp_path / "start"), "encoder": "auto"}, "start"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=f"{word} was") as error:
            kontrast.pretrain(pack, out=tmp_path / "e", allow_changes=True, **SMALL | changed)
        assert "never" in error.value.fix
        assert {p.name: p.read_bytes() for p in (tmp_path / "e").iterdir()} == before
    kontrast.pretrain(pack, out=tmp_path / "e", **SMALL)
    assert "changes" not in read_card(tmp_path / "e").content


def test_nothing_changed_is_no_change(pack, tmp_path, stopped, kept):
    kontrast.pretrain(pack, out=tmp_path / "whole", **SMALL)
    _cut(pack, tmp_path / "e", stopped)
    kontrast.pretrain(pack, out=tmp_path / "e", allow_changes=True, **SMALL)
    ended_alike(tmp_path / "whole", tmp_path / "e")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["killed", "cut"])
def test_the_command_finishes_every_folder_that_a_crash_can_leave(pack, tmp_path, kind):
    """From the claim to the last file removed; the folder is then as that of a run that was not disturbed."""

    def found(folder):
        files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "metrics.jsonl"}
        return files, lines(folder)

    with watched(tmp_path / "whole") as watch:
        kontrast.pretrain(pack, out=tmp_path / "whole", **SMALL)
    states = getattr(watch, kind)
    assert len(states) > 40
    for i, (files, _) in enumerate(states):
        folder = put(files, tmp_path / str(i))
        kontrast.pretrain(pack, out=folder, **SMALL)
        assert found(folder) == found(tmp_path / "whole"), (i, sorted(files))


def _two_then_one(pack, out, method, first, then, stopped):
    """A run of 9 steps, stopped after 5 on `first` processes and finished on `then`."""
    words = ["pretrain", pack, "--out", out, *WORDS, "--epochs", "3", "--method", method]
    for processes, last in ((first, False), (then, True)):
        if processes == 2:
            stop = () if last else ("--stop-by", int(signal.SIGTERM), 1, 5)
            result = run(SCRIPT, "--lives", 0, "--processes", 2, *stop, *words, code=0 if last else 75)
            assert f"ended with {[0, 0] if last else [75, 75]}" in result.stdout
        elif last:
            kontrast.pretrain(pack, out=out, method=method, **SMALL)
        else:
            stopped(5)
            with pytest.raises(Interrupted):
                kontrast.pretrain(pack, out=out, method=method, **SMALL)


@pytest.mark.parametrize(
    ("method", "first", "then"),
    [
        ("simclr", 2, 1),
        pytest.param("simclr", 1, 2, marks=pytest.mark.slow),
        pytest.param("moco", 2, 1, marks=pytest.mark.slow),
    ],
)
def test_another_number_of_processes_goes_on_and_says_so(pack, tmp_path, stopped, method, first, then):
    """The same batches and views, summed in another order: nearly the same, which is not the same."""
    _two_then_one(pack, tmp_path / "e", method, first, then, stopped)
    (change,) = read_card(tmp_path / "e").content["changes"]
    assert change == {"step": 5, "changed": [f"processes was {first}, is {then}"]}
    kontrast.pretrain(pack, out=tmp_path / "whole", method=method, **SMALL)
    assert "changes" not in read_card(tmp_path / "whole").content
    found, whole = lines(tmp_path / "e"), lines(tmp_path / "whole")
    assert [line["step"] for line in found] == [line["step"] for line in whole] == list(range(1, 10))
    if method == "simclr":  # MoCo's batch-norm sees other groups
        np.testing.assert_allclose([one["loss"] for one in found], [one["loss"] for one in whole], rtol=1e-4)


def test_fine_tuning_goes_on_exactly_and_is_as_strict(pack, tmp_path, kept, stopped):
    asked = SMALL | {"epochs": 4}
    kontrast.finetune("random", pack, out=tmp_path / "whole", **asked)
    stopped(5)
    with pytest.raises(Interrupted):
        kontrast.finetune("random", pack, out=tmp_path / "cut", **asked)
    before = {p.name: p.read_bytes() for p in (tmp_path / "cut").iterdir()}
    for changed in ({"lr": 0.01}, {"loss": "focal"}, {"uncertain": "ones"}, {"label_fraction": 0.5}):
        with pytest.raises(OutputError, match="other settings") as error:
            kontrast.finetune("random", pack, out=tmp_path / "cut", **asked | changed)
        assert "--allow-changes" in error.value.fix
    for changed, word in (({"findings": ("Disc",)}, "network"), ({"optimizer": "sgd"}, "optimizer")):
        with pytest.raises(OutputError, match=f"{word} was"):
            kontrast.finetune("random", pack, out=tmp_path / "cut", allow_changes=True, **asked | changed)
    assert {p.name: p.read_bytes() for p in (tmp_path / "cut").iterdir()} == before
    for name in ("exact", "changed"):
        put(before, tmp_path / name)
    kontrast.finetune("random", pack, out=tmp_path / "exact", **asked)
    ended_alike(tmp_path / "whole", tmp_path / "exact")
    kontrast.finetune("random", pack, out=tmp_path / "changed", allow_changes=True, **asked | {"loss": "focal"})
    (change,) = read_card(tmp_path / "changed").content["changes"]
    assert change == {"step": 5, "changed": ["loss was 'bce', is 'focal'"]}
