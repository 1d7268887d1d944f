"""What pretraining adds to the loop: views of each batch, the method's loss, the images of several Packs, a plan."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kontrast import console
from kontrast.artifacts.disk import atomic
from kontrast.artifacts.encoder import load_encoder, source_name
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.config import from_dict, to_dict
from kontrast.data.sheet import png, sheet
from kontrast.engine.batches import HEADS, Batch, Batches, derive, generator
from kontrast.engine.patients import partner_groups, patient_numbers, settle_patients
from kontrast.engine.planning import (
    Plan,
    check_chunks,
    choose_batch_size,
    choose_optimizer,
    choose_steps,
    measure,
    settle_options,
)
from kontrast.engine.precision import resolve_precision
from kontrast.errors import UsageError
from kontrast.methods import METHODS
from kontrast.methods.method import About, Chunkable, Method, Step
from kontrast.nn.encoders import Encoder, EncoderSpec, normalise
from kontrast.views.masks import draw_masks
from kontrast.views.recipes import Recipe, make_views

VIEWS = "views.png"
VIEWS_SHOWN, VIEWS_CELL = 4, 112


class SelfSupervised(nn.Module):
    """A method as the training loop takes it: images in, views made and normalised, the method's loss out.

    Args:
        method: trained in place.
        recipe: how views are drawn.
        spec: the encoder's, for its pixel statistics.
        patients: from `patient_numbers`, None where not known.
        decay_1d: whether biases and norms decay too.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        spec: EncoderSpec,
        patients: np.ndarray | None = None,
        *,
        decay_1d: bool = False,
    ) -> None:
        super().__init__()
        self._decay_1d = decay_1d
        self.method, self._recipe, self._spec, self._patients = method, recipe, spec, patients
        self.sync_batchnorm = method.sync_batchnorm

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> Step:
        """The method's loss of one batch."""
        self.before_step(progress)
        views = self._input(batch, generator)
        masks = self.masks_of(batch, generator)
        return self.method.step(views, About(patients=self._patients_of(batch), masks=masks))

    def before_step(self, progress: float) -> None:
        """The method's."""
        self.method.before_step(progress)

    def embed(self, batch: Batch, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """The method's embeddings of a batch, or of a part of one."""
        assert isinstance(self.method, Chunkable)
        return self.method.embed(self._input(batch, generator))

    def compare(self, embeddings: tuple[torch.Tensor, ...], batch: Batch) -> Step:
        """The method's loss of the embeddings of a whole batch."""
        assert isinstance(self.method, Chunkable)
        return self.method.compare(embeddings, About(patients=self._patients_of(batch)))

    @torch.no_grad()
    def _input(self, batch: Batch, generator: torch.Generator) -> list[torch.Tensor]:
        with torch.autocast(batch.images.device.type, enabled=False):
            return [normalise(view, self._spec) for view in self.views_of(batch, generator)]

    def _patients_of(self, batch: Batch) -> torch.Tensor | None:
        if self._patients is None:
            return None
        return torch.from_numpy(self._patients[batch.rows]).to(batch.images.device, non_blocking=True)

    def views_of(self, batch: Batch, generator: torch.Generator) -> list[torch.Tensor]:
        """What `step` shows the method of a batch, before normalising: (b, 1, size, size) in [0, 1] each."""
        return make_views(
            batch.images, self._recipe, self.method.views, generator,
            partners=batch.partners, first=batch.first, total=batch.total,
        )  # fmt: skip

    def masks_of(self, batch: Batch, generator: torch.Generator) -> torch.Tensor | None:
        """The hidden patches of the global views, (g, b, N) bool, drawn after the views; None where none are hidden."""
        spec = self.method.views
        if spec.masks is None:
            return None
        side = self._recipe.global_views[0].size // spec.masks.patch
        masks = draw_masks(spec.masks, spec.globals, batch.total, (side, side), generator)
        return masks[:, batch.first : batch.first + len(batch)].to(batch.images.device)

    def after_backward(self, step: int, progress: float) -> None:
        """The method's."""
        self.method.after_backward(step, progress)

    def after_step(self, progress: float) -> None:
        """The method's."""
        self.method.after_step(progress)

    def parameter_groups(self) -> Sequence[Mapping[str, Any]]:
        """All that the method trains."""
        return [{"params": [p for _, p in self.method.trainable()], "decay_1d": self._decay_1d}]


def training_rows(packs: Sequence[Pack]) -> list[tuple[Pack, np.ndarray]]:
    """Each Pack with the rows to learn from: its `train` split, never another.

    Raises:
        UsageError: a Pack named twice, no training images, or all of them from one patient.
    """
    if len({pack.path.resolve() for pack in packs}) < len(packs):
        raise UsageError("A Pack is named twice.", fix="Name each Pack once.")
    found = [(pack, pack.rows("train")) for pack in packs]
    for pack, rows in found:
        if len(rows) == 0:
            console.warn(f"{pack.path} has no training images; it adds nothing.")
    found = [(pack, rows) for pack, rows in found if len(rows)]
    if not found:
        raise UsageError("None of the Packs has training images.", fix="Prepare a Pack with a training part.")
    patients = {p for pack, rows in found for p in pack.table["patient_id"].to_numpy()[rows]}
    if len(patients) < 2:
        raise UsageError(
            f"All {sum(len(rows) for _, rows in found)} training images are of one patient.",
            fix="Give images of at least two patients; of some hundred, to learn something.",
        )
    _warn_of_leaks(found)
    for pack, rows in found:
        known = "" if pack.patients_known else "; patients unknown, each image counts as its own"
        count = pack.table["patient_id"].iloc[rows].nunique()
        console.say(f"  {pack.path}: {len(rows):,} training images of {count:,} patients{known}.")
    return found


def _warn_of_leaks(found: Sequence[tuple[Pack, np.ndarray]]) -> None:
    """Say where one Pack's training patients are kept for testing in another."""
    for pack, rows in found:
        trained = Seen.of(pack, rows, "pretrain")
        for other, _ in found:
            if other is pack:
                continue
            kept = np.concatenate([other.rows("val"), other.rows("test")])
            overlap = trained.overlap(other, kept)
            if overlap.shared:
                console.warn(
                    f"training images of {pack.path} and held-out images of {other.path}: {overlap.text}. "
                    "Scores on those will be too good; `kontrast audit` shows which."
                )


def seen_by(found: Sequence[tuple[Pack, np.ndarray]], before: Seen) -> Seen:
    """Everyone whom the weights have met after pretraining."""
    for pack, rows in found:
        before = before + Seen.of(pack, rows, "pretrain")
    return before


def pooled_statistics(found: Sequence[tuple[Pack, np.ndarray]]) -> tuple[float, float]:
    """Mean and standard deviation of the training pixels of several Packs, each weighing as many images as it gives."""
    n = np.array([len(rows) for _, rows in found], float)
    mean, std = (np.array([getattr(pack, name) for pack, _ in found]) for name in ("mean", "std"))
    centre = float((n * mean).sum() / n.sum())
    return centre, float(np.sqrt((n * (std**2 + (mean - centre) ** 2)).sum() / n.sum()))


def starting_encoder(
    init: str, encoder: str | None, size: int, seed: int, found: Sequence[tuple[Pack, np.ndarray]]
) -> tuple[Encoder, EncoderSpec, Seen]:
    """The encoder to begin with. An artifact keeps its pixel statistics, others get those of the Packs.

    Args:
        init: as `load_encoder` takes it.
        encoder: architecture; None where `init` is an artifact.
        size: of the views, pixels.
        seed: for `random`.
        found: from `training_rows`.
    """
    network, spec, seen = load_encoder(init, encoder=encoder, size=size, seed=seed)
    if source_name(init) != "artifact":
        mean, std = pooled_statistics(found)
        spec = replace(spec, mean=mean, std=std)
    return network, spec, seen


def build_model(plan: Plan, encoder: Encoder, spec: EncoderSpec, patients: np.ndarray | None = None) -> SelfSupervised:
    """The method around an encoder, its heads drawn from the plan's seed; `patients` from `patient_numbers`."""
    kind = METHODS[plan.method]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(plan.seed, HEADS))
        method = kind(encoder, from_dict(kind.Config, plan.options))  # type: ignore[call-arg]
    views = {"xray": kind.xray, "natural": kind.natural}[plan.recipe]
    decay_1d = plan.published.get("decay_1d", False)
    return SelfSupervised(method, views.at(plan.size), spec, patients, decay_1d=decay_1d)


