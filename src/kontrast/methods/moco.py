"""MoCo v2: find the key of the same image among a queue of other images' keys.

He et al. 2020, arXiv:1911.05722; Chen et al. 2020, arXiv:2003.04297

    L = −log exp(q·k₊/T) / (exp(q·k₊/T) + Σᵢ exp(q·kᵢ/T)),   kᵢ from the queue,   θ_k ← m·θ_k + (1 − m)·θ_q

Differs from the paper:
- the queue is capped at a quarter of the images that the run sees, since a longer one makes old keys of an image its
  own negatives, and at the steps in which the key encoder changes little;
- m comes from the run's length: m = 0.999 leaves 71 % of a random start in the key encoder after 340 steps;
- keys of the query's own patient are left out of the negatives where patients are known (`same_patient_negatives`);
- batch-norm takes groups of the batch for the paper's 8 GPUs, and the keys' groups are dealt rather than shuffled at
  random (nn/batchnorm.py), so that one device does not leak and a resumed run needs no generator.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kontrast.config import require
from kontrast.distributed import world_size
from kontrast.methods.method import (
    UNKNOWN,
    About,
    Auto,
    Decision,
    Method,
    Step,
    contrast_accuracy,
    excluding,
    feature_dim,
    resolved,
)
from kontrast.nn.batchnorm import check_groups, dealt, split_batchnorm
from kontrast.nn.ema import MomentumCopy
from kontrast.nn.heads import mlp
from kontrast.nn.numerics import full_precision, unit
from kontrast.nn.queue import Queue
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe

SPAN = 0.256
"""Steps that the queue spans, over the 1 / (1 − m) in which the key encoder becomes another: the paper's 65,536 / 256
over 1,000. Keys in a longer one are of encoders that are gone: the dictionary is not consistent (section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class MoCoConfig:
    """What of MoCo can be chosen."""

    dim: int = 128
    """Size of the space in which query and keys are compared."""
    temperature: float = 0.2
    """T, above 0; smaller weighs the most similar negatives more."""
    queue_length: int | Auto = "auto"
    """K, the number of negatives; auto: 65536, but at most a quarter of the images the run sees."""
    momentum: float | Auto = "auto"
    """m, the share of itself that the key encoder keeps at each step, 0 to 1; auto: from the run's length."""
    bn_groups: int | Auto = "auto"
    """Parts of a process's batch with batch-norm statistics of their own; auto: parts of about 32 images."""
    same_patient_negatives: Literal["mask", "keep"] = "mask"
    """Whether keys of the query's own patient are left out of the negatives, where patients are known."""

    def __post_init__(self) -> None:
        require(self.dim > 0, f"--dim {self.dim} is not positive.", "Set it to 1 or more; the paper has 128.")
        require(self.temperature > 0, f"--temperature {self.temperature} is not above 0.", "The paper has 0.2.")
        for name, low, high in (("queue_length", 1, None), ("momentum", 0, 1), ("bn_groups", 1, None)):
            value = getattr(self, name)
            fits = value == "auto" or (value >= low and (high is None or value <= high))
            limits = f"from {low}" + (f" to {high}" if high else "")
            require(fits, f"--{name.replace('_', '-')} {value} is not {limits}.", "Leave it at auto if unsure.")


@full_precision
def logits(q: Tensor, k: Tensor, queue: Tensor, temperature: float, left_out: Tensor | None = None) -> Tensor:
    """[q·k₊ | q·queueᵀ] / T, the positive in column 0; (B, D), (B, D), (K, D) → (B, 1+K); −∞ where (B, K) is True."""
    q, k, queue = unit(q), unit(k.detach()), unit(queue.detach())
    positive = (q * k).sum(dim=1, keepdim=True)  # (B, 1)
    negative = q @ queue.T  # (B, K)
    if left_out is not None:
        negative = negative.masked_fill(left_out, float("-inf"))
    return torch.cat([positive, negative], dim=1) / temperature


def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float, left_out: Tensor | None = None) -> Tensor:
    """MoCo's loss, a mean over queries (van den Oord et al. 2018, arXiv:1807.03748).

    Where all embeddings are alike it is ln(1+K), or the mean of ln(1+K−m) with m of a query's negatives left out.

    Args:
        q: (B, D) queries.
        k: (B, D) their positive keys; no gradient flows into them, nor into the queue.
        queue: (K, D) negatives. Rows of all three need not be unit vectors: they are made so.
        temperature: T.
        left_out: (B, K) bool, True where a key is no negative of a query.
    """
    x = logits(q, k, queue, temperature, left_out)  # (B, 1+K)
    return F.cross_entropy(x, x.new_zeros(len(x), dtype=torch.int64))


# v2's; its hue .1, saturation .4 and conversion to grey .2 do nothing here
NATURAL = View(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, blur=0.5)


