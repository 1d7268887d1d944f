import copy

import numpy as np
import pytest
import torch

from helpers import make_pack
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine.features import embed, to_input
from kontrast.engine.finetuning import settle_statistics, start_head
from kontrast.engine.linear import fit_path
from kontrast.engine.losses import bce
from kontrast.engine.supervision import Labelled, labelled
from kontrast.nn.encoders import EncoderSpec, build_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Labelled:
    pack = Pack.open(make_pack(tmp_path_factory.mktemp("settle") / "pack", n=120))
    return labelled(pack, label_fraction=1.0, uncertain="zeros", blank="negative", findings=(), seed=0)


def fresh(task: Labelled, name: str = "resnet18") -> Classifier:
    spec = EncoderSpec(name, task.pack.size, mean=task.pack.mean, std=task.pack.std)
    return Classifier(build_encoder(spec, seed=0), spec, task.findings)


def loss_in_training(classifier: Classifier, task: Labelled) -> float:
    y, w = (torch.from_numpy(a[task.train]) for a in (task.targets, task.weights))
    with torch.no_grad():
        logits = copy.deepcopy(classifier).train()(to_input(task.pack.images(task.train), classifier.spec))
    return bce(logits, y, w).item()


def test_a_probed_head_fits_a_random_encoder_in_training_mode_too(task) -> None:
    # With statistics of no image the head's first loss was ten times that of guessing, for this baseline alone.
    classifier = fresh(task)
    settle_statistics(classifier, task, CPU, 24)
    features = embed(classifier.encoder, classifier.spec, task.pack, task.train)
    head = fit_path(features, task.targets[task.train], task.weights[task.train], penalties=(0.1,))[0]
    start_head(classifier.head, head.weight, head.bias)
    assert loss_in_training(classifier, task) < 0.5 < np.log(2)


def test_statistics_are_the_mean_over_whole_batches(task) -> None:
    classifier = fresh(task)
    first = classifier.encoder.conv1(to_input(task.pack.images(task.train), classifier.spec)).detach()
    settle_statistics(classifier, task, CPU, len(task.train))
    norm = classifier.encoder.bn1
    torch.testing.assert_close(norm.running_mean, first.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_var, first.var((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert norm.momentum == 0.1


def test_without_batch_norm_nothing_changes(task) -> None:
    classifier = fresh(task, "vit_small")
    before = copy.deepcopy(classifier.state_dict())
    settle_statistics(classifier, task, CPU, 24)
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())
