"""A run is killed, or loses its power, at every moment at which its files change, and goes on from each."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.crashes import put, watched
from engine.tiny import FakePack, Tiny
from kontrast import console
from kontrast.engine import checkpoint, run
from kontrast.engine.batches import Batches
from kontrast.engine.loop import LoopConfig, fit

CPU = torch.device("cpu")
CONFIG = LoopConfig(steps=5, lr=0.01, precision="fp32", log_every=1, checkpoint_every=2)


@pytest.fixture(autouse=True)
def _quiet():
    console.configure(quiet=True)
    yield
    console.configure()


def _fit(out: Path):
    """The weights that it ends with, and the lines of its file."""
    model = Tiny()
    fit(model, Batches([(FakePack(), np.arange(40))], 8, 0, CPU), CONFIG, out=out, device=CPU)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    lines = [{k: v for k, v in line.items() if k not in ("images_per_s", "wait_share")} for line in lines]
    return {k: v.numpy().tobytes() for k, v in model.state_dict().items()}, lines


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """What a whole run ends with, and every state that a crash could leave, with the last step saved by then."""
    out = tmp_path_factory.mktemp("whole")
    plain = run.save_checkpoint
    with watched(out) as watch, pytest.MonkeyPatch.context() as patch:
        watch.note = 0

        def save(folder, step, state):
            plain(folder, step, state)
            watch.note = step

        patch.setattr(run, "save_checkpoint", save)
        ended = _fit(out)
    return ended, watch


@pytest.mark.parametrize("kind", ["killed", "cut"])
def test_a_run_goes_on_exactly_from_every_state_and_loses_nothing_saved(crashed, tmp_path, capsys, kind):
    ended, watch = crashed
    states = getattr(watch, kind)
    assert len(states) > 20
    for i, (files, saved) in enumerate(states):
        folder = put(files, tmp_path / str(i))
        found = checkpoint._newest(folder)
        assert (found["step"] if found else 0) >= saved, (i, sorted(files))
        assert _fit(folder) == ended, (i, sorted(files))
