"""BYOL: predict a slowly moving network's view of the same image; there are no negatives.

Grill et al. 2020, arXiv:2006.07733

    L = ‖q̂(z₁) − ẑ′₂‖² + ‖q̂(z₂) − ẑ′₁‖²,   ^ of unit length, ′ from the target: ξ ← τξ + (1 − τ)θ after each step

Differs from the paper:
- the target starts as a copy, where the paper draws it anew and finds no difference: with a pretrained encoder
  a random target would have to be learned first;
- τ's base comes from the run's length: the paper has 0.97 for 40 epochs, 0.99 for 100 and 300, 0.996 for 1000.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kontrast.config import require
from kontrast.methods.method import UNKNOWN, About, Auto, Decision, Method, Step, feature_dim, resolved
from kontrast.nn.ema import MomentumCopy
from kontrast.nn.heads import mlp
from kontrast.nn.numerics import full_precision, unit
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class BYOLConfig:
    """What of BYOL can be chosen."""

    hidden_dim: int = 4096
    """Width of the projector's and the predictor's hidden layer."""
    dim: int = 256
    """Size of the space in which views are compared."""
    momentum: float | Auto = "auto"
    """τ at the start, 0 to 1, rising to 1 along a cosine; auto: from the run's length."""

    def __post_init__(self) -> None:
        for name, paper in (("hidden_dim", 4096), ("dim", 256)):
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            require(value > 0, f"{option} {value} is not positive.", f"Set it to 1 or more; the paper has {paper}.")
        m = self.momentum
        fits = m == "auto" or (not isinstance(m, str) and 0 <= m <= 1)
        require(fits, f"--momentum {m} is not from 0 to 1.", "Leave it at auto if unsure; the paper has 0.996.")


@full_precision
def regression_loss(p: Tensor, z: Tensor) -> Tensor:
    """Mean of ‖p̂ − ẑ‖² = 2 − 2·cos(p, z): 0 aligned, 2 orthogonal, 4 opposite.

    Args:
        p: (B, D) predictions.
        z: (B, D) the target's projections; no gradient flows into them.
    """
    return (unit(p) - unit(z.detach())).square().sum(dim=1).mean()


def tau(base: float, progress: float) -> float:
    """1 − (1 − base)·(cos(π·progress) + 1)/2: from `base` at the start to 1 at the end."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


# the paper's; its hue .1, saturation .2 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4)


class BYOL(Method):
    """BYOL."""

    Config = BYOLConfig
    views = ViewSpec(globals=2)
    natural = Recipe((replace(NATURAL, blur=1.0), replace(NATURAL, blur=0.1, solarize=0.2)))
    remedy: ClassVar[str] = (
        "Without negatives, only the predictor and the slow target keep features apart: raise --momentum, or "
        "--batch-size where memory allows; a lower --lr is not sure to help, since in short runs a higher one gave "
        "better features"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "lars", "lr": 0.2, "weight_decay": 1.5e-6, "per": 256}

    def __init__(self, encoder: nn.Module, config: BYOLConfig = BYOLConfig()) -> None:
        super().__init__()
        self.config = config
        self.base = resolved(config.momentum, 0.996)
        hidden, dim = config.hidden_dim, config.dim
        self.encoder = encoder
        self.projector = mlp([feature_dim(encoder), hidden, dim], norm=True, last_bias=False)
        self.predictor = mlp([dim, hidden, dim], norm=True, last_bias=False)
        self.teacher = MomentumCopy(self._student())

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.encoder, self.projector)

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """Each view predicts the target's projection of the other."""
        x1, x2 = views  # (b, 1, H, W) each; each is a pass of its own, with its own batch-norm statistics
        h1, h2 = self.encoder(x1), self.encoder(x2)  # (b, F)
        p1, p2 = self.predictor(self.projector(h1)), self.predictor(self.projector(h2))  # (b, D)
        t1, t2 = self.teacher(x1), self.teacher(x2)  # (b, D), no gradient
        loss = regression_loss(p1, t2) + regression_loss(p2, t1)  # the sum of both directions, not their mean
        return Step(loss, h1.detach(), {"cosine": 1 - loss.detach() / 4, "target_std": spread(t1)})

    def in_force(self, progress: float) -> dict[str, float]:
        """τ."""
        return super().in_force(progress) | {"momentum": tau(self.base, progress)}

    def after_step(self, progress: float) -> None:
        """ξ ← τξ + (1 − τ)θ, with the weights that the optimiser has just made."""
        self.teacher.update(self._student(), tau(self.base, progress))

    def chance_loss(self) -> float:
        """4: predictions orthogonal to their targets. A collapse is at 0, which no loss tells from success."""
        return 4.0

    @classmethod
    def fit_config(
        cls, config: BYOLConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[BYOLConfig, list[Decision]]:
        """τ's base from the run's length."""
        if config.momentum != "auto":
            return config, []
        # along the cosine the mean of 1 − τ is half of 1 − base
        base = 1 - min(0.1, max(0.004, 20 / max(steps, 1)))
        left = 100 * math.exp(-(1 - base) / 2 * steps)
        reason = (
            f"{left:.2g} % of the target's start is left after {steps} steps; the paper's 0.996 suits 5,000 or more"
        )
        return replace(config, momentum=base), [("momentum", base, reason)]


@torch.no_grad()
@full_precision
def spread(z: Tensor) -> Tensor:
    """Standard deviation of unit vectors over the batch, times √D: near 1 when healthy, 0 when all are alike."""
    return unit(z).std(dim=0, correction=0).mean() * z.shape[1] ** 0.5
