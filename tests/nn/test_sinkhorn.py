import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kontrast.nn.sinkhorn import sinkhorn
from toys import P, X, rows


def by_exponentials(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """The paper's appendix, on plain exponentials."""
    Q = np.exp(scores / epsilon).T  # (K, B)
    K, B = Q.shape
    Q /= Q.sum()
    for _ in range(iterations):
        Q /= Q.sum(axis=1, keepdims=True) * K
        Q /= Q.sum(axis=0, keepdims=True) * B
    return (Q * B).T


def test_published_row() -> None:
    q = sinkhorn(torch.tensor(rows(X) @ rows(P).T))
    expected = [0.12629171541806, 3.51774185e-7, 2.13996618e-9, 0.00131847075403, 0.87238945991373]
    np.testing.assert_allclose(q[0].numpy(), expected, rtol=3e-9)
    np.testing.assert_allclose(q.numpy(), by_exponentials(rows(X) @ rows(P).T, 0.05, 3), rtol=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 5), st.integers(0, 10**6))
def test_any_shape_equals_exponentials_and_rows_sum_to_one(B: int, K: int, iterations: int, seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(-1, 1, (B, K))
    q = sinkhorn(torch.tensor(scores), 0.1, iterations).numpy()
    np.testing.assert_allclose(q, by_exponentials(scores, 0.1, iterations), rtol=1e-9)
    np.testing.assert_allclose(q.sum(axis=1), 1)


def test_many_iterations_balance_the_prototypes() -> None:
    scores = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = sinkhorn(scores, 0.5, 200)
    np.testing.assert_allclose(q.sum(dim=0), 40 / 5, rtol=1e-9)


def test_equal_scores_share_equally() -> None:
    torch.testing.assert_close(sinkhorn(torch.full((4, 5), 0.3)), torch.full((4, 5), 0.2))


@pytest.mark.parametrize("epsilon", [0.05, 0.01, 1e-4])
def test_t17_small_epsilon_and_half_precision_neither_overflow_nor_empty_a_prototype(epsilon: float) -> None:
    # e^(1/0.01) = 2.7e43 overflows fp32; shifted by the maximum, prototypes that nothing is near would sum to 0
    scores = torch.tensor([[1.0, -1.0, 0.2], [0.9, -1.0, 0.1], [0.8, -0.9, 0.3]], dtype=torch.float16)
    q = sinkhorn(scores, epsilon)
    assert q.dtype == torch.float32 and q.isfinite().all()
    torch.testing.assert_close(q.sum(dim=1), torch.ones(3))


def test_t8_no_gradient() -> None:
    assert not sinkhorn(torch.randn(4, 3, requires_grad=True)).requires_grad
