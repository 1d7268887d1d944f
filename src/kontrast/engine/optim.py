"""Optimisers: AdamW and SGD from torch, LARS as its reference defines it, and which parameters decay."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kontrast.config import choose

OPTIMIZERS = ("adamw", "sgd", "lars")


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv:1708.03888), with momentum SGD.

    For a weight p with gradient g, ∥·∥ over the whole tensor:

        g ← g + wd·p,   q = η∥p∥ / ∥g∥  (1 where either norm is 0),   v ← μv + q·g,   p ← p − lr·v

    The adaptation holds without weight decay too; several libraries switch it off there and then take steps a
    hundred times too long. Tensors of at most one dimension (biases, norm scales) get no q, and decay only where their
    group has `decay_1d`.

    Args:
        params: parameters or groups; a group's `weight_decay` is 0 for what should not decay, and with `decay_1d` its
            tensors of one dimension decay too.
        lr: peak learning rate.
        momentum: μ.
        weight_decay: wd.
        eta: η, the trust coefficient.
        lr_in_momentum: SimCLR's form, v ← μv + lr·q·g and p ← p − v; differs whenever lr changes.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 1e-3,
        lr_in_momentum: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "eta": eta,
                "lr_in_momentum": lr_in_momentum,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: Tensor, g: Tensor, group: Mapping[str, Any]) -> None:
        if group["weight_decay"] and (p.ndim > 1 or group.get("decay_1d")):
            g = g.add(p, alpha=group["weight_decay"])
        if p.ndim > 1:
            p_norm, g_norm = p.norm(), g.norm()
            # where() instead of if: a branch would wait for the device at every tensor
            q = torch.where((p_norm > 0) & (g_norm > 0), group["eta"] * p_norm / g_norm, torch.ones_like(p_norm))
            g = g * q
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        v = state["momentum"].mul_(group["momentum"])
        if group["lr_in_momentum"]:
            v.add_(g, alpha=group["lr"])
            p.sub_(v)
        else:
            v.add_(g)
            p.sub_(v, alpha=group["lr"])


def split_decay(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Split parameter groups into tensors that decay and tensors that do not.

    What has one dimension or none (biases, norm scales, temperatures) does not decay: by shape, because names such
    as `bn` miss the norm in a ResNet's `downsample.1`. A group says otherwise with `decay_1d=True` (MoCo v1/v2 and
    SwAV decay everything in their papers).

    Args:
        groups: mappings with `params` and optionally `lr_scale` (on the learning rate; 1), `weight_decay` (in place
            of the run's) and `decay_1d`.

    Returns:
        Groups for an optimiser, each with `lr_scale`, and with `decay_1d` where it was said, which LARS reads; empty
        ones left out; a parameter given twice kept once.
    """
    seen: set[int] = set()
    result = []
    for group in groups:
        params = []
        for p in group["params"]:
            if p.requires_grad and id(p) not in seen:
                seen.add(id(p))
                params.append(p)
        common = {k: v for k, v in group.items() if k != "params"}
        common.setdefault("lr_scale", 1.0)
        everything = group.get("decay_1d", False)
        decayed = [p for p in params if everything or p.ndim > 1]
        spared = [p for p in params if not everything and p.ndim <= 1]
        if decayed:
            result.append({**common, "params": decayed})
        if spared:
            result.append({**common, "params": spared, "weight_decay": 0.0})
    return result


def build_optimizer(
    name: str,
    parameters: nn.Module | Sequence[Mapping[str, Any]],
    lr: float,
    weight_decay: float,
    *,
    momentum: float = 0.9,
    lr_in_momentum: bool = False,
) -> torch.optim.Optimizer:
    """An optimiser over the parameters that take gradients.

    Args:
        name: `adamw` (β .9, .999), `sgd` (momentum, as in MoCo) or `lars`.
        parameters: a module, or groups as `split_decay` takes them.
        lr: peak learning rate; the loop multiplies it by the group's `lr_scale` and the schedule.
        weight_decay: for tensors of two dimensions or more.
        momentum: of SGD and LARS.
        lr_in_momentum: SimCLR's form of LARS.

    Raises:
        UsageError: another name.
    """
    choose(name, OPTIMIZERS, "--optimizer")
    groups = [{"params": list(parameters.parameters())}] if isinstance(parameters, nn.Module) else parameters
    split = split_decay(groups)
    if name == "adamw":
        return torch.optim.AdamW(split, lr=lr, weight_decay=weight_decay)
    if name == "sgd":
        return torch.optim.SGD(split, lr=lr, weight_decay=weight_decay, momentum=momentum)
    return LARS(split, lr=lr, weight_decay=weight_decay, momentum=momentum, lr_in_momentum=lr_in_momentum)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of this step; each group scales it by its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
