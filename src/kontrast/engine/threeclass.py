"""U-MultiClass: uncertain as a class of its own while training (Irvin et al. 2019, arXiv:1901.07031, section 3.1).

Each finding has three outputs, negative, uncertain and positive, a softmax over them and their cross-entropy. When
predicting, uncertain is left out: p1 / (p0 + p1).

A softmax does not change when all its logits move together, so negative's is held at 0 here. Then p1 / (p0 + p1) is the
sigmoid of positive's logit alone: a finished Classifier has one logit for each finding, whatever it was trained with,
and the outputs for "uncertain" are needed while training only.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits
from torch import Tensor

from kontrast.engine.linear import PENALTIES, SMALL, Linear, standardise
from kontrast.engine.losses import counted


def cross_entropy(
    positive: Tensor,
    unclear: Tensor,
    targets: Tensor,
    weights: Tensor,
    third: Tensor,
    pos_weight: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of three classes over the cells that count.

    Args:
        positive: (B, M) logits of positive over negative.
        unclear: (B, M) logits of uncertain over negative.
        targets: (B, M), 1 or 0 where `weights` is above 0.
        weights: (B, M), 0 where the label is ignored or uncertain.
        third: (B, M), 1 where the label is uncertain, else 0.
        pos_weight: (M,) factor of the positive term, or None.
        gamma: each cell is weighted (1 - p)^gamma, p the probability of its class; 0: not.
    """
    logits = torch.stack([torch.zeros_like(positive), unclear, positive]).float()  # (3, B, M)
    chosen = torch.stack([weights * (1 - targets), third, weights * targets])  # what counts of each class
    logs = F.log_softmax(logits, dim=0)
    cost = -logs if gamma == 0 else -logs * (1 - logs.exp()).clamp_min(torch.finfo(logs.dtype).tiny) ** gamma
    scale = torch.ones_like(chosen)
    if pos_weight is not None:
        scale[2] = pos_weight
    return (cost * chosen * scale).sum() / counted(chosen)


def fit_path(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    third: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
) -> list[tuple[Linear, Linear]]:
    """Softmax regressions of three classes for every penalty: the logits of positive, and of uncertain, over negative.

    Minimises, for each finding on its own, the mean cross-entropy + penalty·(‖W₀‖² + ‖Wᵤ‖² + ‖W₁‖²) on standardised
    features, biases free; then subtracts negative's row from the others. Without uncertain cells this is
    `linear.fit_path` at the same penalty: of all W₁ - W₀ = w the least penalty·(‖W₀‖² + ‖W₁‖²) is penalty/2·‖w‖².

    Args:
        features: (N, D).
        targets: (N, M), 1 or 0 where `weights` is above 0.
        weights: (N, M), 0 where the label is ignored or uncertain.
        third: (N, M), 1 where it is uncertain.
        penalties: strongest first.
    """
    x, mean, std = standardise(features)
    each = [_one(x, _shares(targets[:, m], weights[:, m], third[:, m]), penalties) for m in range(targets.shape[1])]
    path = []
    for step, penalty in enumerate(penalties):
        pair = []
        for row in (2, 1):  # positive, uncertain
            W = np.stack([one[step][0][row] - one[step][0][0] for one in each]) / std
            b = np.array([one[step][1][row] - one[step][1][0] for one in each])
            pair.append(Linear(weight=W, bias=b - W @ mean, penalty=penalty))
        path.append((pair[0], pair[1]))
    return path


def _shares(targets: np.ndarray, weights: np.ndarray, third: np.ndarray) -> np.ndarray:
    """How much each image counts for each class, (N, 3), all together 1."""
    chosen = np.stack([weights * (1 - targets), third, weights * targets], axis=1)
    return chosen / max(chosen.sum(), 1e-12)


def _one(x: np.ndarray, share: np.ndarray, penalties: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """One finding's regressions: W (3, D) and b (3,) on standardised features, for each penalty."""
    width, rows = x.shape[1], share.sum(axis=1, keepdims=True)

    def objective(flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        W, b = flat[:-3].reshape(3, width), flat[-3:]
        z = x @ W.T + b
        logs = z - logsumexp(z, axis=1, keepdims=True)
        residual = rows * np.exp(logs) - share
        gradient = np.concatenate([(residual.T @ x + 2 * penalty * W).ravel(), residual.sum(axis=0)])
        return -(share * logs).sum() + penalty * (W * W).sum(), gradient

    flat, path = np.zeros(3 * width + 3), []
    flat[-3:] = np.log(np.clip(share.sum(axis=0), 1e-4, 1))
    with threadpool_limits(1 if x.size < SMALL else None, user_api="blas"):
        for penalty in penalties:
            flat = minimize(
                objective, flat, args=(penalty,), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-10}
            ).x
            path.append((flat[:-3].reshape(3, width), flat[-3:]))
    return path
