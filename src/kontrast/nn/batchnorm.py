"""Batch-norm statistics per group of the batch, against the leak that lets MoCo cheat on one device.

Query and positive key are normalised with statistics of their batches. If both batches hold the same images, the
statistics are a signature by which the positive is found without looking at the image (He et al. 2020, section 3.3).
The remedy there is many devices and shuffled keys. Here groups of the batch take the place of devices, and the keys'
groups are dealt from the queries' groups like cards.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from kontrast.distributed import all_reduce_mean, gather, rank, world_size
from kontrast.errors import UsageError


def batchnorms(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers in a network, of any kind."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]


class SplitBatchNorm(_BatchNorm):
    """Batch-norm whose training statistics are taken over `groups` equal, consecutive parts of the batch.

    Parameters, buffers, their names and the behaviour in eval mode are those of `nn.BatchNorm2d`; with one group it
    is ordinary batch-norm. Running statistics follow the mean of the groups' statistics.

    Raises (in training):
        UsageError: the batch does not divide into groups of at least two samples.
    """

    groups: int = 1

    def _check_input_dim(self, x: Tensor) -> None:
        """(B, C) or (B, C, …): every dimension after the second is averaged over."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …), normalised per channel and group."""
        if not self.training or self.groups == 1:
            return super().forward(x)
        check_groups(len(x), self.groups)
        # parts of the batch are contiguous in channels-last too, where a view that moves groups into channels is not
        parts = x.chunk(self.groups)
        if self.running_mean is None or self.running_var is None:
            return torch.cat([F.batch_norm(p, None, None, self.weight, self.bias, True, 0.0, self.eps) for p in parts])
        momentum = self._count()
        mean = self.running_mean.repeat(self.groups, 1)  # (G, C)
        var = self.running_var.repeat(self.groups, 1)
        out = [
            F.batch_norm(p, m, v, self.weight, self.bias, True, momentum, self.eps)
            for p, m, v in zip(parts, mean, var, strict=True)
        ]
        self.running_mean.copy_(mean.mean(dim=0))
        self.running_var.copy_(var.mean(dim=0))
        return torch.cat(out)

    def _count(self) -> float:
        """Count the batch; the weight of its statistics in the running ones (None means a plain average)."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked or 1) if self.momentum is None else self.momentum


def check_groups(batch: int, groups: int) -> None:
    """Raises UsageError unless `batch` divides into `groups` parts of at least two samples."""
    if batch % groups or batch < 2 * groups:
        raise UsageError(
            f"A batch of {batch} images a process does not divide into {groups} batch-norm groups of two or more.",
            fix=f"Set --batch-size to a multiple of {groups} (times the number of processes), {2 * groups} or more, or "
            "--options.bn_groups to a divisor of the batch.",
        )


def split_batchnorm(module: nn.Module, groups: int) -> int:
    """Replace every batch-norm below `module`, in place, by `SplitBatchNorm` with the same tensors.

    Args:
        module: changed in place; its parameters stay the same objects, so optimisers made before stay valid.
        groups: parts of a process's batch.

    Returns:
        How many batch-norm layers there are; 0 means that nothing can leak through them.
    """
    found = 0
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            split = SplitBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            split.groups = groups
            split._parameters, split._buffers = child._parameters, child._buffers
            split.train(child.training)
            setattr(module, name, split)
            found += 1
        else:
            found += split_batchnorm(child, groups)
    return found


class RunningStatistics:
    """The running statistics below a module while a batch passes it in parts, and passes it twice.

    Every part starts from the statistics from before, and what is kept is the mean over the parts, as `SplitBatchNorm`
    keeps it over its groups: call `add` after each part, `settle` after the last, `restore` after the second pass.

    Args:
        module: with any kind of batch-norm, or none.
    """

    def __init__(self, module: nn.Module) -> None:
        layers = batchnorms(module)
        self._buffers = [b for layer in layers for b in layer.buffers(recurse=False)]
        self._kept = [b.clone() for b in self._buffers]
        self._sums = [torch.zeros_like(b) for b in self._buffers]
        self._parts = 0

    @torch.no_grad()
    def add(self) -> None:
        """Count a part in, and go back to the statistics from before it."""
        self._parts += 1
        for total, buffer in zip(self._sums, self._buffers, strict=True):
            total += buffer
        self.restore()

    @torch.no_grad()
    def settle(self) -> None:
        """Keep the mean over the parts of all processes."""
        for kept, total in zip(self._kept, self._sums, strict=True):
            # how many batches were seen is the same after every part
            mean = all_reduce_mean(total / self._parts) if kept.is_floating_point() else total // self._parts
            kept.copy_(mean)
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to what is kept."""
        for buffer, kept in zip(self._buffers, self._kept, strict=True):
            buffer.copy_(kept)


def deal(batch: int, groups: int, device: torch.device | None = None) -> Tensor:
    """The order in which samples go round the groups: 0, G, 2G, …, 1, G+1, …; a permutation of (batch,).

    Cut into `groups` parts, the dealt batch has in each part an equal share of each part of the undealt batch: the
    groups share as few members as groups can. Unlike a random order it needs no generator that a resumed run would
    have to restore, and the batch itself is in random order already.
    """
    return (torch.arange(batch, device=device) % groups).argsort(stable=True)


@torch.no_grad()
def dealt(forward: Callable[[Tensor], Tensor], x: Tensor, groups: int) -> Tensor:
    """`forward(x)` with the samples of all processes dealt over `groups` groups in each of them, order restored.

    Args:
        forward: a network, (b, …) → (b, D), used without gradient.
        x: (b, …), this process's samples; b is the same in every process.
        groups: batch-norm groups a process.

    Returns:
        (b, D), row i for sample i.
    """
    if groups * world_size() == 1:
        return forward(x)
    b, first = len(x), rank() * len(x)
    order = deal(b * world_size(), groups * world_size(), x.device)  # (B,)
    mine = gather(x)[order[first : first + b]]
    y = gather(forward(mine))  # (B, D), in dealt order
    return y[order.argsort()[first : first + b]]
