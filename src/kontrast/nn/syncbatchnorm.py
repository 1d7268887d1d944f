"""Batch-norm statistics over all processes, on any device; torch's own SyncBatchNorm refuses CPUs."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kontrast.distributed import all_reduce_sum

M = TypeVar("M", bound=nn.Module)


class SyncBatchNorm(_BatchNorm):
    """Batch-norm whose training statistics are those of the batches of all processes together.

    Every process must hold as many samples. Parameters, buffers and eval mode are those of `nn.BatchNorm2d`.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        """(B, C) or (B, C, …): every dimension after the second is averaged over."""

    def forward(self, x_in: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …), normalised per channel over the global batch."""
        if not self.training:
            return super().forward(x_in)
        x = x_in.float() if x_in.dtype in (torch.bfloat16, torch.float16) else x_in
        places = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        n = all_reduce_sum(x.new_tensor(x.numel() / x.shape[1]))
        mean = all_reduce_sum(x.sum(places)) / n  # (C,)
        centred = x - mean.view(shape)
        var = all_reduce_sum(centred.square().sum(places)) / n  # (C,), two passes: no cancellation
        self._follow(mean.detach(), var.detach() * n / (n - 1).clamp(min=1))
        out = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x_in.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(var.to(self.running_var.dtype), share)


def synchronise(module: M, device: torch.device) -> M:
    """Make every ordinary batch-norm within `module` (itself not being one) take its statistics over all processes.

    Layers that choose their own groups stay. Parameters and buffers are the same tensors as before.
    """
    for name, child in module.named_children():
        if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
            assert isinstance(child, _BatchNorm)
            kind = nn.SyncBatchNorm if device.type == "cuda" else SyncBatchNorm
            sync = kind(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            sync._parameters, sync._buffers = child._parameters, child._buffers
            sync.train(child.training)
            setattr(module, name, sync)
        else:
            synchronise(child, device)
    return module
