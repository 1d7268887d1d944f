"""Which patches of a view are hidden from the encoder (MAE, iBOT): what is declared, and how it is drawn."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDS, SMALLEST, ASPECT = 10, 4, 0.3


@dataclass(frozen=True, kw_only=True)
class MaskSpec:
    """Which patches of every global view a method hides.

    Attributes:
        patch: side of a patch in pixels, the encoder's.
        share: smallest and largest share of the patches that are hidden in a masked view.
        probability: of a view to be masked at all.
        blocks: rectangles of patches rather than scattered ones, which are easily filled in from their neighbours.
    """

    patch: int
    share: tuple[float, float]
    probability: float = 1.0
    blocks: bool = False


def draw_masks(spec: MaskSpec, views: int, n: int, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The hidden patches of n samples, each drawn on its own: (views, n, h·w) bool, row by row, True = hidden.

    A masked view hides exactly ⌊share · h·w⌋ patches in blocks, or all but ⌊(1 − share) · h·w⌋ single ones, each as its
    paper's code counts (iBOT, MAE), but 1 at least and not all: what is left of a batch with one share has one length.

    Args:
        spec: the ranges.
        views: global views of each sample.
        n: how many samples.
        grid: h and w, patches down and across.
        generator: on the CPU; the only source of chance.
    """
    h, w = grid
    low, high = spec.share
    u = torch.rand(2, views * n, generator=generator, dtype=torch.float64)
    exact = (low + (high - low) * u[0]) * h * w  # (V·n,); .7 · 10 is 6.999… in binary
    count = ((exact + 1e-9).floor() if spec.blocks else (exact - 1e-9).ceil()).clamp(1, max(1, h * w - 1))
    count = torch.where(u[1] < spec.probability, count, 0)
    order = torch.rand(views * n, h * w, generator=generator, dtype=torch.float64)
    if spec.blocks:
        order = order + draw_blocks(count, grid, generator).double()  # blocks come first, then single patches
    rank = order.argsort(dim=1, descending=True).argsort(dim=1)
    return (rank < count[:, None]).reshape(views, n, h * w)


def draw_blocks(count: Tensor, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Rectangles that cover at most `count` patches: (m,) → (m, h·w) bool (Bao et al. 2021, arXiv:2106.08254).

    Each round proposes a rectangle of 4 patches up to as many as are left, of aspect 0.3 to 1/0.3, and takes it where
    no more than `count` are covered then. The rounds are the same for all samples: what one gets does not depend on
    the others.

    Args:
        count: (m,) how many at most.
        grid: h and w.
        generator: on the CPU.
    """
    (h, w), m = grid, len(count)
    hidden = torch.zeros(m, h, w, dtype=torch.bool)
    y, x = torch.arange(h)[:, None], torch.arange(w)
    for u in torch.rand(ROUNDS, 4, m, 1, 1, generator=generator, dtype=torch.float64):
        left = (count - hidden.sum(dim=(1, 2)))[:, None, None]
        area = SMALLEST + (left - SMALLEST).clamp(min=0) * u[0]
        aspect = torch.exp((2 * u[1] - 1) * math.log(ASPECT))
        height = (area * aspect).sqrt().round().clamp(1, h)
        width = (area / aspect).sqrt().round().clamp(1, w)
        top, start = (u[2] * (h - height + 1)).floor(), (u[3] * (w - width + 1)).floor()
        more = hidden | ((y >= top) & (y < top + height) & (x >= start) & (x < start + width))
        fits = more.sum(dim=(1, 2)) <= count
        hidden = torch.where(fits[:, None, None], more, hidden)
    return hidden.flatten(1)
