"""VICReg: let two views of an image agree, every output vary over the batch, and no two outputs vary together.

Bardes, Ponce & LeCun 2022, arXiv:2105.04906

    L = λ·s(z₁, z₂) + μ·(v(z₁) + v(z₂))/2 + ν·(c(z₁) + c(z₂)),
    s = mean of (z₁ − z₂)²,   v(z) = mean over d of max(0, 1 − √(var(z_d) + 10⁻⁴)),   c(z) = Σ_{i≠j} cov(z)ᵢⱼ² / D

Differs from the paper:
- the variance terms are halved, as in its code, with which its figures were made; its equation has their sum
  (`variance_weight` 50 is that);
- D is four times the batch where the batch is smaller than the paper's: a covariance of B images has rank B − 1 at
  most, and beyond D ≈ 4·B the covariance term alone holds the outputs' deviation below 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from kontrast.config import require
from kontrast.distributed import gather_with_grad
from kontrast.methods.method import UNKNOWN, About, Auto, Chunkable, Decision, Step, feature_dim, resolved
from kontrast.nn.heads import mlp
from kontrast.nn.numerics import full_precision
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe

EPSILON = 1e-4  # keeps the gradient of the square root finite where an output is constant


@dataclass(frozen=True, kw_only=True)
class VICRegConfig:
    """What of VICReg can be chosen."""

    dim: int | Auto = "auto"
    """D, width of the expander's three layers; auto: four times the batch, at most the paper's 8192."""
    invariance_weight: float = 25.0
    """λ, 0 or more."""
    variance_weight: float = 25.0
    """μ, 0 or more."""
    covariance_weight: float = 1.0
    """ν, 0 or more."""

    def __post_init__(self) -> None:
        fits = self.dim == "auto" or (not isinstance(self.dim, str) and self.dim > 0)
        require(fits, f"--dim {self.dim} is not positive.", "Leave it at auto if unsure; the paper has 8192.")
        for name, paper in (("invariance_weight", 25), ("variance_weight", 25), ("covariance_weight", 1)):
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            require(value >= 0, f"{option} {value} is negative.", f"Set it to 0 or more; the paper has {paper}.")


@full_precision
def invariance(z1: Tensor, z2: Tensor) -> Tensor:
    """s: the mean squared difference of (b, D) and (b, D); a mean over processes is that of the global batch."""
    return (z1 - z2).square().mean()


@full_precision
def variance(z: Tensor) -> Tensor:
    """V of (B, D): 0 where every output has a standard deviation of 1 or more, 0.99 where all are constant."""
    return (1 - (z.var(dim=0) + EPSILON).sqrt()).relu().mean()


@full_precision
def covariance(z: Tensor) -> Tensor:
    """C of (B, D): 0 where no two outputs vary together."""
    centred = z - z.mean(dim=0)
    cov = centred.T @ centred / (len(z) - 1)  # (D, D)
    return (cov - cov.diagonal().diag()).square().sum() / z.shape[1]


def terms(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """s, (v + v)/2 and c + c of the batch of all processes, gradients returning to each; from (b, D), (b, D)."""
    Z1, Z2 = gather_with_grad(z1), gather_with_grad(z2)  # (B, D)
    return invariance(z1, z2), (variance(Z1) + variance(Z2)) / 2, covariance(Z1) + covariance(Z2)


# the paper's; its hue .1, saturation .2 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5,
               jitter=0.8, brightness=0.4, contrast=0.4, blur=0.5, solarize=0.1)  # fmt: skip


class VICReg(Chunkable):
    """VICReg."""

    Config = VICRegConfig
    views = ViewSpec(globals=2)
    natural = Recipe((NATURAL,))
    remedy: ClassVar[str] = (
        "The variance term keeps features apart: lower --lr, raise --options.variance_weight or take a larger "
        "--batch-size"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "lars", "lr": 0.2, "weight_decay": 1e-6, "per": 256}

    def __init__(self, encoder: nn.Module, config: VICRegConfig = VICRegConfig()) -> None:
        super().__init__()
        self.config = config
        dim = resolved(config.dim, 8192)
        self.encoder = encoder
        self.projector = mlp([feature_dim(encoder), dim, dim, dim], norm=True, bias=False, last_bias=False)

    def embed(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """z₁, z₂ (b, D) each, with gradient, and the first view's features (b, F)."""
        x1, x2 = views  # (b, 1, H, W) each; each is a pass of its own, with its own batch-norm statistics
        h1, h2 = self.encoder(x1), self.encoder(x2)  # (b, F)
        return self.projector(h1), self.projector(h2), h1.detach()

    def compare(self, embeddings: tuple[Tensor, ...], about: About = UNKNOWN) -> Step:
        """The outputs of both views, over the whole batch."""
        z1, z2, h = embeddings
        s, v, c = terms(z1, z2)
        weights = self.config
        loss = weights.invariance_weight * s + weights.variance_weight * v + weights.covariance_weight * c
        return Step(loss, h, {"invariance": s.detach(), "variance": v.detach(), "covariance": c.detach()})

    def chance_loss(self) -> float:
        """0.99·μ: outputs that are the same for every image."""
        return self.config.variance_weight * (1 - EPSILON**0.5)

    @classmethod
    def fit_config(
        cls, config: VICRegConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[VICRegConfig, list[Decision]]:
        """D from the batch."""
        if config.dim != "auto":
            return config, []
        dim = min(8192, 4 * batch_size)
        why = "the paper's" if dim == 8192 else "four for each image of a batch, as the paper has with 8192 for 2048"
        return replace(config, dim=dim), [("dim", dim, why)]
