"""LARS against the published oracle and a naive loop; what decays."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from kontrast.engine.optim import LARS, build_optimizer, set_lr, split_decay
from kontrast.errors import UsageError

X = torch.tensor([[math.sin(8 * i + j + 1) for j in range(8)] for i in range(4)], dtype=torch.float64)
Y = torch.tensor([[math.cos(1.7 * (8 * i + j) + 0.3) for j in range(8)] for i in range(4)], dtype=torch.float64)


def _first_step(weight_decay):
    p = nn.Parameter(X.clone())
    p.grad = 0.1 * Y
    LARS([p], lr=0.3, weight_decay=weight_decay).step()
    return (p - X).detach()


def test_first_step_is_the_oracle():
    change = _first_step(1e-4)
    assert float(change[0, 0]) == pytest.approx(-2.83211788e-4, rel=1e-8)
    assert float(change.norm()) == pytest.approx(1.20016312e-3, rel=1e-8)


def test_adaptation_holds_without_weight_decay():
    # the form in several libraries takes a step of 0.12156 here
    assert float(_first_step(0.0).norm()) == pytest.approx(1.200163e-3, rel=1e-6)


def test_other_forms_take_other_steps():
    """What other libraries compute, so that the numbers above are seen to tell them from ours."""
    p, g, wd = X.numpy(), 0.1 * Y.numpy(), 1e-4
    separate = 1e-3 * np.linalg.norm(p) / (np.linalg.norm(g) + wd * np.linalg.norm(p) + 1e-8)
    assert 0.3 * separate * np.linalg.norm(g + wd * p) == pytest.approx(1.19893032e-3, rel=1e-8)
    assert 0.3 * np.linalg.norm(g) == pytest.approx(0.12156, rel=1e-4)  # no adaptation


@pytest.mark.parametrize("inside", [False, True])
def test_many_steps_with_a_changing_rate_against_a_naive_loop(inside):
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(3, 4)), rng.normal(size=3)
    weight, bias = nn.Parameter(torch.tensor(w)), nn.Parameter(torch.tensor(b))
    optimizer = build_optimizer("lars", [{"params": [weight, bias]}], 0.5, 0.01, lr_in_momentum=inside)
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for step in range(6):
        lr = 0.5 / (step + 1)
        gw, gb = rng.normal(size=w.shape), rng.normal(size=b.shape)
        weight.grad, bias.grad = torch.tensor(gw), torch.tensor(gb)
        set_lr(optimizer, lr)
        optimizer.step()
        decayed = gw + 0.01 * w
        q = 1e-3 * np.linalg.norm(w) / np.linalg.norm(decayed)
        if inside:
            vw, vb = 0.9 * vw + lr * q * decayed, 0.9 * vb + lr * gb
            w, b = w - vw, b - vb
        else:
            vw, vb = 0.9 * vw + q * decayed, 0.9 * vb + gb
            w, b = w - lr * vw, b - lr * vb
    np.testing.assert_allclose(weight.detach().numpy(), w, rtol=1e-12)
    np.testing.assert_allclose(bias.detach().numpy(), b, rtol=1e-12)


def test_zero_weight_or_zero_gradient_is_not_adapted():
    p = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    p.grad = torch.ones(2, 2, dtype=torch.float64)
    LARS([p], lr=0.1).step()
    assert torch.allclose(p, torch.full((2, 2), -0.1, dtype=torch.float64))
    q = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    q.grad = torch.zeros(2, 2, dtype=torch.float64)
    LARS([q], lr=0.1).step()
    assert torch.equal(q, torch.ones(2, 2, dtype=torch.float64))


def test_decay_goes_by_shape_also_where_the_name_says_nothing():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2, bias=False))
    net[0].bias.requires_grad_(False)
    groups = split_decay([{"params": net.parameters(), "lr_scale": 10}])
    assert [[p.ndim for p in g["params"]] for g in groups] == [[4, 2], [1, 1]]
    assert groups[1]["weight_decay"] == 0
    assert "weight_decay" not in groups[0]
    optimizer = build_optimizer("adamw", [{"params": net.parameters(), "lr_scale": 10}], 0.1, 0.05)
    set_lr(optimizer, 0.01)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.1]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.05, 0]


def test_a_method_may_decay_everything_and_a_tensor_comes_once():
    net = nn.Linear(2, 2)
    groups = split_decay([{"params": net.parameters(), "decay_1d": True}, {"params": [net.weight]}])
    assert [len(g["params"]) for g in groups] == [2]


@pytest.mark.parametrize("name", ["lars", "sgd"])
@pytest.mark.parametrize("everything", [True, False])
def test_biases_decay_where_their_group_says_so_and_are_never_adapted(name, everything):
    bias = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    optimizer = build_optimizer(name, [{"params": [weight, bias], "decay_1d": everything}], 0.5, 0.1)
    bias.grad, weight.grad = torch.tensor([0.3, 0.4], dtype=torch.float64), torch.ones_like(weight)
    optimizer.step()
    decayed = [0.3 + 0.1, 0.4 - 0.2] if everything else [0.3, 0.4]
    assert bias.tolist() == pytest.approx([1 - 0.5 * decayed[0], -2 - 0.5 * decayed[1]], rel=1e-12)


def test_lars_of_its_own_leaves_biases_alone():
    bias = nn.Parameter(torch.ones(2))
    bias.grad = torch.zeros(2)
    LARS([bias], lr=0.5, weight_decay=0.1).step()
    assert bias.tolist() == [1, 1]


def test_unknown_optimizer():
    with pytest.raises(UsageError, match="adam"):
        build_optimizer("adam", nn.Linear(1, 1), 0.1, 0)
