"""Balanced assignment: every sample to the prototypes, every prototype with an equal share of the samples."""

import torch
from torch import Tensor

from kontrast.distributed import gather
from kontrast.nn.numerics import full_precision


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Sinkhorn-Knopp on exp(scores / ε): rows sum to 1, columns nearly to B/K (Cuturi 2013, Caron et al. 2020).

    Prototypes are normalised over the samples of all processes, samples each on its own. The work is done on
    logarithms, so no ε overflows or empties a column; the constants B and K and the initial division by the
    total drop out, because each normalisation removes whatever scale was there.

    Args:
        scores: (b, K) similarities of this process's samples to the prototypes.
        epsilon: smoothness; smaller is closer to a hard assignment.
        iterations: pairs of normalisations, prototypes first; at least 1.

    Returns:
        (b, K) assignments, without gradient, fp32 (float64 for float64).
    """
    log_q = scores / epsilon  # (b, K)
    for _ in range(iterations):
        shares = gather(log_q.logsumexp(dim=0, keepdim=True))  # (world, K)
        log_q = log_q - shares.logsumexp(dim=0)
        log_q = log_q.log_softmax(dim=1)
    return log_q.exp()
