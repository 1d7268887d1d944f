"""SimSiam: predict the same network's view of the same image; no negatives, no teacher, only a stopped gradient.

Chen & He 2020, arXiv:2011.10566

    L = ½·D(p₁, z₂) + ½·D(p₂, z₁),   D(p, z) = −cos(p, stopgrad(z)),   z = projector(encoder(x)), p = predictor(z)

Differs from the paper:
- the predictor's learning rate follows the schedule like every other (the paper's baseline; held, as in its released
  code, it came out 0.4 points better on ImageNet);
- residual branches start as the encoder has them, where the paper's start at zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from kontrast.config import require
from kontrast.methods.byol import spread
from kontrast.methods.method import UNKNOWN, About, Decision, Method, Step, feature_dim
from kontrast.nn.heads import mlp
from kontrast.nn.numerics import full_precision, unit
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class SimSiamConfig:
    """What of SimSiam can be chosen."""

    dim: int = 2048
    """Width of the projector's three layers, and of the space in which views are compared."""
    hidden_dim: int = 512
    """Width of the predictor's hidden layer; the paper's is a quarter of `dim`, a bottleneck."""

    def __post_init__(self) -> None:
        for name, paper in (("dim", 2048), ("hidden_dim", 512)):
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            require(value > 0, f"{option} {value} is not positive.", f"Set it to 1 or more; the paper has {paper}.")


@full_precision
def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """D: the mean of −cos(p, z), −1 aligned, 0 orthogonal, 1 opposite.

    Args:
        p: (B, D) predictions.
        z: (B, D) projections; no gradient flows into them, and without that stop all collapses at once.
    """
    return -(unit(p) * unit(z.detach())).sum(dim=1).mean()


# MoCo v2's, as in the paper; its hue .1, saturation .4 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, blur=0.5)


class SimSiam(Method):
    """SimSiam."""

    Config = SimSiamConfig
    views = ViewSpec(globals=2)
    natural = Recipe((NATURAL,))
    remedy: ClassVar[str] = (
        "Without negatives and without a slow target, only the predictor keeps features apart: take --method byol, "
        "which has such a target, or a larger --batch-size, or another --lr, of which the direction was not measured"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {
        "optimizer": "sgd", "lr": 0.05, "weight_decay": 1e-4, "per": 256, "decay_1d": True
    }  # fmt: skip

    def __init__(self, encoder: nn.Module, config: SimSiamConfig = SimSiamConfig()) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.encoder = encoder
        # batch-norm after every layer of the projector, the last without scale or shift; none at the predictor's end
        layers = mlp([feature_dim(encoder), dim, dim, dim], norm=True, bias=False, last_bias=False)
        self.projector = nn.Sequential(layers, nn.BatchNorm1d(dim, affine=False))
        self.predictor = mlp([dim, config.hidden_dim, dim], norm=True, bias=False)

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """Each view predicts the projection of the other."""
        x1, x2 = views  # (b, 1, H, W) each; each is a pass of its own, with its own batch-norm statistics
        h1, h2 = self.encoder(x1), self.encoder(x2)  # (b, F)
        z1, z2 = self.projector(h1), self.projector(h2)  # (b, D)
        p1, p2 = self.predictor(z1), self.predictor(z2)  # (b, D)
        loss = negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2
        return Step(loss, h1.detach(), {"output_std": spread(z1.detach())})

    def chance_loss(self) -> float:
        """0: predictions orthogonal to their targets. A collapse is at −1, which no loss tells from success."""
        return 0.0

    @classmethod
    def fit_config(
        cls, config: SimSiamConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[SimSiamConfig, list[Decision]]:
        """Nothing to resolve."""
        return config, []
