"""SwAV: predict from one view the cluster that another view of the same image was assigned to.

Caron et al. 2020, arXiv:2006.09882

    L = mean over crops v ≠ s of −Σ_k q_s⁽ᵏ⁾ log softmax_k(zᵥ·C/τ),   q_s = sinkhorn(z_s·C), s one of 2 global crops

Differs from the paper:
- the number of prototypes follows the number of images, so that each has images enough to mean something;
- the queue holds the embeddings of all processes and each takes its share of it into Sinkhorn, which is the same
  sum, but a checkpoint of the main process is complete;
- Sinkhorn works on logarithms (nn/sinkhorn.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from kontrast.config import require
from kontrast.distributed import rank, world_size
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
from kontrast.nn.heads import mlp
from kontrast.nn.numerics import full_precision, unit
from kontrast.nn.queue import Queue
from kontrast.nn.sinkhorn import sinkhorn
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe

ASSIGN = (0, 1)  # crops that are assigned to prototypes: the global ones; a small crop sees too little to be a target


@dataclass(frozen=True, kw_only=True)
class SwAVConfig:
    """What of SwAV can be chosen."""

    local_views: int | Auto = "auto"
    """Small crops beside the two global ones, each at about a fifth of their cost; auto: 6, below 112 px none."""
    dim: int = 128
    """Size of the space in which images meet prototypes."""
    prototypes: int | Auto = "auto"
    """K; auto: one for 30 images, 32 to 3000."""
    temperature: float = 0.1
    """τ of the predictions, above 0."""
    epsilon: float = 0.05
    """ε of Sinkhorn, above 0; the authors advise 0.03 where training collapses."""
    sinkhorn_iterations: int = 3
    """Normalisations of prototypes and samples, 1 or more."""
    freeze_steps: int | Auto = "auto"
    """Steps at the start during which prototypes stay as they are; auto: an epoch, at most a tenth of the run."""
    queue_length: int | Auto = "auto"
    """Earlier images that help to balance a small batch's assignments, 0 for none; auto: where B < K."""
    queue_start: int | Auto = "auto"
    """Step from which the queue is filled; it is used once full. Auto: 15 epochs, at most a tenth of the run."""

    def __post_init__(self) -> None:
        for name in ("dim", "prototypes", "temperature", "epsilon", "sinkhorn_iterations"):
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            require(value == "auto" or value > 0, f"{option} {value} is not above 0.", "Leave it out if unsure.")
        for name in ("local_views", "freeze_steps", "queue_length", "queue_start"):
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            require(value == "auto" or value >= 0, f"{option} {value} is negative.", "Set it to 0 or more.")


@full_precision
def swapped_prediction(
    scores: Sequence[Tensor], targets: Sequence[Tensor], temperature: float, assign: Sequence[int] = ASSIGN
) -> Tensor:
    """SwAV's loss: ln K where all scores are equal.

    Args:
        scores: one tensor (B, K) a crop, similarities to the prototypes.
        targets: the assignments (B, K) of the crops in `assign`; no gradient flows into them.
        temperature: τ, for the predictions only.
        assign: which crops `targets` belong to. A crop never predicts its own assignment.

    Returns:
        The mean over assigned crops of the mean over all other crops.
    """
    log_p = [(s / temperature).log_softmax(dim=1) for s in scores]  # crops × (B, K)
    loss = log_p[0].new_zeros(())
    for s, q in zip(assign, targets, strict=True):
        others = [-(q.detach() * log_p[v]).sum(dim=1).mean() for v in range(len(scores)) if v != s]
        loss = loss + torch.stack(others).mean()
    return loss / len(assign)


@full_precision
def similarities(z: Tensor, prototypes: Tensor) -> Tensor:
    """z·C in fp32: (B, D), (K, D) → (B, K); bf16's steps near 1, 2⁻⁸, are 0.08 after ε = 0.05."""
    return z @ prototypes.T


# the paper's; its hue .2, saturation .8 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.14, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.8, contrast=0.8, blur=0.5)
# it blurs its 96 pixel crops by as many pixels as those of 224; a View's sigma counts per 224
SMALL = replace(NATURAL, scale=(0.05, 0.14), sigma=(0.1 * 224 / 96, 2.0 * 224 / 96))


