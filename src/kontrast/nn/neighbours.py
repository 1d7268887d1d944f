"""k nearest neighbours as a head: it keeps labelled features, and votes."""

import numpy as np
import torch
from torch import Tensor, nn

TEMPERATURE = 0.07
LEAST = 1e-6
"""Probabilities are held this far from 0 and 1, where a logit would have no end."""


class Neighbours(nn.Module):
    """Features → logits of findings: votes of the k nearest labelled images by cosine, weighted exp(cosine / T).

    The multi-label kNN of `engine.linear.knn`, kept in a network so that it can be saved, scored and explained like a
    linear head (Wu et al. 2018, arXiv:1805.01978, section 3.4).

    Args:
        features: (N, D) of the labelled images.
        targets: (N, F) in [0, 1].
        weights: (N, F), 0 = ignored.
        k: neighbours; at most N are used.
    """

    bank: Tensor
    targets: Tensor
    weights: Tensor

    def __init__(self, features: np.ndarray, targets: np.ndarray, weights: np.ndarray, k: int) -> None:
        super().__init__()
        self.k = min(k, len(features))
        for name, values in (("bank", features), ("targets", targets), ("weights", weights)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))

    @classmethod
    def empty(cls, images: int, features: int, findings: int, k: int) -> "Neighbours":
        """Of these sizes, for weights to be loaded into."""
        shape = (images, findings)
        return cls(np.zeros((images, features)), np.zeros(shape), np.zeros(shape), k)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) → (B, F) logits; the finding's prevalence where no neighbour's label counts."""
        bank, targets, weights = self.bank, self.targets, self.weights
        cosine = nn.functional.normalize(x.float(), dim=1) @ nn.functional.normalize(bank, dim=1).T
        value, near = cosine.topk(self.k, dim=1)  # (B, k)
        vote = ((value - 1) / TEMPERATURE).exp()[:, :, None] * weights[near]  # (B, k, F)
        total = vote.sum(1)
        usual = (targets * weights).sum(0) / weights.sum(0).clamp_min(1e-12)
        p = torch.where(total > 0, (vote * targets[near]).sum(1) / total.clamp_min(1e-30), usual)
        return p.clamp(LEAST, 1 - LEAST).logit()
