"""Uncertain as a third class, and uncertain labels filled by another model."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from helpers import make_pack
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine import threeclass
from kontrast.engine.finetuning import Supervised
from kontrast.engine.linear import fit_path
from kontrast.engine.losses import bce
from kontrast.engine.probing import probes, self_trained
from kontrast.engine.supervision import Labelled, labelled
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.views.recipes import FINETUNE


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    return Pack.open(make_pack(tmp_path_factory.mktemp("three") / "pack", n=120, unclear=0.25))


def task_of(pack: Pack, uncertain: str) -> Labelled:
    return labelled(pack, label_fraction=1.0, uncertain=uncertain, blank="ignore", findings=(), seed=0)


def cells(seed: int = 0, n: int = 50, m: int = 2):
    """Logits of three classes (n, m, 3), and the class of each cell: 0, 1 = uncertain, 2, or 3 = ignored."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, m, 3, generator=g) * 3, torch.randint(0, 4, (n, m), generator=g)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_loss_is_pytorchs_cross_entropy_of_three_logits(gamma: float) -> None:
    z, kind = cells()
    ours = threeclass.cross_entropy(
        z[..., 2] - z[..., 0], z[..., 1] - z[..., 0], (kind == 2).float(), ((kind == 0) | (kind == 2)).float(),
        (kind == 1).float(), gamma=gamma,
    )  # fmt: skip
    known = kind < 3
    each = torch.nn.functional.cross_entropy(z[known], kind[known], reduction="none")
    torch.testing.assert_close(ours, ((1 - torch.exp(-each)) ** gamma * each).mean())


def test_positives_weigh_as_asked_and_ignored_cells_nothing() -> None:
    z, kind = cells()
    pos, unc = z[..., 2] - z[..., 0], z[..., 1] - z[..., 0]
    parts = [(kind == 2).float(), ((kind == 0) | (kind == 2)).float(), (kind == 1).float()]
    weight = torch.tensor([2.0, 5.0])
    each = -torch.log_softmax(z, -1).gather(-1, kind.clamp(max=2)[..., None])[..., 0]
    factor = torch.where(kind == 2, weight, 1.0) * (kind < 3)
    torch.testing.assert_close(
        threeclass.cross_entropy(pos, unc, *parts, pos_weight=weight), (factor * each).sum() / (kind < 3).sum()
    )
    other = torch.where(kind == 3, pos + 7, pos)
    torch.testing.assert_close(threeclass.cross_entropy(other, unc, *parts), threeclass.cross_entropy(pos, unc, *parts))


def test_the_regression_is_scikit_learns_and_leaves_uncertain_out() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)) * rng.uniform(0.5, 4, 5) + 2
    kind = (x @ rng.normal(size=(5, 3)) + rng.gumbel(size=(300, 3))).argmax(1)
    y, w, third = (kind == 2)[:, None] * 1.0, (kind != 1)[:, None] * 1.0, (kind == 1)[:, None] * 1.0
    ((positive, unclear),) = threeclass.fit_path(x, y, w, third, [0.05])
    z = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=1 / (2 * 0.05 * len(x)), tol=1e-12, max_iter=5000).fit(z, kind).predict_proba(z)
    np.testing.assert_allclose(positive.probabilities(x)[:, 0], theirs[:, 2] / (theirs[:, 0] + theirs[:, 2]), atol=2e-4)
    np.testing.assert_allclose(unclear.probabilities(x)[:, 0], theirs[:, 1] / (theirs[:, 0] + theirs[:, 1]), atol=2e-4)


@pytest.mark.parametrize("penalty", [0.3, 0.01])
def test_without_uncertain_cells_the_regression_is_that_of_two_classes(penalty: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 4)) * rng.uniform(0.5, 4, 4) + 2
    y, w = (rng.random((80, 1)) < 0.4) * 1.0, (rng.random((80, 1)) < 0.8) * 1.0
    ((positive, _),) = threeclass.fit_path(x, y, w, np.zeros_like(y), [penalty])
    (two,) = fit_path(x, y, w, [penalty])
    np.testing.assert_allclose(positive.probabilities(x), two.probabilities(x), atol=5e-4)


