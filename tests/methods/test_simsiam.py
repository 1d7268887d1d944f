"""SimSiam against a loop written from its paper, its closed forms, and what keeps it from collapsing."""

import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.simsiam import SimSiam, SimSiamConfig, negative_cosine
from toys import ToyEncoder, X, Y, pictures, two_views

x, y = torch.tensor(X), torch.tensor(Y)


def by_loops(p: np.ndarray, z: np.ndarray) -> float:
    return -sum(sum(a * b) / math.sqrt(sum(a * a) * sum(b * b)) for a, b in zip(p, z, strict=True)) / len(p)


def test_negative_cosine_is_the_loop_and_half_of_byols_distance_less_one() -> None:
    loss = negative_cosine(x, y)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(by_loops(X, Y), abs=1e-12)
    # BYOL's published 2 − 2·cos of the same inputs
    assert loss.item() == pytest.approx(2.0963828672206954 / 2 - 1, abs=1e-9)


def test_closed_forms() -> None:
    e = torch.eye(4, dtype=torch.float64)
    assert negative_cosine(x, 3 * x).item() == pytest.approx(-1, abs=1e-12)
    assert negative_cosine(e[:2], e[2:]).item() == pytest.approx(0)
    assert negative_cosine(x, -x).item() == pytest.approx(1)


def test_gradient_by_finite_differences_and_none_into_the_target() -> None:
    p, z = x.clone().requires_grad_(), y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: negative_cosine(p, y), (p,))
    negative_cosine(p, z).backward()
    assert z.grad is None
    zero = torch.zeros(2, 8, dtype=torch.bfloat16, requires_grad=True)
    negative_cosine(zero, y[:2].bfloat16()).backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


def simsiam(**options: int) -> SimSiam:
    torch.manual_seed(0)
    return SimSiam(ToyEncoder(), SimSiamConfig(**({"hidden_dim": 8, "dim": 32} | options)))


def test_t12_loss_is_the_mean_of_both_directions_each_against_the_other_view() -> None:
    method = simsiam()
    views = two_views(pictures(8))
    loss = method.step(views).loss.item()
    with torch.no_grad():
        z = [method.projector(method.encoder(v)) for v in views]
        p = [method.predictor(own).double().numpy() for own in z]
    expected = (by_loops(p[0], z[1].double().numpy()) + by_loops(p[1], z[0].double().numpy())) / 2
    assert loss == pytest.approx(expected, rel=1e-5)


def test_gradient_comes_through_the_predictions_alone() -> None:
    method = simsiam()
    views = two_views(pictures(8))
    method.step(views).loss.backward()
    found = method.encoder.conv1.weight.grad.clone()
    method.zero_grad()
    with torch.no_grad():
        z1, z2 = (method.projector(method.encoder(v)) for v in views)
    p1, p2 = (method.predictor(method.projector(method.encoder(v))) for v in views)
    cos = torch.nn.functional.cosine_similarity
    (-(cos(p1, z2).mean() + cos(p2, z1).mean()) / 2).backward()
    torch.testing.assert_close(found, method.encoder.conv1.weight.grad, rtol=1e-4, atol=1e-7)


def test_heads_as_published() -> None:
    method = SimSiam(ToyEncoder())
    leaves = [m for m in method.projector.modules() if not list(m.children())]
    names = [type(m).__name__ for m in leaves]
    assert names == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert not leaves[-1].affine and leaves[1].affine
    assert all(m.bias is None and m.out_features == 2048 for m in leaves if isinstance(m, torch.nn.Linear))
    first, norm, _, last = method.predictor
    assert (first.out_features, last.out_features) == (512, 2048) and isinstance(norm, torch.nn.BatchNorm1d)
    assert first.bias is None and last.bias is not None, "no batch-norm takes the last bias away"


def test_output_std_tells_a_collapse() -> None:
    method = simsiam()
    assert 0.5 < method.step(two_views(pictures(64))).logs["output_std"] < 1.1
    one = pictures(1).expand(8, -1, -1, -1)
    assert method.step([one, one]).logs["output_std"] < 1e-3


def test_natural_views_are_the_papers() -> None:
    (view,) = SimSiam.natural.global_views
    assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.2, 1.0), 0.4, 0.4, 0.8)
    assert (view.flip, view.blur, view.solarize, view.rotate) == (0.5, 0.5, 0, 0)


def test_nothing_is_automatic_and_bad_values_are_refused() -> None:
    config = SimSiamConfig()
    assert SimSiam.fit_config(config, images=3, steps=1, batch_size=2, size=16) == (config, [])
    with pytest.raises(UsageError, match="--hidden-dim"):
        SimSiamConfig(hidden_dim=0)
