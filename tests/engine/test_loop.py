"""The loop: what it logs, how it stops, and that a resume is exact."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from engine.tiny import FakePack, Tiny
from kontrast.engine.batches import Batches
from kontrast.engine.checkpoint import list_checkpoints
from kontrast.engine.history import read_history
from kontrast.engine.loop import Hook, LoopConfig, fit
from kontrast.engine.precision import Precision
from kontrast.engine.schedule import schedule
from kontrast.errors import Interrupted, OutputError, TrainingError

CPU = torch.device("cpu")
SCRIPT = Path(__file__).parent / "run_tiny.py"
TIMES = ("images_per_s", "wait_share")


def _fit(out, model=None, hooks=(), seed=0, **options):
    model = model or Tiny()
    batches = Batches([(FakePack(), np.arange(40))], 8, seed, CPU)
    settings = {"steps": 13, "lr": 0.01, "precision": "fp32", "log_every": 4} | options
    return model, fit(model, batches, LoopConfig(**settings), out=out, device=CPU, hooks=hooks)


def _lines(out):
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_history(out / "metrics.jsonl")]


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_it_learns_and_logs(tmp_path):
    _, result = _fit(tmp_path, steps=200, log_every=50)
    lines = read_history(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [50, 100, 150, 200]
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert {"epoch", "loss", "lr", "grad_norm", "half", *TIMES} <= lines[0].keys()
    assert lines[0]["lr"] == pytest.approx(np.mean([0.01 * schedule("cosine", s, 200) for s in range(50)]))
    assert (result.steps, result.last, result.stopped) == (200, lines[-1], False)
    assert result.images_per_second > 0 and 0 <= result.wait_share <= 1


def test_same_seed_same_weights_whatever_the_callers_random_state(tmp_path):
    models = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        model = Tiny()
        torch.manual_seed(random.randrange(2**31))
        before = torch.get_rng_state()
        models.append(_fit(tmp_path / name, model, seed=seed)[0].state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert _same(models[0], models[1])
    assert not _same(models[0], models[2])


class _StopAt(Hook):
    def __init__(self, epoch):
        self.epoch, self.seen = epoch, []

    def on_epoch_end(self, model, step, epoch):
        self.seen.append((step, epoch))
        model.eval()  # a hook that forgets to go back to training
        return "stop" if epoch == self.epoch else None

    def on_log(self, model, step, output, line):
        line["shape"] = list(output.features.shape)
        line["training"] = model.training


def test_hooks_see_epochs_add_to_the_log_and_stop(tmp_path):
    hook = _StopAt(2)
    model, result = _fit(tmp_path, hooks=[hook])
    assert hook.seen == [(5, 1), (10, 2)]
    assert (result.steps, result.stopped) == (10, True)
    assert all(line["shape"] == [8, 1] and line["training"] for line in _lines(tmp_path))
    # once stopped, the same call again has nothing to do
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    again, result = _fit(tmp_path, hooks=[_StopAt(2)])
    assert (result.steps, result.stopped) == (10, True)
    assert _same(weights, again.state_dict())


def test_the_runs_end_counts_as_an_epochs_end(tmp_path):
    hook = _StopAt(99)
    _fit(tmp_path, hooks=[hook])
    assert hook.seen == [(5, 1), (10, 2), (13, 3)]


def test_the_moments_of_a_step(tmp_path):
    class Diary(Tiny):
        calls: ClassVar[list] = []

        def step(self, batch, progress, generator):
            self.calls.append(("step", progress, self.net[0].weight.detach().clone()))
            return super().step(batch, progress, generator)

        def after_backward(self, step, progress):
            assert self.net[0].weight.grad is not None
            self.calls.append(("after_backward", step, progress))

        def after_step(self, progress):
            self.calls.append(("after_step", progress, self.net[0].weight.detach().clone()))

    _fit(tmp_path, Diary(), steps=2)
    assert [(c[0], c[1]) for c in Diary.calls] == [
        ("step", 0), ("after_backward", 0), ("after_step", 0),
        ("step", 0.5), ("after_backward", 1), ("after_step", 0.5),
    ]  # fmt: skip
    assert not torch.equal(Diary.calls[0][2], Diary.calls[2][2])  # the optimiser comes before after_step
    assert torch.equal(Diary.calls[2][2], Diary.calls[3][2])


def test_clipping_limits_the_global_norm(tmp_path):
    class Check(Tiny):
        def step(self, batch, progress, generator):
            output = super().step(batch, progress, generator)
            output.loss = output.loss * 1000
            return output

    model = Check()
    start = {k: v.clone() for k, v in model.named_parameters()}
    _fit(tmp_path, model, steps=1, optimizer="sgd", clip=0.5, lr=1.0, weight_decay=0, log_every=1)
    moved = torch.cat([(p - start[k]).flatten() for k, p in model.named_parameters()])
    assert float(moved.detach().norm()) == pytest.approx(0.5, rel=1e-4)
    assert _lines(tmp_path)[0]["grad_norm"] > 0.5  # logged as it was before


@pytest.mark.parametrize("bad", [0, 6])
def test_a_loss_that_is_not_finite_stops_with_step_and_images(tmp_path, bad):
    batches = Batches([(FakePack(), np.arange(40))], 8, 0, CPU)
    with pytest.raises(TrainingError, match=f"step {bad + 1}") as error:
        _fit(tmp_path, Tiny(bad_step=bad), checkpoint_every=2)
    for name in batches.at(bad).ids:
        assert name in error.value.problem
    steps = [int(p.stem.split("-")[1]) for p in list_checkpoints(tmp_path)]
    assert steps == ([] if bad == 0 else [6, 4])
    assert (tmp_path / f"nonfinite-{bad + 1:08d}.csv").read_text().split()[1:] == batches.at(bad).ids
    for path in list_checkpoints(tmp_path):
        assert all(torch.isfinite(v).all() for v in torch.load(path, weights_only=True)["model"].values())


def test_a_loss_that_is_not_finite_on_another_process_stops_this_one(tmp_path, monkeypatch):
    """Else this one would wait for the other's next message for ever."""
    monkeypatch.setattr("kontrast.engine.run.distributed.all_reduce_mean", lambda x: x * np.nan)
    with pytest.raises(TrainingError, match="finite"):
        _fit(tmp_path)


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Root(Tiny):
        def step(self, batch, progress, generator):
            output = super().step(batch, progress, generator)
            zero = (self.net[0].weight * 0).sum()
            output.loss = output.loss + zero.sqrt()  # 0, with an infinite slope
            return output

    model = Root()
    before = {k: v.clone() for k, v in model.named_parameters()}
    with pytest.raises(TrainingError, match="step 1,"):
        _fit(tmp_path, model)
    assert _same(before, dict(model.named_parameters()))


