"""What masking same-patient negatives, and pairs of a patient's images, cost a training step.

    python benchmarks/patients.py [--device cpu|cuda] [--batch-size 64] [--size 64] [--rounds 12] [--steps 2]

All arms take turns in one process, in an order that turns with the rounds; a figure is the median over rounds of an
arm's time over that of the published loss in the same round. On a CPU it is the processor's time, which other work on
the machine does not lengthen; on a GPU the clock's. Reading, views, forward, backward and update are in it.
patients.json holds what came out on a CPU.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import pandas as pd
import torch

from kontrast.engine.batches import Batches, generator
from kontrast.engine.patients import partner_groups, patient_numbers
from kontrast.engine.selfsupervised import SelfSupervised
from kontrast.methods import METHODS
from kontrast.nn.encoders import EncoderSpec, build_encoder

ARMS = {"published": (False, "image"), "mask": (True, "image"), "mask, pairs": (True, "patient")}
"""Whether patients are known, and --positives."""


class Radiographs:
    """Noise in place of a Pack: 4,096 images, four of each patient."""

    patients_known, key_id = True, ""

    def __init__(self, size: int, count: int = 4096) -> None:
        self.size = size
        self._images = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
        names = [f"{i:05d}" for i in range(count)]
        self.table = pd.DataFrame(
            {"image_id": names, "patient_id": [name[:3] + str(i // 4) for i, name in enumerate(names)]}
        )

    def __len__(self) -> int:
        return len(self._images)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """(n, size, size) uint8."""
        return self._images[rows]


class Arm:
    """One way to train, with a network of its own."""

    def __init__(self, method: str, known: bool, positives: str, asked: argparse.Namespace) -> None:
        self.device = torch.device(asked.device)
        found: Any = [(pack := Radiographs(asked.size), np.arange(len(pack)))]
        self.batches = Batches(found, asked.batch_size, 0, self.device, groups=partner_groups(found, positives))
        self.batches.load_whole()
        torch.manual_seed(0)
        spec = EncoderSpec("resnet18", asked.size)
        kind: Any = METHODS[method]
        options = {"queue_length": asked.queue_length} if method == "moco" else {}
        built = kind(build_encoder(spec, seed=0), kind.Config(**options))
        patients = patient_numbers(found) if known else None
        self.model = SelfSupervised(built, kind.xray.at(asked.size), spec, patients).to(self.device)
        self.optimizer = torch.optim.AdamW([p for _, p in built.trainable()], lr=1e-4)
        self.done = 0

    def seconds(self, steps: int) -> float:
        """The time of so many steps."""
        gpu = self.device.type == "cuda"
        clock = time.perf_counter if gpu else time.process_time
        start = clock()
        for batch in self.batches.stream(self.done, self.done + steps):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=gpu):
                loss = self.model.step(batch, 0.5, generator(0, batch.step)).loss
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        if gpu:
            torch.cuda.synchronize()
        self.done += steps
        return clock() - start


def compare(method: str, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Each arm's time over that of the published loss."""
    arms = {name: Arm(method, known, positives, asked) for name, (known, positives) in ARMS.items()}
    for arm in arms.values():
        arm.seconds(2)  # the first steps also load libraries
    rounds: dict[str, list[float]] = {name: [] for name in arms}
    for at in range(asked.rounds):
        names = list(arms)[at % 3 :] + list(arms)[: at % 3]
        for name in names:
            rounds[name].append(arms[name].seconds(asked.steps) / asked.steps)
    base = np.array(rounds["published"])
    quartiles = {name: np.quantile(np.array(times) / base, [0.25, 0.5, 0.75]) for name, times in rounds.items()}
    return {
        name: {"ms": round(1000 * float(np.median(rounds[name])), 2)}
        | dict(zip(("low quartile", "ratio", "high quartile"), np.round(q, 4).tolist(), strict=True))
        for name, q in quartiles.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    for option, default in (("batch-size", 64), ("size", 64), ("queue-length", 1024), ("rounds", 12), ("steps", 2)):
        parser.add_argument(f"--{option}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {method: compare(method, asked) for method in ("moco", "simclr")}
    print(json.dumps({"settings": vars(asked), "torch": torch.__version__, **found}, indent=1))
