"""Running commands in processes of their own, and whether two runs ended alike."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from kontrast.engine.checkpoint import list_checkpoints

SCRIPT = Path(__file__).parent / "run_pretrain.py"
TIMES = ("images_per_s", "wait_share")


def environment():
    """One thread a process: sums in another order would not agree bit for bit."""
    path = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def run(*words, code=0):
    """`python …`, which must end with this code."""
    command = [sys.executable, *map(str, words)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    assert result.returncode == code, (result.returncode, result.stdout + result.stderr)
    return result


def live(lives, processes, *words):
    """A command that is killed so often before it may end."""
    result = run(SCRIPT, "--lives", lives, "--processes", processes, *words)
    assert f"killed {lives} times" in result.stdout, "the run was too short to be killed so often"


def lines(folder):
    """The lines of a run but for times."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in found]


def flat(value, name=""):
    """Every leaf of nested dictionaries and lists, by its place; tensors as their bytes."""
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return flat(dict(enumerate(value)), name)
    if isinstance(value, torch.Tensor):
        return {name: (tuple(value.shape), value.dtype, value.contiguous().numpy().tobytes())}
    return {name: value}


def ended_alike(one, two):
    """Both folders hold the same but for times: weights, queues, optimiser, lines, every byte of the artifact."""
    names, others = (
        {p.name for p in folder.iterdir() if not p.name.startswith(("checkpoint-", "metrics"))} for folder in (one, two)
    )
    assert names == others
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert lines(one) == lines(two)
    steps = [line["step"] for line in lines(one)]
    assert steps == sorted(set(steps))
    states = [flat(torch.load(list_checkpoints(folder)[0], weights_only=True)) for folder in (one, two)]
    assert len(states[0]) > 50
    different = {k for k in states[0].keys() | states[1].keys() if states[0].get(k) != states[1].get(k)}
    assert different <= {"/seconds"}