def test_another_configuration_is_refused(tmp_path):
    _fit(tmp_path)
    with pytest.raises(OutputError, match=r"lr was 0\.01, is 0\.02"):
        _fit(tmp_path, lr=0.02)
    with pytest.raises(OutputError, match="network"):
        _fit(tmp_path, _wider())


def _wider():
    model = Tiny()
    model.register_buffer("more", torch.zeros(3))
    return model


def test_bf16_trains_and_keeps_fp32_weights(tmp_path):
    model, result = _fit(tmp_path, precision="bf16")
    assert np.isfinite(result.last["loss"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}


class _Interrupt(Tiny):
    number = signal.SIGTERM

    def step(self, batch, progress, generator):
        if batch.step == 7:
            os.kill(os.getpid(), self.number)
        return super().step(batch, progress, generator)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=lambda x: str(int(x))
)
def test_a_signal_finishes_the_step_saves_and_a_rerun_is_exact(tmp_path, number, code):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole, _ = _fit(tmp_path / "whole")
    model = _Interrupt()
    model.number = number
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted) as error:
        _fit(tmp_path / "cut", model)
    assert error.value.exit_code == code
    assert signal.getsignal(number) == handler
    assert list_checkpoints(tmp_path / "cut")[0].name == "checkpoint-00000008.pt"
    again, _ = _fit(tmp_path / "cut")
    assert _same(whole.state_dict(), again.state_dict())
    assert _lines(tmp_path / "whole") == _lines(tmp_path / "cut")


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    class Twice(Tiny):
        def step(self, batch, progress, generator):
            if batch.step == 3:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return super().step(batch, progress, generator)

    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, Twice())
    assert not list_checkpoints(tmp_path)


