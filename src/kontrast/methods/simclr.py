"""SimCLR: among all other views in the batch, find the other view of the same image.

Chen et al. 2020, arXiv:2002.05709

    L = −1/2N Σᵢ log exp(zᵢ·zⱼ₍ᵢ₎/τ) / Σ_{k≠i} exp(zᵢ·z_k/τ)

Differs from the paper:
- views of other images of the same patient are left out where patients are known (`same_patient_negatives`);
- the loss is the mean over 2N views, as in the paper's equation 1; its code sums the two halves, which is twice that;
- weights begin as torch's do, not as N(0, 0.01): batch-norm follows every layer and removes the scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kontrast.config import require
from kontrast.distributed import gather, gather_with_grad, rank, world_size
from kontrast.methods.method import UNKNOWN, About, Decision, Method, Step, contrast_accuracy, excluding, feature_dim
from kontrast.nn.heads import batchnorm_without_shift, mlp
from kontrast.nn.numerics import full_precision, unit
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class SimCLRConfig:
    """What of SimCLR can be chosen."""

    dim: int = 128
    """Size of the space in which views are compared."""
    layers: int = 2
    """Layers of the projector; 2 in the paper, 3 in SimCLR v2 (arXiv:2006.10029)."""
    temperature: float = 0.1
    """τ, above 0; smaller weighs the most similar negatives more."""
    same_patient_negatives: Literal["mask", "keep"] = "mask"
    """Whether other images of a view's own patient are left out of the negatives, where patients are known."""

    def __post_init__(self) -> None:
        require(self.dim > 0, f"--dim {self.dim} is not positive.", "Set it to 1 or more; the paper has 128.")
        require(self.layers > 0, f"--layers {self.layers} is not positive.", "Set it to 1 or more; the paper has 2.")
        require(self.temperature > 0, f"--temperature {self.temperature} is not above 0.", "The paper has 0.1.")


@full_precision
def logits(z1: Tensor, z2: Tensor, temperature: float, left_out: Tensor | None = None) -> Tensor:
    """Similarities of this process's views to all, (b, D), (b, D) → (2b, 2B); −∞ to itself and where left out."""
    z = unit(torch.cat([z1, z2]))  # (2b, D)
    b = len(z1)
    everyone = torch.cat([gather_with_grad(z[:b]), gather_with_grad(z[b:])])  # (2B, D)
    s = z @ everyone.T / temperature  # (2b, 2B)
    own = positives(b, z.device).roll(b)  # (2b,) a view's own column is its partner's positive
    s = s.scatter(1, own[:, None], float("-inf"))
    return s if left_out is None else s.masked_fill(left_out, float("-inf"))


def positives(b: int, device: torch.device) -> Tensor:
    """The column of each view's other view, (2b,): view i of an image and view i + B."""
    first = torch.arange(b, device=device) + b * rank()
    return torch.cat([first + b * world_size(), first])


def same_patient(patients: Tensor) -> Tensor:
    """Which views are of another image of the same patient: (b,) → (2b, 2B) bool, False for the image's own two."""
    everyone = gather(patients).repeat(2)  # (2B,)
    same = patients.repeat(2)[:, None] == everyone  # (2b, 2B)
    other = positives(len(patients), patients.device)  # (2b,)
    return same.scatter(1, torch.stack([other, other.roll(len(patients))], dim=1), False)


def nt_xent(z1: Tensor, z2: Tensor, temperature: float, left_out: Tensor | None = None) -> Tensor:
    """The normalised temperature-scaled cross-entropy, a mean over views.

    The negatives are those of all processes, and gradients return to them. Where all embeddings are alike it is
    ln(2B − 1), or the mean of ln(2B − 1 − m) with m of a view's negatives left out.

    Args:
        z1: (b, D) projections of one view of each image; need not be unit vectors.
        z2: (b, D) projections of the other view.
        temperature: τ.
        left_out: (2b, 2B) bool, True where a view is no negative of another, never at a positive.
    """
    return F.cross_entropy(logits(z1, z2, temperature, left_out), positives(len(z1), z1.device))


# the paper's; its hue .2, saturation .8 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.8, contrast=0.8, blur=0.5)


class SimCLR(Method):
    """SimCLR."""

    Config = SimCLRConfig
    views = ViewSpec(globals=2)
    natural = Recipe((NATURAL,))
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "lars", "lr": 0.3, "weight_decay": 1e-6, "per": 256}

    def __init__(self, encoder: nn.Module, config: SimCLRConfig = SimCLRConfig()) -> None:
        super().__init__()
        self.config = config
        width = feature_dim(encoder)
        self.encoder = encoder
        widths = [width] * config.layers + [config.dim]
        # biases before a batch-norm would be removed by it
        self.projector = nn.Sequential(
            mlp(widths, norm=True, bias=False, last_bias=False), batchnorm_without_shift(config.dim)
        )
        self._chance: float | Tensor | None = None

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """Both views in one pass."""
        x = torch.cat(list(views))  # (2b, 1, H, W): one pass, so that both views share batch-norm statistics
        h = self.encoder(x)  # (2b, F)
        z1, z2 = self.projector(h).chunk(2)  # (b, D) each
        logs: dict[str, Tensor | float] = {}
        left_out = None
        if about.patients is not None:
            same = same_patient(about.patients)  # (2b, 2B)
            logs["same_patient_negatives"] = same.sum(dim=1).double().mean()
            left_out = same if self.config.same_patient_negatives == "mask" else None
        s = logits(z1, z2, self.config.temperature, left_out)  # (2b, 2B)
        positive = positives(len(z1), s.device)  # (2b,)
        candidates = s.shape[1] - 1  # all but the view itself
        self._chance = math.log(candidates) if left_out is None else excluding(candidates, left_out)
        loss = F.cross_entropy(s, positive)
        return Step(loss, h.detach().chunk(2)[0], {"contrast_accuracy": contrast_accuracy(s, positive), **logs})

    def chance_loss(self) -> float | None:
        """ln(2B − 1), B being the last step's batch over all processes, less the masked views of this one's.

        None before the first step.
        """
        return None if self._chance is None else float(self._chance)

    @classmethod
    def fit_config(
        cls, config: SimCLRConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[SimCLRConfig, list[Decision]]:
        """Nothing to resolve."""
        return config, []
