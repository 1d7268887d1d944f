"""DINO: a student who sees a small part must give the same distribution as a slow teacher who sees the whole.

Caron et al. 2021, arXiv:2104.14294

    L = mean over crops v ≠ t of −Σ_k P_t⁽ᵏ⁾ log P_v⁽ᵏ⁾,   P_v = softmax(s_v/τ_s),   P_t = softmax((g_t − c)/τ_t),
    t one of 2 global crops,   c ← 0.9·c + 0.1·mean g,   θ′ ← m·θ′ + (1 − m)·θ after each step

Differs from the paper:
- the features are the encoder's own: of a ViT the mean of its patches, which is what is kept, not the class token;
- the number of prototypes follows the number of images: the paper has 65536 for 1.3 million;
- c starts as the first batch's mean, not as 0: what a random network's outputs have in common would be learned first,
  and short runs then end at chance;
- m's base and τ_t come from the run's length, and τ_t rises at each step, not at each epoch;
- weight decay stays as it is, where the paper's rises from 0.04 to 0.4; no drop path; gradients are clipped only if
  asked for (the paper clips each tensor at 3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from kontrast.config import require
from kontrast.distributed import all_reduce_mean
from kontrast.methods.byol import tau
from kontrast.methods.method import (
    UNKNOWN,
    About,
    Auto,
    Decision,
    Method,
    Step,
    by_resolution,
    feature_dim,
    resolved,
    usage_entropy,
    usage_share,
)
from kontrast.nn.ema import MomentumCopy
from kontrast.nn.heads import PrototypeHead
from kontrast.nn.numerics import full_precision
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe

COLD = 0.04  # τ_t at the start
CENTRE = 0.9  # what the centre keeps of itself
LONG = 10_000  # steps from which a run bears the paper's τ_t; in shorter ones it hardly learns
LIMITS: dict[str, tuple[float, float]] = {
    "local_views": (0, math.inf), "hidden_dim": (1, math.inf), "dim": (1, math.inf), "prototypes": (1, math.inf),
    "temperature": (1e-3, math.inf), "teacher_temperature": (1e-3, math.inf), "teacher_warmup": (0, 1),
    "momentum": (0, 1), "freeze_steps": (0, math.inf),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DINOConfig:
    """What of DINO can be chosen."""

    local_views: int | Auto = "auto"
    """Small crops beside the two global ones, each at about a fifth of their cost; auto: 8, below 112 px none."""
    hidden_dim: int = 2048
    """Width of the head's two hidden layers."""
    dim: int = 256
    """Size of the space in which images meet prototypes."""
    prototypes: int | Auto = "auto"
    """K; auto: one for 20 images, 1024 to 65536."""
    temperature: float = 0.1
    """τ_s of the student, above 0."""
    teacher_temperature: float | Auto = "auto"
    """τ_t after its warm-up, above 0; it starts at 0.04, or at this if lower. Auto: 0.04 in runs below 10,000 steps."""
    teacher_warmup: float | Auto = "auto"
    """Share of the run in which τ_t rises, 0 to 1; auto: 30 epochs, at most 0.3."""
    momentum: float | Auto = "auto"
    """m at the start, 0 to 1, rising to 1 along a cosine; auto: from the run's length."""
    freeze_steps: int | Auto = "auto"
    """Steps at the start during which prototypes stay as they are; auto: an epoch, at most a tenth of the run."""

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            fits = value == "auto" or low <= value <= high
            limits = f"{low} to {high}" if high < math.inf else f"{low} up"
            option = f"--{name.replace('_', '-')}"
            require(fits, f"{option} {value} is not from {limits}.", "Leave it out if unsure.")


Fitted = TypeVar("Fitted", bound=DINOConfig)


@full_precision
def cross_entropy(student: Sequence[Tensor], teacher: Sequence[Tensor], temperature: float) -> Tensor:
    """DINO's loss: ln K where the student finds all prototypes alike.

    Args:
        student: one tensor (B, K) a crop, the global ones first.
        teacher: distributions (B, K) of the global crops; no gradient flows into them.
        temperature: τ_s.

    Returns:
        The mean over all pairs of a teacher's crop and another crop of the student's.
    """
    log_p = [(s / temperature).log_softmax(dim=1) for s in student]  # crops × (B, K)
    pairs = [(t, v) for t in range(len(teacher)) for v in range(len(student)) if v != t]
    return torch.stack([-(teacher[t].detach() * log_p[v]).sum(dim=1).mean() for t, v in pairs]).mean()


