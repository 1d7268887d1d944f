"""Convolution of small maps on a CPU, as products of matrices.

oneDNN's kernels for AVX2 go along the rows of an image. Where a small image's network ends, in maps of 2 × 2 places and
512 channels, they compute the weights' gradient at a fifth of the speed of the same product of matrices, and that
gradient was a fifth of a ResNet-18's step at 64 px (`benchmarks/convolution.py`). Here that gradient is a product
for each place of the kernel; on the smallest maps the other two are products of a map's columns, each row what one
place of the result sees. The same sums in another order: they differ by rounding.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW = 4
"""Places of the resulting map, up to which all three products are faster this way."""

SOME = 200
"""Places of the resulting map, up to which the weights' gradient is."""

DEEP = (128, 64)
"""Channels that come in and go out, from which it is: with fewer, the matrices are too small."""


class Conv2d(nn.Conv2d):
    """torch's, square and without bias, with products of matrices where they are faster.

    Gradients of its gradients are an error of torch's there. Not on AVX-512, where nobody has measured it.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        size: of the kernel's side.
        stride: places from one window to the next.
        padding: zeros around the map.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=padding, bias=False)
        self.window = Window(size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h / stride, w / stride)."""
        high, wide = self.window.places(x)
        deep = self.in_channels >= DEEP[0] and self.out_channels >= DEEP[1]
        if high * wide > SOME or not deep or not _measured(x):
            return super().forward(x)
        made: Tensor = Product.apply(x, self.weight, self.window)
        return made


@dataclass(frozen=True)
class Window:
    """Where a kernel looks: its side, the places from one look to the next, and the zeros around the map."""

    size: int
    stride: int
    padding: int

    def places(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the map that comes of (B, C, h, w)."""
        high, wide = ((side + 2 * self.padding - self.size) // self.stride + 1 for side in x.shape[2:])
        return high, wide

    def pairs(self, i: int, there: int, here: int) -> tuple[slice, slice]:
        """Of a side of the result (`there` places) and of the map (`here`): those that row i of the kernel joins."""
        first = max(0, -(-(self.padding - i) // self.stride))
        end = max(first, min(there, (here - 1 + self.padding - i) // self.stride + 1))
        begin = first * self.stride + i - self.padding
        return slice(first, end), slice(begin, begin + self.stride * (end - first), self.stride)

    def columns(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B · places, size · size · C): what each place sees."""
        around, size, last = self.padding, self.size, x.permute(0, 2, 3, 1)
        last = (F.pad(last, (0, 0, around, around, around, around)) if around else last).contiguous()
        batch, down, right, one = last.stride()
        shape = (len(x), *self.places(x), size, size, x.shape[1])
        seen = last.as_strided(shape, (batch, down * self.stride, right * self.stride, down, right, one))
        return seen.reshape(-1, size * size * x.shape[1])

    def scatter(self, columns: Tensor, like: Tensor) -> Tensor:
        """Add (B · places, size · size · C) up where it was seen, in the shape of `like`: `columns` transposed."""
        batch, channels, h, w = like.shape
        (high, wide), size, step, around = self.places(like), self.size, self.stride, self.padding
        parts = columns.view(batch, high, wide, size, size, channels)
        whole = columns.new_zeros(batch, h + 2 * around, w + 2 * around, channels)
        for i in range(size):
            for j in range(size):
                rows, across = slice(i, i + step * (high - 1) + 1, step), slice(j, j + step * (wide - 1) + 1, step)
                whole[:, rows, across] += parts[:, :, :, i, j]
        return whole[:, around : around + h, around : around + w].permute(0, 3, 1, 2)


class Product(torch.autograd.Function):
    """A convolution's three products, each the faster way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Window) -> Tensor:
        """As `F.conv2d`."""
        ctx.save_for_backward(x, weight)
        ctx.window = window
        high, wide = window.places(x)
        if high * wide > FEW:
            return F.conv2d(x, weight, stride=window.stride, padding=window.padding)
        y = window.columns(x) @ _matrix(weight).T
        return y.view(len(x), high, wide, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """For (B, outputs, h′, w′): the gradients of input and weights, where they are asked for."""
        (x, weight), window = ctx.saved_tensors, ctx.window
        to_x, to_weight, _ = ctx.needs_input_grad
        return (
            input_gradient(g, x, weight, window) if to_x else None,
            weight_gradient(g, x, weight, window) if to_weight else None,
            None,
        )


def input_gradient(g: Tensor, x: Tensor, weight: Tensor, window: Window) -> Tensor:
    """In the shape of `x`."""
    if g[0, 0].numel() <= FEW:
        return window.scatter(g.permute(0, 2, 3, 1).reshape(-1, len(weight)) @ _matrix(weight), x)
    stride, padding, only_input = [window.stride] * 2, [window.padding] * 2, [True, False, False]
    found: Tensor = torch.ops.aten.convolution_backward(
        g, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, only_input
    )[0]
    return found


def weight_gradient(g: Tensor, x: Tensor, weight: Tensor, window: Window) -> Tensor:
    """In the shape of `weight`: each of the kernel's places by itself, over the pairs of places that it joins."""
    outputs, inputs, size, _ = weight.shape
    g, x = g.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
    total = g.new_zeros(outputs, size, size, inputs)
    for i in range(size):
        to_row, from_row = window.pairs(i, g.shape[1], x.shape[1])
        for j in range(size):
            to_column, from_column = window.pairs(j, g.shape[2], x.shape[2])
            there, here = g[:, to_row, to_column], x[:, from_row, from_column]
            torch.mm(there.reshape(-1, outputs).T, here.reshape(-1, inputs), out=total[:, i, j])
    return total.permute(0, 3, 1, 2)


def _matrix(weight: Tensor) -> Tensor:
    """(outputs, inputs, size, size) → (outputs, size · size · inputs), in the order of the columns."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _measured(x: Tensor) -> bool:
    """Whether it is known to be faster: full precision on a processor with AVX2 and no more."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )
