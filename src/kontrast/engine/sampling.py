"""Weights for drawing images under class imbalance."""

import numpy as np


def balanced_sampling_weights(targets: np.ndarray, weights: np.ndarray, limit: float = 10.0) -> np.ndarray:
    """A drawing weight for each image, so that rare findings are seen more often.

    An image counts as much as its rarest positive finding, 1/√prevalence, at most `limit` times the commonest; an
    image without positives counts 1. (Summing weights over all positives, as the first version did, over-draws
    images with many common findings and hardly ever draws the healthy.) Sampling shifts the priors that a model
    learns; thresholds are chosen on validation, which is never re-sampled.

    Args:
        targets: (N, F) in [0, 1].
        weights: (N, F), 0 where the label is ignored.
        limit: how many times oftener than the commonest an image is drawn at most.

    Returns:
        (N,) positive weights with mean 1.
    """
    positive = (targets > 0.5) & (weights > 0)
    prevalence = np.maximum(positive.sum(0), 1) / max(len(targets), 1)
    factor = np.clip(1 / np.sqrt(prevalence), 1, limit)
    drawn = np.where(positive, factor, 1.0).max(axis=1, initial=1.0)
    return drawn / drawn.mean()
