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

from kontrast.config import require
from kontrast.distributed import gather, gather_with_grad, rank, world_size
from kontrast.methods.method import UNKNOWN, About, Chunkable, Decision, Step, feature_dim
from kontrast.nn.contrast import contrast, related
from kontrast.nn.heads import batchnorm_without_shift, mlp
from kontrast.nn.numerics import unit
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


def nt_xent(z1: Tensor, z2: Tensor, temperature: float, patients: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The normalised temperature-scaled cross-entropy, a mean over views, in memory linear in the batch.

    The negatives are those of all processes, and gradients return to them. Where all embeddings are alike it is
    ln(2B − 1), or the mean of ln(2B − 1 − m) with m of a view's negatives left out.

    Args:
        z1: (b, D) projections of one view of each image; need not be unit vectors.
        z2: (b, D) projections of the other view.
        temperature: τ.
        patients: (b,) int64; views of other images of a view's patient are no negatives of it. None leaves none out.

    Returns:
        The loss, and the share of views nearer to their other view than to every negative.
    """
    z, b = unit(torch.cat([z1, z2])), len(z1)  # (2b, D)
    everyone = torch.cat([gather_with_grad(z[:b]), gather_with_grad(z[b:])])  # (2B, D)
    image = torch.arange(b, device=z.device) + b * rank()  # (b,) where this process's images stand in the batch
    positive = torch.cat([image + b * world_size(), image])  # (2b,) the column of each view's other view
    own = image if patients is None else patients
    return contrast(z, everyone, positive, temperature, own.repeat(2), gather(own).repeat(2))


# the paper's; its hue .2, saturation .8 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.8, contrast=0.8, blur=0.5)


class SimCLR(Chunkable):
    """SimCLR."""

    Config = SimCLRConfig
    views = ViewSpec(globals=2)
    natural = Recipe((NATURAL,))
    remedy: ClassVar[str] = (
        "Negatives keep features apart unless steps are too large: lower --lr, lower --temperature or take a larger "
        "--batch-size"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {
        "optimizer": "lars", "lr": 0.3, "weight_decay": 1e-6, "per": 256, "lr_in_momentum": True
    }  # fmt: skip

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

    def embed(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """z₁, z₂ (b, D) each, with gradient, and the first view's features (b, F)."""
        x = torch.cat(list(views))  # (2b, 1, H, W): one pass, so that both views share batch-norm statistics
        h = self.encoder(x)  # (2b, F)
        z1, z2 = self.projector(h).chunk(2)
        return z1, z2, h.detach().chunk(2)[0]

    def compare(self, embeddings: tuple[Tensor, ...], about: About = UNKNOWN) -> Step:
        """Each view against all others of the batch."""
        z1, z2, h = embeddings
        candidates = 2 * len(z1) * world_size() - 1  # all views but the view itself
        logs: dict[str, Tensor | float] = {}
        patients, self._chance = None, math.log(candidates)
        if about.patients is not None:
            same = 2 * (related(about.patients, gather(about.patients)) - 1)  # (b,) views of the patient's other images
            logs["same_patient_negatives"] = same.double().mean()
            if self.config.same_patient_negatives == "mask":
                patients, self._chance = about.patients, (candidates - same).double().log().mean()
        loss, accuracy = nt_xent(z1, z2, self.config.temperature, patients)
        return Step(loss, h, {"contrast_accuracy": accuracy, **logs})

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
