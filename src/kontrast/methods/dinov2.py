"""DINOv2: DINO for whole images, the same task for hidden patches (iBOT), and features kept apart (KoLeo).

Oquab et al. 2024, arXiv:2304.07193; Zhou et al. 2022, arXiv:2111.07832; Sablayrolles et al. 2019, arXiv:1806.03198

    L = L_DINO + L_iBOT + 0.1·(L_KoLeo of each global crop)
    L_iBOT = mean over global crops of the mean over hidden patches i of −Σ_k P_t,i⁽ᵏ⁾ log P_s,i⁽ᵏ⁾
    L_KoLeo = −mean over images i of log min_{j≠i} ‖ĥ_i − ĥ_j‖,   ^ of unit length, j in the same group

P_s = softmax(s/τ_s) as in DINO; P_t by Sinkhorn-Knopp from g/τ_t, of all crops together and of all hidden patches.

Differs from the paper:
- an image's features are the mean of its patches, which is what is kept, not the class token;
- KoLeo looks for neighbours among `koleo_group` images, whatever the number of processes; the paper's groups are what
  one of its GPUs holds, 64;
- one head for images and patches, as iBOT found best on ImageNet-1k and as the authors' code has by default; the paper
  has two, better on 142 million images (`shared_head`);
- each view is masked by chance, the authors mask exactly half of a batch;
- prototypes, momentum and warm-up as in dino.py; no drop path, LayerScale or slower lower layers; weight decay stays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from kontrast.config import require
from kontrast.distributed import gather_with_grad
from kontrast.methods.byol import tau
from kontrast.methods.dino import NATURAL, SMALL, DINOConfig, cross_entropy, fitted, flatness, warmed
from kontrast.methods.method import (
    UNKNOWN,
    About,
    Decision,
    Method,
    Step,
    masks_of,
    resolved,
    usage_entropy,
    usage_share,
    vision_transformer,
)
from kontrast.nn.ema import MomentumCopy
from kontrast.nn.heads import PrototypeHead
from kontrast.nn.numerics import full_precision, unit
from kontrast.nn.sinkhorn import sinkhorn
from kontrast.nn.vit import VisionTransformer
from kontrast.views.masks import MaskSpec
from kontrast.views.params import ViewSpec
from kontrast.views.recipes import Recipe

MASKED, SHARE = 0.5, (0.1, 0.5)  # of the global views; of their patches
APART = 1e-8  # added to every coordinate's difference and to the distance, as published


@dataclass(frozen=True, kw_only=True)
class DINOv2Config(DINOConfig):
    """What of DINOv2 can be chosen: all that DINO has, and more."""

    shared_head: bool = True
    """One head for images and patches; false: one each."""
    koleo_weight: float = 0.1
    """Of KoLeo in the loss, 0 or more."""
    koleo_group: int = 64
    """Images among which KoLeo looks for the nearest, 2 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.koleo_weight >= 0, f"--koleo-weight {self.koleo_weight} is negative.", "The paper has 0.1.")
        require(self.koleo_group >= 2, f"--koleo-group {self.koleo_group} is below 2.", "An image needs a neighbour.")


@full_precision
def ibot(s: Tensor, p: Tensor, hidden: Tensor, temperature: float) -> Tensor:
    """IBOT's loss: ln K times the share of masked views where the student finds all prototypes alike.

    Args:
        s: (M, K) the student's outputs for the hidden patches of all views, in their order.
        p: (M, K) the teacher's distributions for the same; no gradient flows into them.
        hidden: (V, N) bool, which patches of each view are hidden; M of them in all.
        temperature: τ_s.

    Returns:
        The mean over views of the mean over a view's hidden patches, 0 for a view that hides none.
    """
    each = -(p.detach() * (s / temperature).log_softmax(dim=1)).sum(dim=1)  # (M,)
    share = hidden.to(each.dtype) / hidden.sum(dim=1, keepdim=True).clamp(min=1)  # (V, N), rows sum to 1 or 0
    return (share[hidden] * each).sum() / len(hidden)


