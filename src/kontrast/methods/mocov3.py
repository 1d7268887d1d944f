"""MoCo v3: find the other view of the same image in the batch, as a slow teacher sees it; no queue, fit for ViTs.

Chen, Xie & He 2021, arXiv:2104.02057

    L = ctr(q₁, k₂) + ctr(q₂, k₁),   ctr(q, k) = −2τ · log exp(q·k₊/τ) / Σᵢ exp(q·kᵢ/τ),   kᵢ of the whole batch,
    θ_k ← m·θ_k + (1 − m)·θ_q before the keys, with m rising to 1 along a cosine

Differs from the paper:
- images of a query's own patient are left out of its keys where patients are known (`same_patient_negatives`);
- m's base comes from the run's length: the paper has 0.99 for 100 and 300 epochs, 0.996 for 1000;
- τ is 0.2, the paper's for ViTs, with every encoder; for ResNets its code has 1;
- a ViT keeps its own positions, which are learned (the paper's are fixed), and its own random patch projection.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kontrast.config import require
from kontrast.distributed import gather, rank, world_size
from kontrast.methods.byol import tau
from kontrast.methods.method import (
    UNKNOWN,
    About,
    Auto,
    Chunkable,
    Decision,
    Step,
    feature_dim,
    resolved,
)
from kontrast.nn.contrast import contrast, related
from kontrast.nn.ema import MomentumCopy
from kontrast.nn.heads import mlp
from kontrast.nn.numerics import unit
from kontrast.nn.vit import VisionTransformer
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class MoCoV3Config:
    """What of MoCo v3 can be chosen."""

    hidden_dim: int = 4096
    """Width of the hidden layers of projector and predictor."""
    dim: int = 256
    """Size of the space in which query and keys are compared."""
    temperature: float = 0.2
    """τ, above 0; smaller weighs the most similar negatives more."""
    momentum: float | Auto = "auto"
    """m at the start, 0 to 1, rising to 1 along a cosine; auto: from the run's length."""
    same_patient_negatives: Literal["mask", "keep"] = "mask"
    """Whether images of a query's own patient are left out of its negatives, where patients are known."""

    def __post_init__(self) -> None:
        for name, paper in (("hidden_dim", 4096), ("dim", 256), ("temperature", 0.2)):
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            require(value > 0, f"{option} {value} is not above 0.", f"Leave it out if unsure; the paper has {paper}.")
        m = self.momentum
        fits = m == "auto" or (not isinstance(m, str) and 0 <= m <= 1)
        require(fits, f"--momentum {m} is not from 0 to 1.", "Leave it at auto if unsure; the paper has 0.99.")


