"""Barlow Twins against its published number, a loop written from its paper, and its closed forms."""

import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.barlow import Barlow, BarlowConfig, barlow_loss, cross_correlation
from toys import ToyEncoder, X, Y, pictures, two_views

x, y = torch.tensor(X), torch.tensor(Y)


def by_loops(z1: np.ndarray, z2: np.ndarray, weight: float) -> float:
    """The paper's equations 1 and 2, standardising as batch-norm does (biased variance, 1e-5)."""
    B, D = z1.shape
    total = 0.0
    for i in range(D):
        for j in range(D):
            a, b = z1[:, i] - sum(z1[:, i]) / B, z2[:, j] - sum(z2[:, j]) / B
            c = sum(a * b) / math.sqrt((sum(a * a) / B + 1e-5) * (sum(b * b) / B + 1e-5)) / B
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def loss_of(z1: torch.Tensor, z2: torch.Tensor, weight: float = 0.0051) -> torch.Tensor:
    return barlow_loss(cross_correlation(z1, z2), weight)


def test_loss_is_the_reference_and_the_loop() -> None:
    loss = loss_of(x, y)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(12.661844685610077, abs=1e-9)
    assert loss.item() == pytest.approx(by_loops(X, Y, 0.0051), abs=1e-12)
    assert loss_of(x, y, 0.7).item() == pytest.approx(by_loops(X, Y, 0.7), abs=1e-12)


def test_closed_forms() -> None:
    constant = torch.ones(6, 5, dtype=torch.float64)
    assert loss_of(constant, constant).item() == pytest.approx(5), "D where nothing tells images apart"
    # whole waves are uncorrelated and have variance 1/2; only the 1e-5 keeps C from the identity
    t = torch.arange(16, dtype=torch.float64)[:, None] * 2 * math.pi / 16
    waves = torch.cat([f(k * t) for k in (1, 2, 3) for f in (torch.sin, torch.cos)], dim=1)
    assert loss_of(waves, 3 * waves + 7).item() == pytest.approx(0, abs=1e-8)
    assert loss_of(waves, -waves).item() == pytest.approx(4 * 6, rel=1e-4)
    same = waves[:, :1].expand(-1, 6)
    assert loss_of(same, same).item() == pytest.approx(0.0051 * 30, rel=1e-4), "all say the same: λ·D·(D − 1)"


def test_gradients_reach_both_views_and_match_finite_differences() -> None:
    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: loss_of(a, b), (a, b))


def test_t22_the_mean_is_over_the_images_that_there_are() -> None:
    doubled = loss_of(x.repeat(2, 1), y.repeat(2, 1))
    assert doubled.item() == pytest.approx(loss_of(x, y).item(), abs=1e-12)


def test_t17_constant_outputs_and_half_precision_stay_finite() -> None:
    zero = torch.zeros(4, 8, dtype=torch.bfloat16, requires_grad=True)
    loss_of(zero, y.bfloat16()).backward()
    assert zero.grad is not None and zero.grad.isfinite().all()
    a, b = x.half(), y.half()
    assert torch.equal(cross_correlation(a, b), cross_correlation(a.float(), b.float()))
    exact = cross_correlation(x.float(), y.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cross_correlation(x.float(), y.float()), exact)


def barlow(**options: object) -> Barlow:
    torch.manual_seed(0)
    return Barlow(ToyEncoder(), BarlowConfig(**({"dim": 12} | options)))  # type: ignore[arg-type]


def test_step_compares_the_two_views_outputs_and_its_numbers_are_those_of_c() -> None:
    method, views = barlow(), two_views(pictures(8))
    step = method.step(views)
    with torch.no_grad():
        z = [method.projector(method.encoder(v)).double().numpy() for v in views]
    assert step.loss.item() == pytest.approx(by_loops(*z, 0.0051), rel=1e-4)
    s = [(v - v.mean(0)) / np.sqrt(v.var(0) + 1e-5) for v in z]
    c = s[0].T @ s[1] / 8
    assert step.logs["correlation"].item() == pytest.approx(np.diag(c).mean(), abs=1e-5)
    off = c[~np.eye(12, dtype=bool)]
    assert step.logs["redundancy"].item() == pytest.approx(np.sqrt((off**2).mean()), abs=1e-5)
    assert method.chance_loss() == 12


def test_step_is_embed_and_compare() -> None:
    method, views = barlow(), two_views(pictures(8))
    z1, z2, h = found = method.embed(views)
    assert z1.requires_grad and z2.requires_grad and not h.requires_grad
    assert z1.shape == z2.shape == (8, 12) and h.shape == (8, 16)
    assert method.compare(found).loss.item() == barlow().step(views).loss.item()


def test_projector_has_three_layers_without_biases_and_no_norm_at_its_end() -> None:
    leaves = [m for m in barlow().projector.modules() if not list(m.children())]
    assert [type(m).__name__ for m in leaves] == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    assert all(m.bias is None and m.out_features == 12 for m in leaves if isinstance(m, torch.nn.Linear))


@pytest.mark.parametrize(("batch", "dim"), [(2, 8), (64, 256), (256, 1024), (2048, 8192), (4096, 8192)])
def test_outputs_follow_the_batch(batch: int, dim: int) -> None:
    config, why = Barlow.fit_config(BarlowConfig(), images=10**5, steps=100, batch_size=batch, size=64)
    assert config.dim == dim and why[0][:2] == ("dim", dim)


def test_natural_views_are_the_papers() -> None:
    one, two = Barlow.natural.global_views
    assert (one.blur, one.solarize, two.blur, two.solarize) == (1.0, 0.0, 0.1, 0.2)
    for view in (one, two):
        assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.08, 1.0), 0.4, 0.4, 0.8)
        assert (view.flip, view.rotate) == (0.5, 0)


def test_bad_values_are_refused() -> None:
    with pytest.raises(UsageError, match="--redundancy-weight"):
        BarlowConfig(redundancy_weight=0)
