"""A large batch on a small machine: embedded a chunk at a time, compared whole (gradient caching).

Gao et al. 2021, arXiv:2101.06983. The gradient of a loss of embeddings passes each embedding by itself:

    ∂L/∂θ = Σᵢ ∂L/∂zᵢ · ∂zᵢ/∂θ

So a first pass embeds all chunks without gradient, the loss of the whole batch gives every ∂L/∂zᵢ, and a second pass
embeds each chunk again and carries its share on. The memory is that of one chunk, whatever the batch; the encoder's
forward pass is paid twice. Adding up the gradients of small batches would be cheaper and something else: each image
would be compared with those of its own chunk alone.

Both passes see the same views and the same noise: either is drawn from the step and the place in the global batch.
Each chunk is a batch-norm group. Running statistics follow the mean of the groups, once a step.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kontrast import distributed
from kontrast.engine.batches import Batch
from kontrast.nn.batchnorm import RunningStatistics

if TYPE_CHECKING:
    from kontrast.methods.method import Step


class Embed(nn.Module):
    """A model's `embed` as a module's forward, in which DDP prepares its gradient averaging."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, draws: torch.Generator) -> tuple[Tensor, ...]:
        """The embeddings of a chunk."""
        return self.model.embed(batch, draws)  # type: ignore[no-any-return]


def backward_in_chunks(
    embed: nn.Module,
    model: Any,
    batch: Batch,
    size: int,
    progress: float,
    *,
    draws: Callable[[int], torch.Generator],
    autocast: Callable[[], contextlib.AbstractContextManager[Any]],
    scale: Callable[[Tensor], Tensor],
) -> "Step":
    """One step's loss, its gradient added to the parameters'; averaged over processes once, with the last chunk.

    Args:
        embed: `Embed` of the model, in DDP where there are several processes.
        model: with `before_step`, `embed` and `compare`, as `SelfSupervised` has them.
        batch: this process's part of the global batch.
        size: images a chunk.
        progress: share of the run that is done.
        draws: seeds the noise of the chunk that begins at this place of the global batch, and gives the generator of
            its views; the same at every call.
        autocast: the context of forward passes.
        scale: of the loss before it goes backward, for fp16.
    """
    model.before_step(progress)
    chunks = [batch.part(start, start + size) for start in range(0, len(batch), size)]
    statistics, found = RunningStatistics(model), []
    for chunk in chunks:
        with torch.no_grad(), autocast():
            found.append(embed(chunk, draws(chunk.first)))
        statistics.add()
    statistics.settle()
    leaves = tuple(torch.cat(column).requires_grad_() for column in zip(*found, strict=True))  # (b, D) each
    del found
    # A context of its own for each pass: autocast keeps its copies of weights, also those made without a gradient.
    with autocast():
        output = model.compare(leaves, batch)
    scale(output.loss).backward()
    slopes = [None if leaf.grad is None else leaf.grad.split(size) for leaf in leaves]  # a teacher's have none
    for i, chunk in enumerate(chunks):
        last = i == len(chunks) - 1
        with contextlib.nullcontext() if last else distributed.no_sync(embed):
            with autocast():
                again = embed(chunk, draws(chunk.first))
            pairs = [(out, slope[i]) for out, slope in zip(again, slopes, strict=True) if slope is not None]
            torch.autograd.backward([out for out, _ in pairs], [slope for _, slope in pairs])
    statistics.restore()
    return replace(output, features=output.features.detach())
