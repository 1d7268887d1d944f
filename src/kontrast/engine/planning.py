"""What a pretraining run leaves to `auto`, decided once from the data, the machine and the time, and kept in a file.

A resumed run reads its plan back instead of deciding again: a machine that is slower or fuller than at the start would
otherwise give another run.
"""

import copy
import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kontrast import distributed
from kontrast.artifacts.disk import write_json
from kontrast.artifacts.pack import Pack
from kontrast.config import to_dict
from kontrast.engine.batches import Batches
from kontrast.engine.choices import (
    check_chunks,
    check_crops,
    check_pairs,
    choose_batch_size,
    choose_optimizer,
    choose_steps,
    settle_options,
    warn_of_leak,
)
from kontrast.engine.loop import LoopConfig, fit
from kontrast.engine.patients import partner_groups, patient_numbers, settle_patients
from kontrast.engine.precision import resolve_precision
from kontrast.engine.selfsupervised import build_model
from kontrast.errors import ArtifactError
from kontrast.methods import METHODS
from kontrast.nn.encoders import Encoder, EncoderSpec

PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A pretraining run with nothing left open.

    Attributes:
        method: a key of METHODS.
        options: the method's whole configuration.
        encoder: its architecture.
        size: of the views, pixels.
        recipe: `xray` or `natural`.
        batch_size: global.
        steps: of the run.
        epochs: the same in passes over the images.
        optimizer: its name.
        lr: peak, for this batch size.
        weight_decay: of weights with two dimensions or more.
        warmup: steps.
        clip: largest gradient norm, None for any.
        precision: resolved.
        seed: of everything drawn.
        positives: whose images the views of a pair show: `image`, `study` or `patient`.
        chunk_size: images that a process embeds at a time, None for its whole part of the batch.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    encoder: str
    size: int
    recipe: str
    batch_size: int
    steps: int
    epochs: float
    optimizer: str
    lr: float
    weight_decay: float
    warmup: int
    clip: float | None
    precision: str
    seed: int
    positives: str = "image"
    chunk_size: int | None = None

    @property
    def published(self) -> Mapping[str, Any]:
        """The paper's own settings where its optimiser is in use, else nothing."""
        published = METHODS[self.method].published
        return published if published["optimizer"] == self.optimizer else {}

    def loop(self) -> LoopConfig:
        """How the loop trains it."""
        return LoopConfig(
            steps=self.steps, lr=self.lr, optimizer=self.optimizer, weight_decay=self.weight_decay,
            warmup=self.warmup, clip=self.clip, precision=self.precision, chunk_size=self.chunk_size,
            lr_in_momentum=self.published.get("lr_in_momentum", False),
            log_every=min(max(self.steps // 200, 1), 50),
        )  # fmt: skip


def read_plan(folder: Path) -> Plan | None:
    """The plan of a run that was begun, or None.

    Raises:
        ArtifactError: a file that is no plan.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        return Plan(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ArtifactError(f"{path} is damaged.", fix="Delete the folder and start again.") from None


def write_plan(folder: Path, plan: Plan) -> None:
    """Fix the plan, atomically, before the first step."""
    write_json(folder / PLAN, asdict(plan))


def _with_patients(options: Any, config: Any, found: Sequence[tuple[Pack, np.ndarray]]) -> Any:
    """The method's options with what becomes of negatives of the same patient, where the method has such."""
    name = "same_patient_negatives"
    asked = config.options.get(name, config.same_patient_negatives) if hasattr(options, name) else None
    negatives = settle_patients(config.positives, asked, found)
    return options if negatives is None else dataclasses.replace(options, same_patient_negatives=negatives)


def make_plan(
    method: str,
    options: Any,
    config: Any,
    encoder: Encoder,
    spec: EncoderSpec,
    found: Sequence[tuple[Pack, np.ndarray]],
    device: torch.device,
    *,
    measuring: bool,
) -> Plan:
    """Decide all that is left open.

    Args:
        method: its name.
        options: its configuration, open where `auto`.
        config: the wishes: batch_size, epochs, minutes, optimizer, lr, weight_decay, warmup_epochs, clip, precision,
            recipe, seed, positives, same_patient_negatives, each `auto` where left open; chunk_size or None.
        encoder: to begin with; copied where steps are measured.
        spec: the encoder's.
        found: Packs and rows.
        device: where.
        measuring: False leaves a wish for minutes open (a dry run).
    """
    images = sum(len(rows) for _, rows in found)
    check_pairs(method, config.positives)
    check_crops(options, spec)
    options = _with_patients(options, config, found)
    batch_size = choose_batch_size(config.batch_size, images, device)
    check_chunks(method, config.chunk_size, batch_size)
    groups = partner_groups(found, config.positives)
    batches = Batches(found, batch_size, config.seed, device, size=spec.size, groups=groups)
    optimizer, lr, weight_decay = choose_optimizer(method, config.optimizer, config.lr, config.weight_decay, batch_size)
    precision = resolve_precision(config.precision, device).name

    def plan(steps: int, *, quiet: bool = False) -> Plan:
        settled = settle_options(
            method, options, images=images, steps=steps, batch_size=batch_size, size=spec.size, quiet=quiet
        )
        epochs = steps / batches.steps_per_epoch
        warmup = min(0.05 * epochs, 10) if config.warmup_epochs == "auto" else config.warmup_epochs
        return Plan(
            method=method, options=to_dict(settled), encoder=spec.name, size=spec.size, recipe=config.recipe,
            batch_size=batch_size, steps=steps, epochs=epochs, optimizer=optimizer, lr=lr,
            weight_decay=weight_decay, warmup=round(warmup * batches.steps_per_epoch), clip=config.clip or None,
            precision=precision, seed=config.seed, positives=config.positives, chunk_size=config.chunk_size,
        )  # fmt: skip

    def rate() -> float:
        trial = plan(1000, quiet=True)
        batches.load_whole()
        model = build_model(trial, copy.deepcopy(encoder), spec, patient_numbers(found))
        return measure(model, batches, trial.loop(), device)

    steps = choose_steps(config.epochs, config.minutes, batches, rate if measuring else None)
    made = plan(steps)
    warn_of_leak(made.options, encoder)
    return made


def measure(model: Any, batches: Batches, loop: LoopConfig, device: torch.device, seconds: float = 5.0) -> float:
    """Steps a second, over a few steps of a model that is thrown away."""

    def run(steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            short = dataclasses.replace(loop, steps=steps, log_every=steps)
            result = fit(model, batches, short, out=Path(folder), device=device, title="measuring")
        return steps / result.seconds

    run(2)  # the first steps also load libraries and kernels
    speed = run(2)
    speed = run(min(max(int(seconds * speed), 2), 50))
    return float(distributed.broadcast_object(speed))
