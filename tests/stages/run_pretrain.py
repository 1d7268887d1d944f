"""`kontrast` with a toy encoder beside the real ones, so that a whole run takes a second: `run_pretrain.py pretrain …`.

With `--kills N` the run is forked and killed N times at random moments before it may end.
"""

import os
import random
import signal
import sys
import time

import torch
from torch import nn

from kontrast.cli import main
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


def killed(words, kills):
    rng = random.Random(0)
    while True:
        child = os.fork()
        if child == 0:
            main(words)
        if kills:
            time.sleep(rng.uniform(0.02, 0.35))
            os.kill(child, signal.SIGKILL)
            kills -= 1
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            print("kills left:", kills)
            sys.exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    torch.set_num_threads(1)
    ENCODERS["toy"] = lambda spec: Toy()
    if sys.argv[1] == "--kills":
        killed(sys.argv[3:], int(sys.argv[2]))
    main(sys.argv[1:])