class MoCo(Method):
    """MoCo v2. A batch-norm encoder is changed in place: its statistics are taken per group of the batch."""

    Config = MoCoConfig
    views = ViewSpec(globals=2)
    natural = Recipe((NATURAL,))
    sync_batchnorm: ClassVar[bool] = False  # statistics over all processes are what would leak
    remedy: ClassVar[str] = (
        "Negatives keep features apart as long as keys change slowly and batch statistics do not leak: lower --lr, "
        "raise --momentum or lengthen --queue-length"
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "per": 256}
    published: ClassVar[dict[str, Any]] = {
        "optimizer": "sgd", "lr": 0.03, "weight_decay": 1e-4, "per": 256, "decay_1d": True
    }  # fmt: skip

    def __init__(self, encoder: nn.Module, config: MoCoConfig = MoCoConfig()) -> None:
        super().__init__()
        self.config = config
        self.m = resolved(config.momentum, 0.999)
        self.groups = resolved(config.bn_groups, 1)
        width = feature_dim(encoder)
        self.encoder = encoder
        if split_batchnorm(encoder, self.groups) == 0:
            self.groups = 0  # without batch-norm nothing leaks, and keys stay where they are
        self.projector = mlp([width, width, config.dim], norm=False)
        self.teacher = MomentumCopy(self._student())
        self.queue = Queue(config.dim, resolved(config.queue_length, 65536))
        self._chance: Tensor | None = None

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.encoder, self.projector)

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """The query from the first view, the key from the second; one direction, as published."""
        x_q, x_k = views  # (b, 1, H, W) each
        h = self.encoder(x_q)  # (b, F)
        q = self.projector(h)  # (b, D)
        self.teacher.update(self._student(), self.m)  # after the query's forward pass, before the key's
        k = dealt(self.teacher, x_k, self.groups) if self.groups else self.teacher(x_k)  # (b, D), no gradient
        logs: dict[str, Tensor | float] = {}
        left_out = None
        if about.patients is not None:
            same = about.patients[:, None] == self.queue.patients  # (b, K)
            logs["same_patient_negatives"] = same.sum(dim=1).double().mean()
            left_out = same if self.config.same_patient_negatives == "mask" else None
        x = logits(q, k, self.queue.keys, self.config.temperature, left_out)  # (b, 1+K)
        first = x.new_zeros(len(x), dtype=torch.int64)  # (b,) the positive's column
        loss = F.cross_entropy(x, first)
        self._chance = None if left_out is None else excluding(x.shape[1], left_out)
        self.queue.enqueue(unit(k), about.patients)  # only now: a key in the queue would be its own negative
        return Step(loss, h.detach(), {"contrast_accuracy": contrast_accuracy(x, first), **logs})

    def in_force(self, progress: float) -> dict[str, float]:
        """T and m."""
        return super().in_force(progress) | {"momentum": self.m}

    def chance_loss(self) -> float:
        """ln(1 + K), less the masked keys of this process's last queries."""
        return math.log1p(len(self.queue.keys)) if self._chance is None else float(self._chance)

    @classmethod
    def fit_config(
        cls, config: MoCoConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[MoCoConfig, list[Decision]]:
        """The queue from the number of images, m from the run's length, groups from the batch."""
        found: list[Decision] = []
        processes = world_size()
        m = 1 - min(0.1, max(0.001, 10 / max(steps, 1))) if config.momentum == "auto" else float(config.momentum)
        if config.queue_length == "auto":
            found.append(("queue_length", *_queue_length(images, steps, batch_size, m)))
        else:
            require(
                config.queue_length <= images,
                f"--queue-length {config.queue_length} exceeds the {images} images: an image would meet itself.",
                f"Set --queue-length {max(1, images // 4)} or less, or leave it at auto.",
            )
        if config.momentum == "auto":
            left = f"{100 * m**steps:.2g} % of the key encoder's start is left after {steps} steps"
            found.append(("momentum", m, f"{left}; the paper's 0.999 suits 10,000 or more"))
        if config.bn_groups == "auto":
            found.append(("bn_groups", *_bn_groups(batch_size // processes, processes)))
        elif config.bn_groups > 1:
            check_groups(batch_size // processes, config.bn_groups)
        return replace(config, **{name: value for name, value, _ in found}), found


def _queue_length(images: int, steps: int, batch_size: int, m: float) -> tuple[int, str]:
    seen = min(images, max(steps, 1) * batch_size)
    few = max(1, seen // 4)
    fresh = max(1, math.floor(SPAN / (1 - m) + 1e-6)) * batch_size if m < 1 else few
    cap = min(65536, few, fresh)
    if cap == 65536:
        return cap, "the paper's; less than a quarter of the images"
    if cap < batch_size:
        return cap, f"a quarter of the {seen} images that the run sees, less than one batch"
    length = cap // batch_size * batch_size
    if fresh < few:
        return length, f"{length // batch_size} steps, in which the key encoder changes little"
    return length, f"at most a quarter of the {seen} images that the run sees, in whole batches"


def _bn_groups(batch: int, processes: int) -> tuple[int, str]:
    if processes > 1 and batch <= 64:
        return 1, "keys are dealt over the processes, so batch statistics do not leak"
    fits = [g for g in range(2, 9) if batch % g == 0 and batch >= 2 * g]
    if not fits:
        leak = "batch statistics can leak, prefer another" if processes == 1 else "keys are dealt over the processes"
        return 1, f"a batch of {batch} a process has no equal parts; {leak}"
    groups = min(fits, key=lambda g: abs(math.log(batch / g / 32)))
    return groups, f"batch-norm over {batch // groups} images at a time, so that batch statistics do not leak"
