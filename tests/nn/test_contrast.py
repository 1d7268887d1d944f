"""The blockwise loss against the plain one, which holds all similarities at once."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kontrast.nn import contrast as module
from kontrast.nn.contrast import contrast, related

N, M, D = 7, 11, 5


def plain(q: Tensor, k: Tensor, positive: Tensor, T: float, own: Tensor, others: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy of the whole matrix, and who is right, row by row."""
    left_out = own[:, None] == others
    left_out[torch.arange(len(q)), positive] = False
    s = (q @ k.T / T).masked_fill(left_out, float("-inf"))
    right = 0
    for row, column in zip(s.detach().numpy(), positive.tolist(), strict=True):
        right += row[column] > np.delete(row, column).max()
    return F.cross_entropy(s, positive), right / len(q)


def inputs(seed: int, patients: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(n, D, generator=g, dtype=torch.float64).requires_grad_() for n in (N, M))
    own, others = (torch.randint(patients, (n,), generator=g) for n in (N, M))
    return q, k, torch.randint(M, (N,), generator=g), own, others


@pytest.mark.parametrize("rows", [1, 3, 4, N])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_of_rows_are_the_whole(monkeypatch: pytest.MonkeyPatch, rows: int, seed: int) -> None:
    monkeypatch.setattr(module, "BLOCK", rows * M)
    q, k, positive, own, others = inputs(seed)
    assert len(module._blocks(q, k)) == math.ceil(N / rows)
    expected, right = plain(q, k, positive, 0.3, own, others)
    slopes = torch.autograd.grad(expected * 1.7, (q, k))
    loss, accuracy = contrast(q, k, positive, 0.3, own, others)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert accuracy.item() == pytest.approx(right) and not accuracy.requires_grad
    for found, slope in zip(torch.autograd.grad(loss * 1.7, (q, k)), slopes, strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(lambda a, b: contrast(a, b, positive, 0.3, own, others)[0], (q, k))


@pytest.mark.parametrize("rows", [2, N])
def test_backward_may_run_twice(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "BLOCK", rows * M)
    q, k, positive, own, others = inputs(0)
    loss, _ = contrast(q, k, positive, 0.3, own, others)
    first, second = (torch.autograd.grad(loss, q, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_rows_without_negatives_have_nothing_to_learn() -> None:
    q, k, positive, _, _ = inputs(0)
    loss, accuracy = contrast(q, k, positive, 0.3, torch.zeros(N).long(), torch.zeros(M).long())
    assert loss.item() == 0 and accuracy.item() == 1
    assert all(slope.abs().max() == 0 for slope in torch.autograd.grad(loss, (q, k)))


def test_alike_embeddings_give_the_mean_logarithm_and_no_right_answer() -> None:
    _, _, positive, own, others = inputs(1)
    one = torch.ones(1, D)
    loss, accuracy = contrast(one.expand(N, D), one.expand(M, D), positive, 0.1, own, others)
    left_out = [sum(o == p for j, o in enumerate(others) if j != c) for p, c in zip(own, positive, strict=True)]
    assert loss.item() == pytest.approx(sum(math.log(M - int(n)) for n in left_out) / N, rel=1e-6)
    assert accuracy.item() == 0


@pytest.mark.parametrize("rows", [2, N])
def test_low_temperature_stays_finite_and_autocast_is_left_out(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "BLOCK", rows * M)
    q, k, positive, own, others = inputs(2)
    q, k = q.detach().float().requires_grad_(), k.detach().float()

    def both() -> tuple[Tensor, Tensor]:
        loss, _ = contrast(q, k, positive, 1e-3, own, others)
        return loss, torch.autograd.grad(loss, q)[0]

    exact = both()
    assert all(x.isfinite().all() and x.dtype == torch.float32 for x in exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, both(), exact))


def test_related_counts_without_a_matrix() -> None:
    _, _, _, own, others = inputs(3, patients=6)
    own = 7**11 - 1000 * own
    others = 7**11 - 1000 * others
    assert related(own, others).tolist() == (own[:, None] == others).sum(dim=1).tolist()
