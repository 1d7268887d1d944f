"""The linear probe: features once, a path of logistic regressions, the penalty that validation prefers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kontrast import console
from kontrast.artifacts.classifier import Classifier
from kontrast.engine.features import embed
from kontrast.engine.finetuning import start_head
from kontrast.engine.linear import Linear, fit_path, knn
from kontrast.engine.supervision import Labelled, frozen, validate
from kontrast.nn.encoders import Encoder, EncoderSpec

DEFAULT_PENALTY = 0.1
"""Where validation cannot choose: no image, or one class only."""


@dataclass(frozen=True)
class Probe:
    """A fitted probe: the classifier, its thresholds and calibration (`frozen`), and what to say about it."""

    classifier: Classifier
    frozen: dict[str, dict[str, Any]]
    summary: dict[str, Any]


def fit_probe(
    encoder: Encoder,
    spec: EncoderSpec,
    task: Labelled,
    *,
    device: torch.device,
    batch_size: int = 256,
    neighbours: int = 20,
    rule: str = "f1",
    calibrate: str = "none",
) -> Probe:
    """Fit a linear head on frozen features; kNN is scored beside it.

    Args:
        encoder: not changed.
        spec: its description.
        task: labels.
        device: where features are computed.
        batch_size: images at a time.
        neighbours: of the kNN.
        rule: of the thresholds.
        calibrate: how probabilities are corrected.
    """
    features = {
        name: embed(encoder, spec, task.pack, rows, device, batch_size)
        for name, rows in (("train", task.train), ("val", task.val))
    }
    targets, weights = task.targets[task.train], task.weights[task.train]
    linear = best_of(fit_path(features["train"], targets, weights), features["val"], task)
    probabilities = linear.probabilities(features["val"])
    near = knn(features["train"], targets, weights, features["val"], neighbours)
    classifier = Classifier(encoder, spec, task.findings)
    start_head(classifier, linear.weight, linear.bias)
    summary = {
        "penalty": linear.penalty,
        "val": validate(task, probabilities),
        "val_knn": validate(task, near),
        "neighbours": min(neighbours, len(task.train)),
    }
    return Probe(classifier, frozen(task, probabilities, rule, calibrate), summary)


def best_of(path: list[Linear], features: np.ndarray, task: Labelled) -> Linear:
    """The regression with the best macro AUROC on validation; of equals the strongest penalty.

    One penalty for all findings: chosen for each, rare ones would follow the noise of a few positives.
    """
    scores = [validate(task, linear.probabilities(features))["macro_auroc"] for linear in path]
    if any(score is None for score in scores):
        near = min(path, key=lambda linear: abs(np.log(linear.penalty / DEFAULT_PENALTY)))
        console.decided("L2 penalty", near.penalty, "validation has no finding with both classes")
        return near
    best = int(np.argmax(scores))
    console.decided("L2 penalty", path[best].penalty, f"best macro AUROC on validation, {scores[best]:.3f}")
    return path[best]
