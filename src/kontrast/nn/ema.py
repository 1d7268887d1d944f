"""A teacher that follows a student: the momentum encoder of MoCo, the target network of BYOL."""

import copy
from typing import Any

import torch
from torch import nn


class MomentumCopy(nn.Module):
    """A copy of a module whose parameters are a moving average of the original's.

    It starts as an exact copy, head included, so that a pretrained student has a pretrained teacher. It takes no
    gradient and belongs in no optimiser. Batch-norm statistics are not averaged: the teacher stays in train mode and
    takes them from its own forward passes, as in every reference (averaging would also spoil the integer counter
    beside them).

    Attributes:
        module: the copy.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module, m: float) -> None:
        """Let teacher ← m · teacher + (1 − m) · student, parameter by parameter.

        Args:
            student: the original module.
            m: the share of itself that the teacher keeps, 0 to 1.
        """
        own: list[torch.Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(own, list[torch.Tensor](student.parameters()), 1 - m)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        """The copy's output, without gradient."""
        return self.module(*args)
