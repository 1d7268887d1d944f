"""`kontrast` with a toy encoder beside the real ones, so that a whole run takes a second: `run_pretrain.py pretrain …`.

With `--lives N` the run has N lives before the last one may end, each killed as by a machine that goes down: at any
moment, or at one of the points at which files change. `--processes W` starts W processes without torchrun. They are
forked, so that torch is loaded once. The last checkpoint stays, to be compared.
"""

import argparse
import itertools
import os
import random
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # every optimiser loads it, which takes longer than a life
from torch import nn

from kontrast.cli import build_app, main
from kontrast.engine import checkpoint, finetuning, selfsupervised
from kontrast.engine.history import History
from kontrast.engine.loop import LoopConfig
from kontrast.nn.backbone import Encoder
from kontrast.nn.encoders import ENCODERS
from kontrast.nn.vit import VisionTransformer

POINTS = {
    (os, "fsync"): 12,
    (Path, "replace"): 8,
    (Path, "unlink"): 8,
    (History, "write"): 9,
    (checkpoint._Hashing, "write"): 500,
}
"""What changes files, and how often at most one life may come by before it is killed there."""


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


TOYS = {
    "toy": lambda spec: Toy(),
    "vit_toy": lambda spec: VisionTransformer(size=spec.size, patch=4, dim=12, depth=1, heads=1),
}


def die_at(rng):
    """End this process before or after it comes by a point for the n-th time."""
    (owner, name), most = rng.choice(list(POINTS.items()))
    left, after = rng.randint(1, most), rng.random() < 0.5
    plain = getattr(owner, name)

    def counted(*args, **options):
        nonlocal left
        left -= 1
        if left == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = plain(*args, **options)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counted)


def fork(words, world, point):
    """Start the processes of one life, the first of which may end at a random point."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            if world > 1:
                own = {"WORLD_SIZE": world, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
                os.environ |= {k: str(v) for k, v in own.items()} | {"MASTER_ADDR": "127.0.0.1"}
            if rank == 0 and point is not None:
                die_at(point)
            main(words)
        children.append(child)
    return children


def await_line(metrics, child):
    """Wait until the first process logs a line or ends, so that each life gets somewhere."""
    size = metrics.stat().st_size if metrics.exists() else 0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        now = metrics.stat().st_size if metrics.exists() else size
        if now > size:
            return
        size = min(size, now)
        time.sleep(0.001)


def live(words, lives, world):
    """Live and be killed so many times, then to the end."""
    build_app()  # loaded before the lives, like torch
    rng = random.Random(0)
    metrics = Path(words[words.index("--out") + 1]) / "metrics.jsonl"
    killed = 0
    while True:
        last, at_point = killed == lives, killed % 2 == 1
        point = None if last or not at_point else random.Random(rng.random())
        children = fork(words, world, point)
        if not last and not at_point:
            await_line(metrics, children[0])
            time.sleep(rng.uniform(0, 0.1))
            for child in rng.sample(children, world):
                os.kill(child, signal.SIGKILL)
        statuses = [os.waitpid(children[0], 0)[1]]
        for child in children[1:]:
            if os.WIFSIGNALED(statuses[0]):
                os.kill(child, signal.SIGKILL)
            statuses.append(os.waitpid(child, 0)[1])
        if os.WIFEXITED(statuses[0]):
            codes = [os.waitstatus_to_exitcode(status) for status in statuses]
            print(f"killed {killed} times, ended with {codes}")
            sys.exit(max(codes))
        killed += 1


def write_nothing():
    """End this process if it writes a file, or changes one otherwise."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    changes = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}

    def watch(event, details):
        if event in changes or (event == "open" and details[2] & writing and str(details[0]) != os.devnull):
            print(f"rank {os.environ['RANK']}: {event} {details[0]}", file=sys.stderr, flush=True)
            os._exit(99)

    sys.addaudithook(watch)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # for what does not come by Python


def signal_once(number, rank, step):
    """Send a process a signal at the end of a step, counted from 1, in its first life."""
    steps = itertools.count(1)

    for model in (selfsupervised.SelfSupervised, finetuning.Supervised):

        def signalled(self, progress, plain=model.after_step):
            life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            if (os.environ.get("RANK", "0"), life, next(steps)) == (str(rank), "0", step):
                os.kill(os.getpid(), number)
            plain(self, progress)

        model.after_step = signalled


def keep_checkpoints():
    """Have them stay where a run ends, written often: five minutes never pass in a run of seconds."""
    checkpoint.remove_checkpoints = lambda *_: None
    LoopConfig.__init__.__kwdefaults__["checkpoint_every"] = 7


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--lives", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--first-writes", action="store_true")
    parser.add_argument("--stop-by", type=int, nargs=3, metavar=("NUMBER", "RANK", "STEP"))
    asked, words = parser.parse_known_args()
    torch.set_num_threads(1)
    ENCODERS.update(TOYS)
    if asked.stop_by:
        signal_once(*asked.stop_by)
    if asked.lives is not None or "TORCHELASTIC_RUN_ID" in os.environ:
        keep_checkpoints()
    if asked.first_writes and os.environ["RANK"] != "0":
        write_nothing()
    if asked.lives is not None:
        live(words, asked.lives, asked.processes)
    main(words)
