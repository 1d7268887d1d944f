"""A run to be killed: `python run_tiny.py OUT STEPS PAUSE [KILLS]`; ends by saving its weights in OUT/final.pt."""

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from tiny import FakePack, Tiny

from kontrast import console
from kontrast.engine.batches import Batches
from kontrast.engine.loop import Hook, LoopConfig, fit
from kontrast.engine.precision import resolve_device
from kontrast.errors import KontrastError


class Best(Hook):
    """Remembers the smallest weight norm: state that a resume must keep."""

    def __init__(self):
        self.best, self.calls = float("inf"), 0

    def on_epoch_end(self, model, step, epoch):
        self.calls += 1
        self.best = min(self.best, float(model.net[0].weight.detach().norm()))

    def state_dict(self):
        return {"best": self.best, "calls": self.calls}

    def load_state_dict(self, state):
        self.best, self.calls = state["best"], state["calls"]


class Slow(Tiny):
    """Takes its time, so that signals hit the middle of the run."""

    pause = 0.0

    def step(self, batch, progress, generator):
        time.sleep(self.pause)
        return super().step(batch, progress, generator)


def main(out: Path, steps: int, pause: float) -> None:
    torch.set_num_threads(1)
    device = resolve_device("cpu")
    console.configure(quiet=True)
    batches = Batches([(FakePack(), np.arange(40))], 8, 0, device)
    model, hook = Slow(), Best()
    model.pause = pause
    config = LoopConfig(
        steps=steps, lr=0.01, optimizer="adamw", clip=1.0, precision="fp32", log_every=3, checkpoint_every=2, warmup=5
    )
    fit(model, batches, config, out=out, device=device, hooks=[hook])
    torch.save({"model": model.state_dict(), "hook": hook.state_dict()}, out / "final.pt")


def killed(out: Path, steps: int, pause: float, kills: int) -> None:
    """The same run in children, each killed after a random while, until one ends. Forked: torch is loaded once."""
    rng = random.Random(0)
    done = 0
    while True:
        child = os.fork()
        if child == 0:
            main(out, steps, pause)
            os._exit(0)
        status = await_progress(out, child) if done < kills else None
        if done < kills and status is None:
            time.sleep(rng.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            done += 1
        status = os.waitpid(child, 0)[1] if status is None else status
        if os.WIFEXITED(status):
            print(done)
            sys.exit(os.WEXITSTATUS(status))


def await_progress(out: Path, child: int) -> int | None:
    """Wait until another checkpoint is there, so that each life gets somewhere; its status if the child ended."""
    before = set(out.glob("checkpoint-*.pt"))
    while not set(out.glob("checkpoint-*.pt")) - before:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    return None


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    try:
        if len(sys.argv) > 4:
            killed(folder, int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
        else:
            main(folder, int(sys.argv[2]), float(sys.argv[3]))
    except KontrastError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
