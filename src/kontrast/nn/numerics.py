"""Losses in full precision whatever the networks compute in, and safe unit vectors."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional as F

Args = ParamSpec("Args")


def full_precision(function: Callable[Args, Tensor]) -> Callable[Args, Tensor]:
    """Decorate a function of tensors to run outside autocast, on fp32 copies; float64 stays float64.

    Exponentials of similarities over a temperature overflow fp16 (e^(1/0.05) = 4.9e8) and lose the third digit in
    bf16, and inside autocast a matrix product of fp32 tensors would be computed in half precision again.
    """

    @functools.wraps(function)
    def call(*args: Args.args, **keywords: Args.kwargs) -> Tensor:
        device = next(_tensors([*args, *keywords.values()])).device.type
        with torch.autocast(device, enabled=False):
            wide: Any = function  # widening keeps every type, which ParamSpec cannot say
            return wide(*map(_widen, args), **{name: _widen(value) for name, value in keywords.items()})  # type: ignore[no-any-return]

    return call


@full_precision
def unit(x: Tensor) -> Tensor:
    """Rows scaled to length 1, (…, D) → (…, D).

    A row shorter than 1e-6 is divided by 1e-6 instead: torch's own 1e-12 is 0 in fp16.
    """
    return F.normalize(x, dim=-1, eps=1e-6)


def _widen(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64:
        return value.float()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_widen, value))
    return value


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