def write_views(folder: Path, model: SelfSupervised, batches: Batches) -> list[str]:
    """The first images of the first batch, each beside the views that the method saw of it, as `views.png`.

    Where images have partners, they stand in the second column.

    Returns:
        The names of the files written.
    """
    batch = batches.at(0)
    shown = [part[:VIEWS_SHOWN].cpu() for part in (batch.images, batch.partners) if part is not None]
    batch = replace(batch, images=shown[0], partners=shown[-1])
    with torch.no_grad():
        views = model.views_of(batch, generator(batches.seed, 0))
    shown = [part / 255 if part.dtype == torch.uint8 else part for part in shown]
    columns = [(column[:, 0] * 255).round().clamp(0, 255).to(torch.uint8).numpy() for column in (*shown, *views)]
    with atomic(folder / VIEWS) as stream:
        stream.write(png(sheet(list(zip(*columns, strict=True)), VIEWS_CELL)))
    return [VIEWS]


def _check_pairs(method: str, positives: str) -> None:
    """Refuse pairs to a method of one view, which says so in its class."""
    views = getattr(METHODS[method], "views", None)
    if positives != "image" and views is not None and views.globals + views.locals < 2:
        raise UsageError(
            f"{method} learns from one view of an image at a time, so --positives {positives} has nothing to pair.",
            fix="Set --positives image, or choose another --method.",
        )


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
    _check_pairs(method, config.positives)
    name = "same_patient_negatives"
    asked = config.options.get(name, config.same_patient_negatives) if hasattr(options, name) else None
    negatives = settle_patients(config.positives, asked, found)
    if negatives is not None:
        options = replace(options, same_patient_negatives=negatives)
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
    return plan(steps)
