"""What every method is: views in, a loss out, and a few moments at which it may tend to its own state."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from kontrast.errors import UsageError
from kontrast.nn.vit import VisionTransformer
from kontrast.views.params import ViewSpec
from kontrast.views.recipes import XRAY, Recipe

T = TypeVar("T")
Auto = Literal["auto"]

Decision = tuple[str, Any, str]
"""An option, the value it got, and why."""


@dataclass(frozen=True)
class Step:
    """What one step gives to the training loop.

    Attributes:
        loss: scalar, fp32, this process's part; minimising the mean over processes minimises the method's loss.
        features: (B, F), the encoder's output for the first view, detached; watched for collapse.
        logs: numbers to log beside the loss; tensors are scalars, detached.
    """

    loss: Tensor
    features: Tensor
    logs: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What is known of a batch beside its views. No label is ever among it.

    Attributes:
        patients: (b,) int64, one number a patient over all Packs, on the views' device; None where no patients are
            known. Images of one patient are no honest negatives of each other.
        masks: (g, b, N) bool for the g global views of methods that hide patches, N patches a view, True = hidden;
            None for all others.
    """

    patients: Tensor | None = None
    masks: Tensor | None = None


UNKNOWN = About()


class Method(nn.Module, ABC):
    """An encoder and what a method trains around it.

    A training step is `before_step`, `step`, backward, `after_backward`, the optimiser's step, `after_step`. All state
    that the next step depends on is in `state_dict()`.

    Attributes:
        views: how many views of each image `step` takes.
        encoder: the network to keep; (B, 1, H, W) → (B, F), with F as `encoder.feature_dim`.
        recommended: optimiser settings for runs of hours: `optimizer`, `lr` for a batch of `per`, `weight_decay`.
        published: the paper's own settings, in the same words; and `lr_in_momentum` (SimCLR's form of LARS) or
            `decay_1d` (biases and norms decay too) where its optimiser has them.
        xray: what the views show of an X-ray.
        natural: the augmentations of the method's own paper, for photographs.
        remedy: what keeps it from collapsing and what to change where it does, a sentence that names options.
        sync_batchnorm: whether batch-norm statistics should span processes (torch's SyncBatchNorm), as published.
        needs_vit: whether the encoder must be a Vision Transformer, as where patches are hidden.
    """

    Config: ClassVar[type]
    views: ViewSpec
    encoder: nn.Module
    recommended: ClassVar[Mapping[str, Any]]
    published: ClassVar[Mapping[str, Any]]
    xray: ClassVar[Recipe] = XRAY
    natural: ClassVar[Recipe]
    remedy: ClassVar[str] = "Lower --lr or lengthen --warmup-epochs"
    sync_batchnorm: ClassVar[bool] = True
    needs_vit: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit_config(
        cls, config: Any, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[Any, list[Decision]]:
        """Resolve what the configuration leaves to `auto`.

        Args:
            config: the method's own `Config`.
            images: N, how many images there are to train on.
            steps: how many steps the run has.
            batch_size: B, images a step over all processes.
            size: the views' height and width, px.

        Returns:
            The resolved configuration, and each decision with its reason.
        """

    @abstractmethod
    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """The loss of one batch.

        Args:
            views: one tensor (b, 1, H, W) a view, normalised, global views first; row i shows image i in each.
            about: what else is known of the b images.
        """

    def forward(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """`step`, under the name by which DDP calls it."""
        return self.step(views, about)

    def before_step(self, progress: float) -> None:
        """Called before `step`; `progress` is the share of the run that is done, 0 to 1."""

    def after_backward(self, step: int, progress: float) -> None:
        """Called between backward and the optimiser's step; `step` counts from 0, `progress` runs from 0 to 1."""

    def after_step(self, progress: float) -> None:
        """Called after the optimiser's step; `progress` is the share of the run that is done, 0 to 1."""

    def in_force(self, progress: float) -> dict[str, float]:
        """What of its settings a step used, for the log: `temperature`, and `momentum` where a teacher follows."""
        config: Any = getattr(self, "config", None)
        return {"temperature": config.temperature} if hasattr(config, "temperature") else {}

    @abstractmethod
    def chance_loss(self) -> float | None:
        """The loss of an encoder that tells no two images apart, in closed form: a run near it is not learning."""

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters for the optimiser: every one that takes a gradient, never a teacher's."""
        return ((name, p) for name, p in self.named_parameters() if p.requires_grad)


class Chunkable(Method):
    """A method whose step has two parts: each image embedded, then all embeddings of the batch compared.

    The optional part of the contract. Images meet in `compare` alone, batch-norm aside, so that the training loop can
    embed a batch a chunk at a time where the memory does not hold it whole (engine/chunks.py).
    """

    @abstractmethod
    def embed(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """All that a batch's images give, one tensor (b, D) each, row i of image i.

        Called twice on each chunk, so no state but batch-norm's running statistics may change: a teacher follows in
        `before_step` or `after_step`. Every parameter that trains is used in here.

        Args:
            views: as `step` takes them, of any number of images.
        """

    @abstractmethod
    def compare(self, embeddings: tuple[Tensor, ...], about: About = UNKNOWN) -> Step:
        """The loss of what `embed` gave for the batch; without parameters and without batch-norm layers."""

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """Embed, then compare."""
        return self.compare(self.embed(views), about)


def feature_dim(encoder: nn.Module) -> int:
    """F, the length of the encoder's feature vector."""
    return int(encoder.feature_dim)  # type: ignore[arg-type]


def vision_transformer(encoder: nn.Module, method: str) -> VisionTransformer:
    """The encoder, for a method that hides patches.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(encoder, VisionTransformer):
        raise UsageError(
            f"{method} hides patches of the image, which only a Vision Transformer has, but the encoder is a "
            f"{type(encoder).__name__}.",
            fix="Choose --encoder vit_small, or another --method: dino is the nearest that takes any encoder.",
        )
    return encoder


def masks_of(about: About) -> Tensor:
    """The masks, (g, b, N), for a method that cannot do without."""
    if about.masks is None:
        raise ValueError("This method hides patches: draw `method.views.masks` and give them as about.masks.")
    return about.masks


def resolved(value: T | Auto, published: T) -> T:
    """`value`, or the paper's where a method is built without `fit_config`."""
    return published if isinstance(value, str) and value == "auto" else value  # type: ignore[return-value]


def excluding(total: int, left_out: Tensor) -> Tensor:
    """Chance loss of rows with `total` candidates of which some are left out, ln(total − left out), as a mean."""
    return (total - left_out.sum(dim=1)).double().log().mean()


def contrast_accuracy(logits: Tensor, positive: Tensor) -> Tensor:
    """Share of rows whose positive is above every other column; a tie is a miss, so a collapse does not look perfect.

    Args:
        logits: (B, C).
        positive: (B,) the positive's column, int64.
    """
    column = positive[:, None]
    others = logits.detach().scatter(1, column, float("-inf"))
    return (logits.detach().gather(1, column)[:, 0] > others.amax(dim=1)).float().mean()


def by_resolution(encoder: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Features of all views, (V·b, F) in their order: one pass for each run of equal sizes.

    Batch-norm thus sees all crops of a resolution together, and never two resolutions at once.
    """
    features: list[Tensor] = []
    start = 0
    for end in range(1, len(views) + 1):
        if end == len(views) or views[end].shape[-2:] != views[start].shape[-2:]:
            features.append(encoder(torch.cat(list(views[start:end]))))
            start = end
    return torch.cat(features)


@torch.no_grad()
def usage_entropy(q: Tensor) -> Tensor:
    """Entropy of the prototypes that samples are nearest to, over the largest possible: 1 all in use, 0 only one."""
    n, K = q.shape
    share = torch.zeros_like(q).scatter(1, q.argmax(dim=1, keepdim=True), 1.0).mean(dim=0)  # (K,)
    return torch.special.entr(share).sum() / max(math.log(min(n, K)), 1e-6)


@torch.no_grad()
def usage_share(q: Tensor) -> Tensor:
    """How many prototypes samples are nearest to, (n, K) → the share of the most possible, min(n, K)."""
    n, K = q.shape
    used = torch.zeros_like(q[0]).index_fill(0, q.argmax(dim=1), 1.0)  # (K,)
    return used.sum() / min(n, K)
