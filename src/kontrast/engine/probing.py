"""The linear probe: features once, a path of logistic regressions, the penalty that validation prefers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kontrast import console
from kontrast.artifacts.classifier import Classifier
from kontrast.engine import threeclass
from kontrast.engine.features import embed
from kontrast.engine.finetuning import Supervised, settle_statistics, start_head
from kontrast.engine.linear import Linear, fit_path, knn
from kontrast.engine.supervision import Labelled, frozen, validate
from kontrast.nn.encoders import Encoder, EncoderSpec
from kontrast.nn.neighbours import LEAST, Neighbours

DEFAULT_PENALTY = 0.1
"""Where validation cannot choose: no image, or one class only."""


@dataclass(frozen=True)
class Probe:
    """A fitted probe: the classifier, its thresholds and calibration (`frozen`), and what to say about it.

    `other` is the one that is scored beside it, `kNN` or `linear`: its scores are `val_knn` or `val_linear`.
    """

    classifier: Classifier
    frozen: dict[str, dict[str, Any]]
    summary: dict[str, Any]
    other: str


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
    near: bool = False,
) -> Probe:
    """Fit a linear head on frozen features; kNN is scored beside it, or the other way round.

    Args:
        encoder: not changed.
        spec: its description.
        task: labels.
        device: where features are computed.
        batch_size: images at a time.
        neighbours: of the kNN.
        rule: of the thresholds.
        calibrate: how probabilities are corrected.
        near: whether the classifier is the kNN.
    """
    features = {
        name: embed(encoder, spec, task.pack, rows, device, batch_size)
        for name, rows in (("train", task.train), ("val", task.val))
    }
    task = self_trained(features["train"], features["val"], task)
    targets, weights = task.targets[task.train], task.weights[task.train]
    linear, _ = best_of(probes(features["train"], task), features["val"], task)
    # As the saved head gives them: a calibration fitted on other logits would be of another classifier.
    votes = knn(features["train"], targets, weights, features["val"], neighbours).clip(LEAST, 1 - LEAST)
    scored = {"linear": linear.probabilities(features["val"]), "kNN": votes}
    if near:
        head = Neighbours(features["train"], targets, weights, neighbours)
        classifier = Classifier(encoder, spec, task.findings, head=head)
    else:
        classifier = Classifier(encoder, spec, task.findings)
        start_head(classifier.linear, linear.weight, linear.bias)
    mine, other = ("kNN", "linear") if near else ("linear", "kNN")
    summary = {
        "penalty": linear.penalty,
        "val": validate(task, scored[mine]),
        f"val_{other.lower()}": validate(task, scored[other]),
        "neighbours": min(neighbours, len(task.train)),
    }
    return Probe(classifier, frozen(task, scored[mine], rule, calibrate), summary, other)


def start_from_probe(model: Supervised, task: Labelled, device: torch.device, batch_size: int) -> None:
    """Put the head of a linear probe on the encoder that is about to be fine-tuned (`finetuning.start_head`).

    It is `probe`'s own fit and choice of penalty, on other features where the encoder has batch-norm: with the
    statistics that training will have, of these images. So another penalty may be the best than `probe` finds.

    Args:
        model: changed in place; its batch-norms get the statistics of training.
        task: labels.
        device: where features are computed.
        batch_size: images a step of the run to come, over all processes.
    """
    console.say("The head starts from a linear probe, on features with this training's batch statistics:")
    classifier = model.classifier
    settle_statistics(classifier, task, device, batch_size)
    train, val = (
        embed(classifier.encoder, classifier.spec, task.pack, rows, device) for rows in (task.train, task.val)
    )
    head, unclear = best_of(probes(train, task), val, task)
    start_head(classifier.linear, head.weight, head.bias)
    if model.unclear is not None and unclear is not None:
        start_head(model.unclear, unclear.weight, unclear.bias)


def probes(features: np.ndarray, task: Labelled) -> list[tuple[Linear, Linear | None]]:
    """Regressions of every penalty on the features of `task.train` (n, D), for all findings by their policy.

    Returns:
        For each penalty the logits of the findings, and of "uncertain" for those trained with three classes (or None).
    """
    y, w, third = (a[task.train] for a in (task.targets, task.weights, task.third))
    three = task.three
    if not len(three):
        return [(linear, None) for linear in fit_path(features, y, w)]
    two = np.setdiff1d(np.arange(len(task.findings)), three)
    binary = fit_path(features, y[:, two], w[:, two])
    others = threeclass.fit_path(features, y[:, three], w[:, three], third[:, three].astype(float))
    path: list[tuple[Linear, Linear | None]] = []
    for first, (positive, unclear) in zip(binary, others, strict=True):
        weight, bias = np.empty((len(task.findings), features.shape[1])), np.empty(len(task.findings))
        for columns, part in ((two, first), (three, positive)):
            weight[columns], bias[columns] = part.weight, part.bias
        path.append((Linear(weight, bias, first.penalty), unclear))
    return path


def self_trained(train: np.ndarray, val: np.ndarray, task: Labelled) -> Labelled:
    """The labels with the cells that are left to another model filled by a probe that ignored them.

    Args:
        train: features of `task.train`, (n, D).
        val: of `task.val`.
        task: labels.
    """
    if not task.untold.any():
        return task
    console.say(f"  Self-training: a probe without them fills {int(task.untold.sum()):,} uncertain labels.")
    teacher, _ = best_of(probes(train, task), val, task)
    return task.filled(teacher.probabilities(train))


def best_of(
    path: list[tuple[Linear, Linear | None]], features: np.ndarray, task: Labelled
) -> tuple[Linear, Linear | None]:
    """The regressions with the best macro AUROC on validation; of equals the strongest penalty.

    One penalty for all findings: chosen for each, rare ones would follow the noise of a few positives.
    """
    scores = [validate(task, linear.probabilities(features))["macro_auroc"] for linear, _ in path]
    if any(score is None for score in scores):
        near = min(path, key=lambda pair: abs(np.log(pair[0].penalty / DEFAULT_PENALTY)))
        console.decided("L2 penalty", near[0].penalty, "validation has no finding with both classes")
        return near
    best = int(np.argmax(scores))
    console.decided("L2 penalty", path[best][0].penalty, f"best macro AUROC on validation, {scores[best]:.3f}")
    return path[best]
