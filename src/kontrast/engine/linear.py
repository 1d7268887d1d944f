"""Classifiers on frozen features: multi-label logistic regression and k nearest neighbours.

Both take targets in [0, 1] with a weight for each cell, so that uncertain and blank labels follow any policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

PENALTIES: tuple[float, ...] = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
"""L2 penalties per labelled image that are tried, strongest first."""

SMALL = 2**24
"""Below this many feature values one BLAS thread is used: thousands of tiny products spend their time waiting for the
other threads, most of all on a shared machine."""


@dataclass(frozen=True)
class Linear:
    """A fitted linear head: logits = x @ weight.T + bias, on features as the encoder gives them.

    Attributes:
        weight: (F, D) float64.
        bias: (F,) float64.
        penalty: the L2 penalty that was chosen.
    """

    weight: np.ndarray
    bias: np.ndarray
    penalty: float

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features to (N, F) probabilities, float64."""
        return expit(features.astype(np.float64) @ self.weight.T + self.bias)


def standardise(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, D) features at mean 0 and standard deviation 1, and the (D,) means and deviations that they had."""
    mean, std = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    std = np.where(std > 1e-6 * max(std.max(initial=0), 1e-12), std, 1.0)  # a dead feature stays dead
    return (features - mean) / std, mean, std


def fit_path(
    features: np.ndarray, targets: np.ndarray, weights: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> list[Linear]:
    """One-against-rest logistic regressions for every penalty, each started from the one before.

    Minimises, for each finding f on its own, Σ_i w_if·BCE(x_i·W_f + b_f, y_if) / Σ_i w_if + penalty/2·‖W_f‖² on
    standardised features; the bias is not penalised. The problem is convex: L-BFGS finds the one optimum.

    Args:
        features: (N, D).
        targets: (N, F) in [0, 1].
        weights: (N, F), 0 = ignored.
        penalties: strongest first.
    """
    x, mean, std = standardise(features)
    count, width = targets.shape[1], x.shape[1]
    share = weights / np.maximum(weights.sum(0), 1e-12)  # (N, F), columns sum to one

    def objective(flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        W, b = flat[: count * width].reshape(count, width), flat[count * width :]
        z = x @ W.T + b
        # log(1 + e^z) - y·z, without overflow
        loss = (share * (np.logaddexp(0, z) - targets * z)).sum() + penalty / 2 * (W * W).sum()
        residual = share * (expit(z) - targets)
        return loss, np.concatenate([(residual.T @ x + penalty * W).ravel(), residual.sum(0)])

    prior = np.clip((share * targets).sum(0), 1e-4, 1 - 1e-4)
    flat = np.concatenate([np.zeros(count * width), np.log(prior / (1 - prior))])
    path = []
    with threadpool_limits(1 if x.size < SMALL else None, user_api="blas"):
        for penalty in penalties:
            flat = minimize(
                objective, flat, args=(penalty,), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-10}
            ).x
            W, b = flat[: count * width].reshape(count, width) / std, flat[count * width :]
            path.append(Linear(weight=W, bias=b - W @ mean, penalty=penalty))
    return path


def knn(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    query: np.ndarray,
    k: int = 20,
    temperature: float = 0.07,
) -> np.ndarray:
    """Probability of each finding among the k nearest images, by cosine, votes weighted exp(cosine / T).

    The multi-label form of the usual single-label monitor (Wu et al. 2018, arXiv:1805.01978, section 3.4):
    each finding is voted on by the neighbours whose label counts.

    Args:
        features: (N, D) of the labelled images.
        targets: (N, F) in [0, 1].
        weights: (N, F), 0 = ignored.
        query: (M, D).
        k: neighbours; at most N are used.
        temperature: of the votes.

    Returns:
        (M, F) in [0, 1]; the finding's prevalence where no neighbour's label counts.
    """
    k = min(k, len(features))
    bank = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    prevalence = (targets * weights).sum(0) / np.maximum(weights.sum(0), 1e-12)
    out = np.empty((len(query), targets.shape[1]))
    for start in range(0, len(query), 1024):
        block = query[start : start + 1024]
        block = block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)
        cosine = block @ bank.T
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        vote = np.exp((np.take_along_axis(cosine, near, 1) - 1) / temperature)[:, :, None] * weights[near]
        total = vote.sum(1)
        out[start : start + 1024] = np.where(
            total > 0, (vote * targets[near]).sum(1) / np.maximum(total, 1e-300), prevalence
        )
    return out
