"""Case 1: the loop of `kontrast pretrain` against the same forward, backward and update on one ready batch.

Both train the same kind of model in this process, turn by turn. The loop takes batches from a Pack's stand-in, makes
views, takes the gradient's norm, writes its log and checks that all is finite; the bare step has its views in memory.
The clock runs from the end of the loop's first step, which makes the optimiser's memory, as bare's uncounted turn does.
The look for a collapse, once in ten steps, is left out. With a GPU, ResNet-50 at 224 px is added.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from benchmarks.speed.measure import alternate, cpu, figure, pictures, ratio, wall

from kontrast.engine.batches import Batches
from kontrast.engine.loop import Hook, LoopConfig, fit
from kontrast.engine.optim import build_optimizer
from kontrast.engine.precision import resolve_precision
from kontrast.engine.selfsupervised import SelfSupervised
from kontrast.methods import METHODS
from kontrast.methods.method import About
from kontrast.nn.encoders import EncoderSpec, build_encoder, normalise
from kontrast.views.recipes import make_views

FOUR = ("moco", "simclr", "byol", "swav")
SETTINGS = {64: (16, 4), 224: (4, 2)}
"""Batch size and steps a turn, by image size."""

TURNS = 9
"""More than other cases have: the goal is nearer to 1 than two turns of the same work are to each other."""


class Memory:
    """In place of a Pack, whose own reading is the case `loading`: images that the file cache would hold."""

    def __init__(self, images: int, size: int) -> None:
        self.size, self._images = size, pictures(images, size, size)
        self.table = pd.DataFrame({"image_id": [f"{i:08d}" for i in range(images)]})

    def __len__(self) -> int:
        return len(self._images)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Copies, as a Pack gives them."""
        return self._images[rows]


def build(method: str, size: int, batch: int, encoder: str) -> tuple[SelfSupervised, EncoderSpec]:
    """A method as `pretrain` builds it for a run of 2,000 steps."""
    kind: Any = METHODS[method]
    config, _ = kind.fit_config(kind.Config(), images=100 * batch, steps=2000, batch_size=batch, size=size)
    spec = EncoderSpec(encoder, size)
    return SelfSupervised(kind(build_encoder(spec, seed=0), config), kind.xray.at(size), spec), spec


def bare(method: str, size: int, batch: int, steps: int, encoder: str, device: torch.device) -> Callable[[], None]:
    """Forward, backward, update on one ready batch, as often as `steps` says."""
    model, spec = build(method, size, batch, encoder)
    precision = resolve_precision("auto", device)
    model = model.to(device).train()
    model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer("adamw", model.parameter_groups(), 1e-3, 1e-4)
    images = torch.from_numpy(pictures(batch, size, size))[:, None].to(device)
    made = make_views(images, model._recipe, model.method.views, torch.Generator().manual_seed(0))
    views = [normalise(view, spec) for view in made]

    def work() -> None:
        for step in range(steps):
            with precision.autocast():
                output = model.method.step(views, About())
            output.loss.backward()
            model.after_backward(step, 0.5)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            model.after_step(0.5)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return work


def loop(method: str, size: int, batch: int, steps: int, encoder: str, device: torch.device) -> Callable[[], float]:
    """As many steps of `fit`, without its start, its first step and its last checkpoint: their seconds."""
    model, _ = build(method, size, batch, encoder)
    memory: Any = Memory(batch * (steps + 2), size)
    batches = Batches([(memory, np.arange(len(memory)))], batch, 0, device)
    if device.type == "cuda":
        batches.load_whole()
    config = LoopConfig(steps=steps + 1, lr=1e-3, weight_decay=1e-4, log_every=1)

    def work() -> float:
        with tempfile.TemporaryDirectory() as folder:
            clock = Clock(device)
            fit(model, batches, config, out=Path(folder), device=device, resume=False, hooks=[clock])
        return clock.seconds

    return work


class Clock(Hook):
    """Reads the clock at the end of the first step and of each later one: after the last only a checkpoint follows."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._start, self.seconds = device, 0.0, 0.0

    def on_log(self, model: Any, step: int, output: Any, line: dict[str, Any]) -> None:
        """Keep the time."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter() if torch.cuda.is_available() else time.process_time()
        if step == 1:
            self._start = now
        self.seconds = now - self._start


def run() -> list[dict[str, Any]]:
    """All methods and sizes; the GPU's rows where there is one."""
    found = []
    kinds = [("cpu", size, *SETTINGS[size], "resnet18") for size in SETTINGS]
    if torch.cuda.is_available():
        kinds.append(("cuda", 224, 256, 20, "resnet50"))
    for name, size, batch, steps, encoder in kinds:
        device = torch.device(name)
        timed = cpu if name == "cpu" else wall
        for method in FOUR:
            seconds = alternate(
                {
                    "bare": timed(bare(method, size, batch, steps, encoder, device)),
                    "loop": loop(method, size, batch, steps, encoder, device),
                },
                TURNS,
            )
            rate = batch * steps / sorted(seconds["loop"])[len(seconds["loop"]) // 2]
            what = f"{method}, {encoder}, {size} px, {name}: loop against the bare step"
            found.append(
                figure(
                    "step",
                    what,
                    ratio(seconds["bare"], seconds["loop"]),
                    "×",
                    target=0.95,
                    images_per_second=round(rate, 1),
                    batch=batch,
                    rounds=seconds,
                )
            )
    return found