def ctr(q: Tensor, k: Tensor, temperature: float, patients: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One direction of the loss against the keys of all processes, a mean over queries; 2τ·ln B where all are alike.

    The factor keeps the gradient's size from growing as 1/τ.

    Args:
        q: (b, D) predictions from one view of each image; need not be unit vectors.
        k: (b, D) the teacher's projections of the other view; no gradient flows into them.
        temperature: τ.
        patients: (b,) int64; other images of a query's patient are no negatives of it. None leaves none out.

    Returns:
        The loss, and the share of queries nearer to their own key than to every other.
    """
    image = torch.arange(len(q), device=q.device) + len(q) * rank()  # (b,) where these images stand in the batch
    own = image if patients is None else patients
    loss, accuracy = contrast(unit(q), unit(gather(k)), image, temperature, own, gather(own))
    return 2 * temperature * loss, accuracy


def head(dims: Sequence[int], *, last_norm: bool) -> nn.Module:
    """A perceptron without biases, batch-norm within and, with `last_norm`, one without scale or shift at its end."""
    layers = mlp(dims, norm=True, bias=False, last_bias=False)
    return nn.Sequential(layers, nn.BatchNorm1d(dims[-1], affine=False)) if last_norm else layers


# the paper's; its hue .1, saturation .2 and conversion to grey .2 do nothing here; for ViTs it crops from .08
NATURAL = View(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4)


class MoCoV3(Chunkable):
    """MoCo v3. A vision transformer's patch projection is frozen in place: trained, it makes the loss unstable."""

    Config = MoCoV3Config
    views = ViewSpec(globals=2)
    natural = Recipe((replace(NATURAL, blur=1.0), replace(NATURAL, blur=0.1, solarize=0.2)))
    remedy: ClassVar[str] = (
        "Negatives keep features apart unless steps are too large: lower --lr, raise --momentum or take a larger "
        "--batch-size"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "lars", "lr": 0.3, "weight_decay": 1e-6, "per": 256}

    def __init__(self, encoder: nn.Module, config: MoCoV3Config = MoCoV3Config()) -> None:
        super().__init__()
        self.config = config
        self.base = resolved(config.momentum, 0.99)
        hidden, dim = config.hidden_dim, config.dim
        vit = isinstance(encoder, VisionTransformer)
        if vit:
            encoder.patch_embed.requires_grad_(False)
        self.encoder = encoder
        # as published: three layers for a ViT and two for a ResNet, whose predictor has no norm at its end
        self.projector = head([feature_dim(encoder), *[hidden] * (2 if vit else 1), dim], last_norm=True)
        self.predictor = head([dim, hidden, dim], last_norm=vit)
        self.teacher = MomentumCopy(self._student())
        self._chance: float | Tensor | None = None

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.encoder, self.projector)

    def before_step(self, progress: float) -> None:
        """θ_k ← m·θ_k + (1 − m)·θ_q: the keys of a step come from the weights that its queries have too."""
        self.teacher.update(self._student(), tau(self.base, progress))

    def in_force(self, progress: float) -> dict[str, float]:
        """τ and m."""
        return super().in_force(progress) | {"momentum": tau(self.base, progress)}

    def embed(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """q₁, q₂, k₁, k₂ (b, D) each, and the first view's features (b, F); a gradient flows into the q alone."""
        x1, x2 = views  # (b, 1, H, W) each; each is a pass of its own, with its own batch-norm statistics
        h1, h2 = self.encoder(x1), self.encoder(x2)  # (b, F)
        q1, q2 = self.predictor(self.projector(h1)), self.predictor(self.projector(h2))  # (b, D)
        return q1, q2, self.teacher(x1), self.teacher(x2), h1.detach()

    def compare(self, embeddings: tuple[Tensor, ...], about: About = UNKNOWN) -> Step:
        """The loss of what `embed` gave: the sum of both directions, each against the other view."""
        q1, q2, k1, k2, h = embeddings
        T, B = self.config.temperature, len(q1) * world_size()
        logs: dict[str, Tensor | float] = {}
        patients, self._chance = None, 4 * T * math.log(B)
        if about.patients is not None:
            same = related(about.patients, gather(about.patients)) - 1  # (b,) other images of the patient
            logs["same_patient_negatives"] = same.double().mean()
            if self.config.same_patient_negatives == "mask":
                patients, self._chance = about.patients, 4 * T * (B - same).double().log().mean()
        (one, accuracy), (other, _) = ctr(q1, k2, T, patients), ctr(q2, k1, T, patients)
        return Step(one + other, h, {"contrast_accuracy": accuracy, **logs})

    def chance_loss(self) -> float | None:
        """4τ·ln B, B the last step's batch over all processes, less its masked keys; None before the first step."""
        return None if self._chance is None else float(self._chance)

    @classmethod
    def fit_config(
        cls, config: MoCoV3Config, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[MoCoV3Config, list[Decision]]:
        """The base of m from the run's length."""
        if config.momentum != "auto":
            return config, []
        # along the cosine the mean of 1 − m is half of 1 − base
        base = 1 - min(0.1, max(0.01, 20 / max(steps, 1)))
        left = 100 * math.exp(-(1 - base) / 2 * steps)
        reason = (
            f"{left:.2g} % of the teacher's start is left after {steps} steps; the paper's 0.99 suits 2,000 or more"
        )
        return replace(config, momentum=base), [("momentum", base, reason)]
