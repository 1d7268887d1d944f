"""fp16's loss scaling in the loop: what is clipped, and what a resume must not forget. The CPU stands in for a GPU."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.tiny import FakePack, Tiny
from kontrast.engine.batches import Batches
from kontrast.engine.history import read_history
from kontrast.engine.loop import LoopConfig, fit
from kontrast.engine.precision import Precision
from kontrast.errors import Interrupted

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _half(monkeypatch):
    half = Precision(name="fp16", device=CPU)
    monkeypatch.setattr("kontrast.engine.run.resolve_precision", lambda name, device: half)


def _fit(out, model, **options):
    out.mkdir(exist_ok=True)
    batches = Batches([(FakePack(), np.arange(40))], 8, 0, CPU)
    settings = {"lr": 0.01, "precision": "fp16", "log_every": 1} | options
    fit(model, batches, LoopConfig(**settings), out=out, device=CPU)
    return model


class _Gentle(Tiny):
    """Whose gradients fit fp16 at the first scale."""

    def step(self, batch, progress, generator):
        output = super().step(batch, progress, generator)
        return replace(output, loss=output.loss / 1000)


def test_t18_the_gradient_is_clipped_without_its_scale(tmp_path):
    model = _Gentle()
    start = {k: v.clone() for k, v in model.named_parameters()}
    _fit(tmp_path, model, steps=1, optimizer="sgd", clip=1.0, lr=1e-3, weight_decay=0)
    line = read_history(tmp_path / "metrics.jsonl")[0]
    moved = torch.cat([(p - start[k]).flatten() for k, p in model.named_parameters()]).detach().norm()
    assert line["loss_scale"] == 2.0**16
    assert line["grad_norm"] < 1  # the true one: times the scale it would be clipped
    assert float(moved) == pytest.approx(1e-3 * line["grad_norm"], rel=1e-3)


class _Steep(Tiny):
    """Has no finite gradient at first, which lowers the scale."""

    stop = False

    def step(self, batch, progress, generator):
        if self.stop and batch.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        output = super().step(batch, progress, generator)
        if batch.step < 4:
            first = self.net[0].weight.flatten()[0]
            output = replace(output, loss=output.loss + (first - first.detach()).sqrt())  # slope ∞ at 0
        return output


def test_t21_a_resumed_run_goes_on_with_its_scale(tmp_path):
    whole = _fit(tmp_path / "whole", _Steep(), steps=12)
    model = _Steep()
    model.stop = True
    with pytest.raises(Interrupted):
        _fit(tmp_path / "cut", model, steps=12)
    again = _fit(tmp_path / "cut", _Steep(), steps=12)
    scales = [[line["loss_scale"] for line in read_history(tmp_path / n / "metrics.jsonl")] for n in ("whole", "cut")]
    assert scales[0] == scales[1] and scales[0][-1] < 2.0**16
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
