"""Barlow Twins: let each output agree between two views of an image, and no two outputs say the same.

Zbontar et al. 2021, arXiv:2103.03230

    L = Σᵢ (1 − Cᵢᵢ)² + λ Σᵢ Σ_{j≠i} Cᵢⱼ²,   C = ẑ₁ᵀẑ₂ / B,   ^ with mean 0 and variance 1 over the batch

Differs from the paper:
- D is four times the batch where the batch is smaller than the paper's: C has rank B − 1 at most, and λ was chosen for
  D = 8192 and B = 2048;
- C is of the batch of all processes *and so is its gradient*: the paper's code sums C without a gradient, and W
  processes get 1/W of it;
- biases and norms have the learning rate of the weights: the paper's have 0.0048 against 0.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kontrast.config import require
from kontrast.distributed import gather_with_grad
from kontrast.methods.method import UNKNOWN, About, Auto, Chunkable, Decision, Step, feature_dim, resolved
from kontrast.nn.heads import mlp
from kontrast.nn.numerics import full_precision
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class BarlowConfig:
    """What of Barlow Twins can be chosen."""

    dim: int | Auto = "auto"
    """D, width of the projector's three layers; auto: four times the batch, at most the paper's 8192."""
    redundancy_weight: float = 0.0051
    """λ, above 0."""

    def __post_init__(self) -> None:
        for name, paper in (("dim", 8192), ("redundancy_weight", 0.0051)):
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            fits = value == "auto" or value > 0
            require(fits, f"{option} {value} is not above 0.", f"Leave it out if unsure; the paper has {paper}.")


@full_precision
def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """C over the batch of all processes, (b, D), (b, D) → (D, D); gradients return to every process."""
    z1, z2 = standardised(gather_with_grad(z1)), standardised(gather_with_grad(z2))  # (B, D)
    return z1.T @ z2 / len(z1)


def standardised(z: Tensor) -> Tensor:
    """Columns with mean 0 and variance 1 over the rows, as batch-norm has them; a constant column becomes 0."""
    var, mean = torch.var_mean(z, dim=0, correction=0)
    return (z - mean) * torch.rsqrt(var + 1e-5)


@full_precision
def redundancy(c: Tensor) -> Tensor:
    """Σ of the squares off the diagonal of (D, D)."""
    return (c - c.diagonal().diag()).square().sum()


def barlow_loss(c: Tensor, weight: float) -> Tensor:
    """The loss of a cross-correlation matrix: D where no output tells images apart.

    Args:
        c: (D, D), from `cross_correlation`.
        weight: λ.
    """
    return (1 - c.diagonal()).square().sum() + weight * redundancy(c)


# BYOL's, as in the paper; its hue .1, saturation .2 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4)


class Barlow(Chunkable):
    """Barlow Twins."""

    Config = BarlowConfig
    views = ViewSpec(globals=2)
    natural = Recipe((replace(NATURAL, blur=1.0), replace(NATURAL, blur=0.1, solarize=0.2)))
    remedy: ClassVar[str] = (
        "Decorrelated outputs keep features apart unless steps are too large: lower --lr or take a larger --batch-size"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "lars", "lr": 0.2, "weight_decay": 1e-6, "per": 256}

    def __init__(self, encoder: nn.Module, config: BarlowConfig = BarlowConfig()) -> None:
        super().__init__()
        self.config = config
        self.dim = resolved(config.dim, 8192)
        self.encoder = encoder
        self.projector = mlp([feature_dim(encoder), *[self.dim] * 3], norm=True, bias=False, last_bias=False)

    def embed(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """z₁, z₂ (b, D) each, with gradient, and the first view's features (b, F)."""
        x1, x2 = views  # (b, 1, H, W) each; each is a pass of its own, with its own batch-norm statistics
        h1, h2 = self.encoder(x1), self.encoder(x2)  # (b, F)
        return self.projector(h1), self.projector(h2), h1.detach()

    def compare(self, embeddings: tuple[Tensor, ...], about: About = UNKNOWN) -> Step:
        """The outputs of one view against those of the other, over the whole batch."""
        z1, z2, h = embeddings
        c = cross_correlation(z1, z2)  # (D, D)
        seen = c.detach()
        pairs = max(self.dim * (self.dim - 1), 1)
        logs = {"correlation": seen.diagonal().mean(), "redundancy": (redundancy(seen) / pairs).sqrt()}
        return Step(barlow_loss(c, self.config.redundancy_weight), h, logs)

    def chance_loss(self) -> float:
        """D: outputs that are the same for every image correlate with nothing."""
        return float(self.dim)

    @classmethod
    def fit_config(
        cls, config: BarlowConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[BarlowConfig, list[Decision]]:
        """D from the batch."""
        if config.dim != "auto":
            return config, []
        dim = min(8192, 4 * batch_size)
        why = "the paper's" if dim == 8192 else "four for each image of a batch, as the paper has with 8192 for 2048"
        return replace(config, dim=dim), [("dim", dim, why)]
