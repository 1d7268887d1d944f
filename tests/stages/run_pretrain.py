"""`kontrast` with a toy encoder beside the real ones, so that a whole run takes a second: `run_pretrain.py pretrain …`.

With `--kills N` the run is forked and killed N times at random moments before it may end.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from kontrast.cli import main
from kontrast.engine.loop import LoopConfig
from kontrast.nn.backbone import Encoder
from kontrast.nn.encoders import ENCODERS


class Toy(Encoder):
    feature_dim = 12

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU(),
        )  # fmt: skip

    def feature_maps(self, x):
        return self.body(x)


def await_progress(metrics, child):
    """Wait until the child logs a line, so that each life gets somewhere; its status if it ended."""
    stamp = metrics.stat().st_mtime_ns if metrics.exists() else 0
    seen = 0
    while seen < 2:  # opening the file for appending is the first change
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        now = metrics.stat().st_mtime_ns if metrics.exists() else stamp
        seen += now != stamp
        stamp = now
        time.sleep(0.001)
    return None


def killed(words, kills):
    rng = random.Random(0)
    metrics = Path(words[words.index("--out") + 1]) / "metrics.jsonl"
    while True:
        child = os.fork()
        if child == 0:
            main(words)
        status = await_progress(metrics, child) if kills else None
        if kills and status is None:
            time.sleep(rng.uniform(0, 0.2))
            os.kill(child, signal.SIGKILL)
            kills -= 1
        status = os.waitpid(child, 0)[1] if status is None else status
        if os.WIFEXITED(status):
            print("kills left:", kills)
            sys.exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    torch.set_num_threads(1)
    ENCODERS["toy"] = lambda spec: Toy()
    if sys.argv[1] == "--kills":
        # five minutes between checkpoints would never come in a run of seconds
        LoopConfig.__init__.__kwdefaults__["checkpoint_every"] = 7
        killed(sys.argv[3:], int(sys.argv[2]))
    main(sys.argv[1:])