def _run(*words):
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert _run(whole, 99, 0).returncode == 0
    process = _run(out, 99, 0.001, 10)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) >= 4  # killed that often before it got through
    expected, found = (torch.load(folder / "final.pt", weights_only=True) for folder in (whole, out))
    assert _same(expected["model"], found["model"])
    assert expected["hook"] == found["hook"]
    assert _lines(out) == _lines(whole)
    assert [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()] == [
        *range(3, 100, 3)
    ]


def test_a_damaged_newest_checkpoint_costs_steps_not_exactness(tmp_path, capsys):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole, _ = _fit(tmp_path / "whole")
    with pytest.raises(Interrupted):
        _fit(tmp_path / "cut", _Interrupt(), checkpoint_every=3)
    newest = list_checkpoints(tmp_path / "cut")[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    again, _ = _fit(tmp_path / "cut", checkpoint_every=3)
    assert "damaged" in capsys.readouterr().err
    assert _same(whole.state_dict(), again.state_dict())
    assert _lines(tmp_path / "whole") == _lines(tmp_path / "cut")


def test_fp16_whose_gradients_never_fit_is_refused_in_words(tmp_path, monkeypatch):
    """On a CPU fp16 is refused before; the loop is the same."""

    class Steep(Tiny):
        def step(self, batch, progress, generator):
            output = super().step(batch, progress, generator)
            first = self.net[0].weight.flatten()[0]
            return replace(output, loss=output.loss + (first - first.detach()).sqrt())  # slope ∞ at 0

    half = Precision(name="fp16", device=CPU)
    monkeypatch.setattr("kontrast.engine.run.resolve_precision", lambda name, device: half)
    with pytest.raises(TrainingError, match="do not fit fp16") as error:
        _fit(tmp_path, Steep(), steps=60)
    assert "--precision bf16" in error.value.fix
    scales = [line["loss_scale"] for line in read_history(tmp_path / "metrics.jsonl")]
    assert scales[:2] == [2.0**12, 2.0**8] and scales[-1] >= 2.0**-10
    (tmp_path / "fits").mkdir()
    assert _fit(tmp_path / "fits", steps=60)[1].last["loss_scale"] > 2.0**10


class _Ends(Hook):
    """Takes a quarter of an hour at each line, and ends the run at step 8."""

    ahead = 0.0

    def on_log(self, model, step, output, line):
        self.ahead += 900
        return TrainingError("It is enough.", fix="Stop.") if step == 8 else None

    def monotonic(self):
        return time.monotonic() + self.ahead


def test_a_hook_ends_the_run_after_saving_and_its_time_is_not_training(tmp_path, monkeypatch):
    hook = _Ends()
    monkeypatch.setattr("kontrast.engine.run.time", hook)
    with pytest.raises(TrainingError, match="enough"):
        _fit(tmp_path, hooks=[hook])
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000008.pt"]
    lines = read_history(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [4, 8]
    assert lines[1]["images_per_s"] > 32 / 450  # 4 steps of 8 images, on a machine however busy
    _, result = _fit(tmp_path, hooks=[Hook()])
    assert result.steps == 13 and result.seconds < 450
    assert [line["step"] for line in read_history(tmp_path / "metrics.jsonl")] == [4, 8, 12, 13]