@full_precision
def koleo(h: Tensor, group: int) -> Tensor:
    """The Kozachenko-Leonenko estimate of the features' entropy, negative: small where they are spread evenly.

    Args:
        h: (B, F) features of all processes.
        group: neighbours are sought among about so many consecutive rows, at least so many where there are.

    Returns:
        −mean log of the distance to the nearest other row, both of unit length; 0 for a single row.
    """
    parts = unit(h).tensor_split(max(1, len(h) // group))
    return torch.cat([-distance_to_nearest(x).log() for x in parts]).mean() if len(h) > 1 else 0 * h.sum()


def distance_to_nearest(x: Tensor) -> Tensor:
    """(n, F) unit rows → (n,)."""
    nearest = (x @ x.T).detach().fill_diagonal_(-2).argmax(dim=1)  # (n,)
    return (x - x[nearest] + APART).norm(dim=1) + APART


class DINOv2(Method):
    """DINOv2 on a Vision Transformer. `mask_token` stands in for every hidden patch and belongs to no encoder."""

    Config = DINOv2Config
    encoder: VisionTransformer
    needs_vit: ClassVar[bool] = True
    natural = Recipe(
        (replace(NATURAL, scale=(0.32, 1.0), blur=1.0), replace(NATURAL, scale=(0.32, 1.0), blur=0.1, solarize=0.2)),
        replace(SMALL, scale=(0.05, 0.32)),
    )
    remedy: ClassVar[str] = (
        "Balanced targets and KoLeo keep features apart: lower --lr, raise --momentum or take fewer --prototypes"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.04, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 4e-3, "weight_decay": 0.04, "per": 1024}

    def __init__(self, encoder: nn.Module, config: DINOv2Config = DINOv2Config()) -> None:
        super().__init__()
        self.config = config
        self.encoder = vision_transformer(encoder, "dinov2")
        hiding = MaskSpec(patch=self.encoder.patch, share=SHARE, probability=MASKED, blocks=True)
        self.views = ViewSpec(globals=2, locals=resolved(config.local_views, 8), masks=hiding)
        self.base = resolved(config.momentum, 0.992)
        widths = self.encoder.feature_dim, config.hidden_dim, config.dim, resolved(config.prototypes, 65536)
        self.head = PrototypeHead(*widths)
        self.patch_head = self.head if config.shared_head else PrototypeHead(*widths)
        self.mask_token = nn.Parameter(torch.zeros(self.encoder.feature_dim))
        self.teacher = MomentumCopy(self._student())
        self.before_step(0.0)

    def _student(self) -> nn.ModuleList:
        return nn.ModuleList([self.encoder, self.head, self.patch_head])

    def before_step(self, progress: float) -> None:
        """τ_t of this step, as in DINO."""
        warmup = resolved(self.config.teacher_warmup, 0.3)
        self.teacher_temperature = warmed(progress, warmup, resolved(self.config.teacher_temperature, 0.07))

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """The teacher sees the whole global crops; the student sees what is left of them, and the local crops."""
        hidden = masks_of(about).flatten(0, 1)  # (2b, N)
        x, small = torch.cat(list(views[:2])), list(views[2:])  # (2b, 1, H, W); local_views × (b, 1, h, w)
        p, p_patch = self._targets(x, hidden)  # 2 × (b, K), (M, K)

        patches, positions = self.encoder.embed(x)
        patches = torch.where(hidden[:, :, None], self.mask_token.to(patches.dtype), patches)  # (2b, N, F)
        patches = self.encoder.encode(patches, positions)[:, 1:]  # (2b, N, F)
        h = patches.mean(dim=1)  # (2b, F)
        every = torch.cat([h, self.encoder(torch.cat(small))]) if small else h  # (V·b, F)
        s = self.head(every).chunk(len(views))  # V × (b, K)

        image = cross_entropy(s, p, self.config.temperature)
        patch = ibot(self.patch_head(patches[hidden]), p_patch, hidden, self.config.temperature)
        # over the global batch in every process: its gradient comes back to each, and all groups are whole
        spread = sum((koleo(gather_with_grad(crop), self.config.koleo_group) for crop in h.chunk(2)), h.new_zeros(()))
        loss = image + patch + self.config.koleo_weight * spread
        logs = {"dino": image.detach(), "ibot": patch.detach(), "koleo": spread.detach() / 2}
        logs |= {"prototype_entropy": usage_entropy(p[0]), "prototypes_used": usage_share(p[0])}
        logs |= {"teacher_entropy": flatness(p[0])}
        return Step(loss, h[: len(views[0])].detach(), logs)

    @torch.no_grad()
    def _targets(self, x: Tensor, hidden: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """The teacher's distributions: 2 × (b, K) for the crops, (M, K) for their hidden patches."""
        encoder, head, patch_head = cast(Any, self.teacher.module)
        patches = encoder.encode(*encoder.embed(x))[:, 1:]  # (2b, N, F)
        p = sinkhorn(head(patches.mean(dim=1)), self.teacher_temperature)
        return p.chunk(2), sinkhorn(patch_head(patches[hidden]), self.teacher_temperature)

    def in_force(self, progress: float) -> dict[str, float]:
        """τ_s, τ_t and m."""
        found = {"teacher_temperature": self.teacher_temperature, "momentum": tau(self.base, progress)}
        return super().in_force(progress) | found

    def after_backward(self, step: int, progress: float) -> None:
        """Hold the prototypes while the features are still random, as in DINO."""
        if step < resolved(self.config.freeze_steps, 1250):
            self.head.prototypes.weight.grad = self.patch_head.prototypes.weight.grad = None

    def after_step(self, progress: float) -> None:
        """θ′ ← m·θ′ + (1 − m)·θ, with the weights that the optimiser has just made."""
        self.teacher.update(self._student(), tau(self.base, progress))

    def chance_loss(self) -> float:
        """Ln K for images, and for patches half as much, since half of the views are masked; KoLeo counts as 0."""
        return (1 + MASKED) * math.log(self.head.prototypes.out_features)

    @classmethod
    def fit_config(
        cls, config: DINOv2Config, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[DINOv2Config, list[Decision]]:
        """As DINO's."""
        return fitted(config, images, steps, batch_size, size, slowest=0.992)
