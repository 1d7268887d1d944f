"""A method as the training loop takes it: the views of each batch, what the method is told of it, its loss."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from kontrast.artifacts.disk import atomic
from kontrast.config import from_dict
from kontrast.data.sheet import png, sheet
from kontrast.engine.batches import HEADS, Batch, Batches, derive, generator
from kontrast.methods import METHODS
from kontrast.methods.method import About, Chunkable, Method, Step
from kontrast.nn.encoders import Encoder, EncoderSpec, normalise
from kontrast.views.masks import draw_masks
from kontrast.views.recipes import Recipe, make_views

if TYPE_CHECKING:
    from kontrast.engine.planning import Plan

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


def build_model(
    plan: "Plan", encoder: Encoder, spec: EncoderSpec, patients: np.ndarray | None = None
) -> SelfSupervised:
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