@torch.no_grad()
@full_precision
def centred(g: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """softmax((g − c)/τ_t): (B, K), (K,) → (B, K).

    Without the centre one prototype would take all, without a low τ_t all would become alike.
    """
    return ((g - centre) / temperature).softmax(dim=1)


def warmed(progress: float, warmup: float, temperature: float) -> float:
    """τ_t after a share `progress` of the run: linear from 0.04, or from `temperature` if lower, over `warmup`."""
    start = min(COLD, temperature)
    return start + (temperature - start) * (min(progress / warmup, 1) if warmup else 1)


NATURAL = View(scale=(0.4, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4)
# its 96 pixel crops are blurred by as many pixels as those of 224; a View's sigma counts per 224
SMALL = replace(NATURAL, scale=(0.05, 0.4), blur=0.5, sigma=(0.1 * 224 / 96, 2.0 * 224 / 96))


class DINO(Method):
    """DINO with multi-crop, on any encoder."""

    Config = DINOConfig
    natural = Recipe((replace(NATURAL, blur=1.0), replace(NATURAL, blur=0.1, solarize=0.2)), SMALL)
    remedy: ClassVar[str] = (
        "Only a slow, sharp and centred teacher keeps features apart: lower --lr, raise --momentum, or lower "
        "--options.teacher_temperature"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.04, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.04, "per": 256}

    def __init__(self, encoder: nn.Module, config: DINOConfig = DINOConfig()) -> None:
        super().__init__()
        self.config = config
        self.views = ViewSpec(globals=2, locals=resolved(config.local_views, 8))
        self.base = resolved(config.momentum, 0.996)
        K = resolved(config.prototypes, 65536)
        self.encoder = encoder
        self.head = PrototypeHead(feature_dim(encoder), config.hidden_dim, config.dim, K)
        self.teacher = MomentumCopy(self._student())
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(K))  # c
        self.started: Tensor
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))  # whether c is a mean yet
        self.before_step(0.0)

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.encoder, self.head)

    def before_step(self, progress: float) -> None:
        """τ_t of this step."""
        warmup = resolved(self.config.teacher_warmup, 0.3)
        self.teacher_temperature = warmed(progress, warmup, resolved(self.config.teacher_temperature, 0.07))

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """The teacher sees the global crops, the student all."""
        h = by_resolution(self.encoder, views)  # (V·b, F)
        s = self.head(h).chunk(len(views))  # V × (b, K)
        g = self.teacher(torch.cat(list(views[:2])))  # (2b, K), no gradient
        p = centred(g, self._centre(g), self.teacher_temperature).chunk(2)  # 2 × (b, K)
        loss = cross_entropy(s, p, self.config.temperature)
        logs = {"prototype_entropy": usage_entropy(p[0]), "prototypes_used": usage_share(p[0])}
        logs |= {"teacher_entropy": flatness(p[0])}
        return Step(loss, h[: len(views[0])].detach(), logs)

    @torch.no_grad()
    def _centre(self, g: Tensor) -> Tensor:
        """The centre as it was before this batch, whose mean over all processes moves it for the next."""
        mean = all_reduce_mean(g.mean(dim=0)).to(self.centre.dtype)  # (K,)
        c = torch.where(self.started, self.centre, mean)
        self.centre.copy_(CENTRE * c + (1 - CENTRE) * mean)
        self.started.fill_(True)
        return c

    def in_force(self, progress: float) -> dict[str, float]:
        """τ_s, τ_t and m."""
        found = {"teacher_temperature": self.teacher_temperature, "momentum": tau(self.base, progress)}
        return super().in_force(progress) | found

    def after_backward(self, step: int, progress: float) -> None:
        """Hold the prototypes while the features are still random; without a gradient no momentum moves them."""
        if step < resolved(self.config.freeze_steps, 1251):
            self.head.prototypes.weight.grad = None

    def after_step(self, progress: float) -> None:
        """θ′ ← m·θ′ + (1 − m)·θ, with the weights that the optimiser has just made."""
        self.teacher.update(self._student(), tau(self.base, progress))

    def chance_loss(self) -> float:
        """The logarithm of K: every prototype equally likely."""
        return math.log(self.head.prototypes.out_features)

    @classmethod
    def fit_config(
        cls, config: DINOConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[DINOConfig, list[Decision]]:
        """Prototypes from the number of images, temperature and momentum from the run's length."""
        return fitted(config, images, steps, batch_size, size, slowest=0.996)


def fitted(
    config: Fitted, images: int, steps: int, batch_size: int, size: int, slowest: float
) -> tuple[Fitted, list[Decision]]:
    """What DINO and DINOv2 leave to the data and the run's length; `slowest` is the paper's base of m."""
    epoch, small = max(1, images // batch_size), f"at {size} px they would have {round(size * 3 / 7)} px"
    warmup = round(min(0.3, 30 * epoch / max(steps, 1)), 4)
    # along the cosine the mean of 1 − m is half of 1 − base
    base = 1 - min(0.02, max(1 - slowest, 20 / max(steps, 1)))
    left = f"{100 * math.exp(-(1 - base) / 2 * steps):.2g} % of the teacher's start is left after {steps} steps"
    cold = 0.04, f"where the paper's starts, for fewer than {LONG:,} steps"
    K = max(1024, min(65536, images // 20))
    found: list[Decision] = [
        ("local_views", *((8, "as the paper has") if size >= 112 else (0, f"{small} and show too little"))),
        ("prototypes", K, f"one for 20 of {images} images, as the paper has, but 1024 to 65536"),
        ("teacher_temperature", *(cold if steps < LONG else (0.07, f"the paper's, for {LONG:,} steps or more"))),
        ("teacher_warmup", warmup, "30 epochs as in the paper, at most 0.3 of the run"),
        ("momentum", base, f"{left}; the paper has {slowest}"),
        ("freeze_steps", min(epoch, steps // 10), "an epoch, at most a tenth of the run: features are random at first"),
    ]
    found = [decision for decision in found if getattr(config, decision[0]) == "auto"]
    return replace(config, **{name: value for name, value, _ in found}), found


@torch.no_grad()
def flatness(p: Tensor) -> Tensor:
    """Mean entropy of distributions (B, K) over the largest possible: 1 all prototypes alike, 0 one certain."""
    return torch.special.entr(p).sum(dim=1).mean() / math.log(max(p.shape[1], 2))