class SwAV(Method):
    """SwAV with multi-crop. `prototypes` is a linear layer without bias, whose rows are kept at unit length."""

    Config = SwAVConfig
    natural = Recipe((NATURAL,), SMALL)
    remedy: ClassVar[str] = (
        "Balanced assignments keep features apart: lower --lr, take fewer --prototypes, or set --options.epsilon 0.03 "
        "as the authors advise"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-6, "per": 256}
    # LARC over SGD, which LARS approximates
    published: ClassVar[dict[str, Any]] = {
        "optimizer": "lars", "lr": 0.6, "weight_decay": 1e-6, "per": 256, "decay_1d": True
    }  # fmt: skip

    def __init__(self, encoder: nn.Module, config: SwAVConfig = SwAVConfig()) -> None:
        super().__init__()
        self.config = config
        self.views = ViewSpec(globals=len(ASSIGN), locals=resolved(config.local_views, 6))
        self.freeze_steps = resolved(config.freeze_steps, 313)
        self.queue_start = resolved(config.queue_start, 0)
        width = feature_dim(encoder)
        self.encoder = encoder
        self.projector = mlp([width, width, config.dim], norm=True)
        self.prototypes = nn.Linear(config.dim, resolved(config.prototypes, 3000), bias=False)
        length = resolved(config.queue_length, 0)
        self.queues = nn.ModuleList(Queue(config.dim, length) for _ in ASSIGN if length)
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # how many were taken

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """Assign the global crops, let every other crop predict the assignments."""
        with torch.no_grad():
            self.prototypes.weight.copy_(unit(self.prototypes.weight))
        h = by_resolution(self.encoder, views)  # (V·b, F)
        z = unit(self.projector(h))  # (V·b, D), one pass of the head over all crops
        s = similarities(z, self.prototypes.weight).chunk(len(views))  # V × (b, K)
        crops = [z.detach().chunk(len(views))[v] for v in ASSIGN]  # 2 × (b, D)
        q = [self._assignments(i, s[v]) for i, v in enumerate(ASSIGN)]  # 2 × (b, K), one Sinkhorn a crop
        self._remember(crops)  # only now: the batch is in the assignment already
        loss = swapped_prediction(s, q, self.config.temperature)
        b = len(views[0])
        logs = {"prototype_entropy": usage_entropy(q[0]), "prototypes_used": usage_share(q[0])}
        return Step(loss, h[:b].detach(), logs)

    def _assignments(self, crop: int, scores: Tensor) -> Tensor:
        """(b, K) → (b, K), balanced together with the queue where that is full."""
        b, scores = len(scores), scores.detach()
        queue = cast(Queue, self.queues[crop]) if self.queues else None
        if queue is not None and queue.full:
            mine = queue.keys.tensor_split(world_size())[rank()]  # this process's share: none enters the sum twice
            scores = torch.cat([similarities(mine, self.prototypes.weight.detach()), scores])
        return sinkhorn(scores, self.config.epsilon, self.config.sinkhorn_iterations)[-b:]

    def _remember(self, crops: Sequence[Tensor]) -> None:
        if self.queues and int(self.steps) >= self.queue_start:
            for queue, z in zip(self.queues, crops, strict=True):
                cast(Queue, queue).enqueue(z)
        self.steps.add_(1)

    def after_backward(self, step: int, progress: float) -> None:
        """Hold the prototypes while the features are still random; without a gradient no momentum moves them."""
        if step < self.freeze_steps:
            self.prototypes.weight.grad = None

    def chance_loss(self) -> float:
        """The logarithm of K: every prototype equally likely."""
        return math.log(self.prototypes.out_features)

    @classmethod
    def fit_config(
        cls, config: SwAVConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[SwAVConfig, list[Decision]]:
        """Prototypes and queue from the number of images, the moments from the run's length."""
        found: list[Decision] = []
        epoch, tenth = max(1, images // batch_size), steps // 10
        # The queue helps once embeddings move slowly: the paper starts it at epoch 15. Before, its stale keys fill the
        # prototypes, and balancing leaves few of them to the batch.
        short = steps < 30 * epoch
        few = batch_size // 2 if short else 3000
        K = max(32, min(3000, images // 30, few)) if config.prototypes == "auto" else config.prototypes
        if config.prototypes == "auto":
            why = f"one for about 30 of {images} images, 32 to 3000; the paper has 3000"
            found.append(("prototypes", K, "half a batch, which balances them without a queue" if few == K else why))
        if config.local_views == "auto":
            # At 64 px a local crop has 24 px: one place of a ResNet's last map. Such crops show too little to predict
            # an assignment, and six of them outweigh the two that do: the best answer is then uniform, a loss of ln K.
            found.append(
                ("local_views", 6, "as the paper has")
                if size >= 112
                else ("local_views", 0, f"at {size} px they would have {round(size * 3 / 7)} px and show too little")
            )
        if config.freeze_steps == "auto":
            why = "an epoch, at most a tenth of the run: features are random at first"
            found.append(("freeze_steps", min(epoch, tenth), why))
        require(
            config.queue_length == "auto" or config.queue_length <= images,
            f"--queue-length {config.queue_length} exceeds the {images} images: an image would weigh twice.",
            f"Set --queue-length {max(1, images // 4)} or less, or leave it at auto.",
        )
        if config.queue_length == "auto":
            wanted = batch_size < K and not short
            length = min(3840, images // 4) // batch_size * batch_size if wanted else 0
            why = f"a batch of {batch_size} has fewer images than {K} prototypes; at most a quarter of the images"
            none = f"a batch of {batch_size} balances {K} prototypes" if batch_size >= K else "too few images for one"
            none = "fewer than 30 epochs: embeddings move too fast for a queue" if short and batch_size < K else none
            found.append(("queue_length", length, why if length else none))
        if config.queue_start == "auto":
            why = "15 epochs, at most a tenth of the run: early embeddings are random"
            found.append(("queue_start", min(15 * epoch, tenth), why))
        return replace(config, **{name: value for name, value, _ in found}), found
