"""Multi-label losses with masked cells: an ignored label (weight 0) adds nothing, and is not counted.

The modulation of the focal loss is per element, before any mean: modulating the mean of the cross-entropy instead
only rescales it and focuses on nothing (the fault of this work's first version).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kontrast import distributed


def counted(weights: Tensor) -> Tensor:
    """How many cells of the batch count: the sum of the weights, as a mean over processes, without gradient.

    Processes ignore unequally many labels. With their common count below each loss, the mean that DDP takes of their
    gradients is the gradient of one process with the whole batch; every process must call this, and as often.
    """
    return distributed.all_reduce_mean(weights.detach().sum()).clamp_min(1e-8)


def _masked_mean(loss: Tensor, weights: Tensor) -> Tensor:
    return (loss * weights).sum() / counted(weights)


def bce(logits: Tensor, targets: Tensor, weights: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over the cells that count.

    Args:
        logits: (B, F), any float type; computed in float32 or better.
        targets: (B, F) in [0, 1]; soft targets are allowed.
        weights: (B, F), 0 where the label is ignored.
        pos_weight: (F,) factor of the positive term, or None.
    """
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=pos_weight)
    return _masked_mean(loss, weights)


def focal(
    logits: Tensor, targets: Tensor, weights: Tensor, pos_weight: Tensor | None = None, gamma: float = 2.0
) -> Tensor:
    """Mean focal loss, (1 - p_t)^γ · BCE for each cell; γ = 0 is `bce` (Lin et al. 2017, arXiv:1708.02002, eq. 4).

    For a soft target t, p_t is the probability given to it: t·p + (1-t)·(1-p).
    """
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=pos_weight)
    # 1 - p_t from both sigmoids: 1 - sigmoid(20) is 0 in float32, where a power below 1 has no finite slope
    missed = targets * torch.sigmoid(-logits) + (1 - targets) * torch.sigmoid(logits)
    return _masked_mean(missed.clamp_min(torch.finfo(missed.dtype).tiny) ** gamma * loss, weights)


LOSSES = {"bce": bce, "focal": focal}


def balanced_pos_weight(targets: Tensor, weights: Tensor, limit: float = 20.0) -> Tensor:
    """Negatives over positives for each finding, (F,), at most `limit`: a finding with three positives must not
    drown the others. Probabilities trained so are no longer calibrated; thresholds on validation make up for it.
    """
    positives = (targets * weights).sum(0)
    negatives = ((1 - targets) * weights).sum(0)
    return (negatives / positives.clamp_min(1)).clamp(1 / limit, limit)
