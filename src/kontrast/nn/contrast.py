"""A contrastive loss whose memory grows with the batch, not with its square: similarities a block of rows at a time.

Twice 32,768 images have 65,536² similarities, 17 GB in fp32 before anything is kept for a gradient. Each row's
logarithm of a sum is found from a block of rows and kept; backward computes the block again.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 2**22
"""Similarities at a time: 16 MB in fp32. On a GPU eight times as many, since a block costs it a dozen launches."""


def contrast(
    q: Tensor, k: Tensor, positive: Tensor, temperature: float, own: Tensor, others: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding each row's positive among the columns it is not related to, a mean over rows.

        L = −1/n Σᵢ log exp(qᵢ·k₊/τ) / (exp(qᵢ·k₊/τ) + Σⱼ exp(qᵢ·kⱼ/τ)),   j with othersⱼ ≠ ownᵢ

    Where all embeddings are alike it is the mean of ln(m − `related` + 1).

    Args:
        q: (n, D) rows, fp32 or float64.
        k: (m, D) columns, likewise; gradients flow into both.
        positive: (n,) int64, the column of each row's positive.
        temperature: τ.
        own: (n,) int64, a number for each row: its image's, or its patient's.
        others: (m,) int64, likewise for the columns. A column with a row's number is no negative of it.

    Returns:
        The loss, and the share of rows whose positive is above every negative, without gradient. A tie is a miss, so
        a collapse does not look perfect.
    """
    with torch.autocast(q.device.type, enabled=False):
        return _Contrast.apply(q / temperature, k, positive, own, others)  # type: ignore[no-any-return,no-untyped-call]


def related(own: Tensor, others: Tensor) -> Tensor:
    """How many of `others` (m,) have each number of `own` (n,); (n,) int64, without a matrix of n × m."""
    ranked = others.sort().values
    return torch.searchsorted(ranked, own, right=True) - torch.searchsorted(ranked, own)


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, positive: Tensor, own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        column, number = positive[:, None], own[:, None]
        blocks = _blocks(q, k)
        if len(blocks) == 1:  # kept for backward, so that small batches are not slower than with the plain loss
            slope, loss, right = _rows(q, k, column, number, others)
            ctx.save_for_backward(q, k, slope)
        else:
            ctx.save_for_backward(q, k, column, number, others)
            found = [_rows(q[rows], k, column[rows], number[rows], others)[1:] for rows in blocks]
            loss, right = (torch.cat(parts) for parts in zip(*found, strict=True))
        accuracy = right.float().mean()
        ctx.mark_non_differentiable(accuracy)
        return loss.mean(), accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q, k, *kept = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            if len(kept) == 1:
                dq, dk = kept[0] @ k, kept[0].T @ q if ctx.needs_input_grad[1] else None
            else:
                dq, dk = _again(q, k, *kept, also_k=ctx.needs_input_grad[1])
        weight = grad / len(q)
        return dq.mul_(weight), None if dk is None else dk.mul_(weight), None, None, None


def _again(
    q: Tensor, k: Tensor, column: Tensor, number: Tensor, others: Tensor, *, also_k: bool
) -> tuple[Tensor, Tensor | None]:
    """The slopes of the summed loss along q and k, each block computed anew."""
    dq, dk = torch.empty_like(q), torch.zeros_like(k) if also_k else None
    for rows in _blocks(q, k):
        slope = _rows(q[rows], k, column[rows], number[rows], others)[0]  # (r, m)
        torch.mm(slope, k, out=dq[rows])
        if dk is not None:
            dk.addmm_(slope.T, q[rows])
    return dq, dk


def _blocks(q: Tensor, k: Tensor) -> list[slice]:
    """Slices of rows, each with about BLOCK similarities."""
    most = BLOCK if q.device.type == "cpu" else 8 * BLOCK
    step = max(most // len(k), 1)
    return [slice(start, start + step) for start in range(0, len(q), step)]


def _rows(q: Tensor, k: Tensor, column: Tensor, own: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of r rows: the slope of their loss along the similarities (r, m), their loss (r,), and who is right (r,)."""
    s = q @ k.T  # (r, m)
    right = s.gather(1, column)  # (r, 1)
    s.masked_fill_(own == others, float("-inf")).scatter_(1, column, float("-inf"))
    best = s.amax(dim=1, keepdim=True)  # of the negatives; −∞ where there are none
    top = torch.maximum(best, right)
    p, gap = s.sub_(top).exp_(), right - top
    at = gap.exp()
    total = p.sum(dim=1, keepdim=True) + at
    p.div_(total).scatter_(1, column, at / total - 1)
    return p, (total.log() - gap)[:, 0], (right > best)[:, 0]