def test_probes_take_each_finding_by_its_policy(pack) -> None:
    task = task_of(pack, "multiclass,Bar=ones")
    assert list(task.three) == [0] and task.weights[task.train][task.third[task.train]].max() == 0
    x = np.random.default_rng(0).normal(size=(len(task.train), 4))
    linear, unclear = probes(x, task)[0]
    y, w = task.targets[task.train], task.weights[task.train]
    np.testing.assert_allclose(linear.weight[1:], fit_path(x, y[:, 1:], w[:, 1:])[0].weight)
    assert unclear.weight.shape == (1, 4)
    other = probes(x, task_of(pack, "ignore,Bar=ones"))[0][0]
    assert np.abs(linear.weight[0] - other.weight[0]).max() > 1e-4


def test_training_meets_both_losses_in_the_share_of_their_cells(pack) -> None:
    task = task_of(pack, "multiclass,Bar=ones")
    spec = EncoderSpec("resnet18", pack.size, mean=pack.mean, std=pack.std)
    torch.manual_seed(0)
    model = Supervised(Classifier(build_encoder(spec, seed=0), spec, task.findings), task, bce, FINETUNE["none"].at(32))
    torch.nn.init.normal_(model.unclear.weight)
    rows = torch.from_numpy(task.train[:30])
    features = torch.randn(30, model.classifier.encoder.feature_dim)
    logits = model.classifier.head(features)
    y, w, third = (torch.from_numpy(np.asarray(a, np.float32))[rows] for a in (task.targets, task.weights, task.third))
    unclear = model.unclear(features)[:, 0]
    total = count = 0.0
    for i in range(30):
        if third[i, 0] or w[i, 0]:
            z = torch.stack([torch.tensor(0.0), unclear[i], logits[i, 0]])
            total += -torch.log_softmax(z, 0)[1 if third[i, 0] else 2 * int(y[i, 0])]
            count += 1
        if w[i, 1]:
            total += torch.nn.functional.binary_cross_entropy_with_logits(logits[i, 1], y[i, 1])
            count += 1
    torch.testing.assert_close(model._cost(logits, features, rows, torch.device("cpu")), total / count)
    heads = {id(p) for p in model.parameter_groups()[1]["params"]}
    assert {id(p) for p in model.unclear.parameters()} <= heads


def test_self_training_fills_uncertain_cells_alone(pack) -> None:
    task = task_of(pack, "selftrained,Bar=zeros")
    assert task.untold[:, 0].any() and not task.untold[:, 1].any()
    rng = np.random.default_rng(0)
    train, val = (rng.normal(size=(len(rows), 4)) for rows in (task.train, task.val))
    filled = self_trained(train, val, task)
    teacher = probes(train, task_of(pack, "ignore,Bar=zeros"))
    guesses = [linear.probabilities(train) for linear, _ in teacher]
    cells = task.untold[task.train]
    given = filled.targets[task.train]
    assert any(np.allclose(given[cells], guess[cells], atol=1e-6) for guess in guesses)
    assert np.array_equal(given[~cells], task.targets[task.train][~cells])
    assert (filled.weights[task.train][cells] == 1).all() and not filled.untold.any()
    assert np.array_equal(filled.targets[task.val], task.targets[task.val])
    assert np.array_equal(filled.weights[task.val], task.weights[task.val])


def test_positives_are_images_labelled_so_whatever_is_made_of_the_uncertain(pack) -> None:
    for uncertain in ("soft", "ones", "zeros", "selftrained,Bar=multiclass"):
        task = task_of(pack, uncertain)
        table = pack.table.iloc[task.train]
        assert task.counts()["positives"] == {name: int((table[name] == 1).sum()) for name in ("Disc", "Bar")}
