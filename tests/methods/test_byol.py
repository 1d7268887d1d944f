"""BYOL against its published numbers, and the first version's fault that left its heads untrained."""

import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.byol import BYOL, BYOLConfig, regression_loss, spread, tau
from toys import ToyEncoder, X, Y, pictures, two_views

x, y = torch.tensor(X), torch.tensor(Y)


def by_loops(p: np.ndarray, z: np.ndarray) -> float:
    return sum(2 - 2 * sum(a * b) / math.sqrt(sum(a * a) * sum(b * b)) for a, b in zip(p, z, strict=True)) / len(p)


def test_regression_loss_is_the_reference_and_the_loop() -> None:
    loss = regression_loss(x, y)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(2.0963828672206954, abs=1e-9)
    assert loss.item() == pytest.approx(by_loops(X, Y), abs=1e-12)


def test_closed_forms() -> None:
    e = torch.eye(4, dtype=torch.float64)
    assert regression_loss(x, 3 * x).item() == pytest.approx(0, abs=1e-12)
    assert regression_loss(e[:2], e[2:]).item() == pytest.approx(2)  # orthogonal: 4 for the sum of two directions
    assert regression_loss(x, -x).item() == pytest.approx(4)


def test_gradient_by_finite_differences_and_none_into_the_target() -> None:
    p, z = x.clone().requires_grad_(), y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: regression_loss(p, y), (p,))
    regression_loss(p, z).backward()
    assert z.grad is None
    zero = torch.zeros(2, 8, dtype=torch.bfloat16, requires_grad=True)
    regression_loss(zero, y[:2].bfloat16()).backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


@pytest.mark.parametrize(
    ("k", "value"), [(0, 0.996), (1, 0.9960009868792685), (50, 0.998), (99, 0.9999990131207315), (100, 1.0)]
)
def test_tau_follows_the_published_cosine(k: int, value: float) -> None:
    assert tau(0.996, k / 100) == pytest.approx(value, abs=1e-15)


def byol(**options: object) -> BYOL:
    torch.manual_seed(0)
    return BYOL(ToyEncoder(), BYOLConfig(**({"hidden_dim": 32, "dim": 8} | options)))  # type: ignore[arg-type]


def test_loss_is_the_sum_of_both_directions() -> None:
    method = byol()
    a, b = two_views(pictures(8))
    loss = method.step([a, b]).loss.item()
    with torch.no_grad():
        p = [method.predictor(method.projector(method.encoder(v))) for v in (a, b)]
        t = [method.teacher(v) for v in (a, b)]
    expected = by_loops(p[0].double().numpy(), t[1].double().numpy())
    expected += by_loops(p[1].double().numpy(), t[0].double().numpy())
    assert loss == pytest.approx(expected, rel=1e-5)


def test_t5_target_is_a_copy_of_encoder_and_projector_and_has_no_predictor() -> None:
    method = byol()
    student = [*method.encoder.parameters(), *method.projector.parameters()]
    for own, other in zip(method.teacher.parameters(), student, strict=True):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()


def test_target_moves_only_after_the_step_and_by_tau() -> None:
    method = byol(momentum=0.5)
    student = [*method.encoder.parameters(), *method.projector.parameters()]
    before = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for p in student:
            p.add_(1.0)
    method.step(two_views(pictures(8)))
    assert all(torch.equal(a, b) for a, b in zip(before, method.teacher.parameters(), strict=True))
    for progress in (0.0, 1.0):  # τ = 0.5 first; then 1, and nothing moves
        method.after_step(progress)
        for old, now, new in zip(before, method.teacher.parameters(), student, strict=True):
            torch.testing.assert_close(now, 0.5 * old + 0.5 * new)


def test_t13_target_has_batchnorm_statistics_of_its_own() -> None:
    method = byol()
    method.step(two_views(pictures(8)))
    own = method.teacher.module[0].bn1
    assert method.teacher.training and int(own.num_batches_tracked) == 2
    held = own.running_mean.clone()
    method.encoder.bn1.running_mean.fill_(7.0)
    method.after_step(0.5)
    assert torch.equal(own.running_mean, held)
    assert int(own.num_batches_tracked) == 2


def test_heads_as_published() -> None:
    method = BYOL(ToyEncoder())
    for head in (method.projector, method.predictor):
        first, norm, _, last = head
        assert (first.out_features, last.out_features) == (4096, 256)
        assert first.bias is not None and last.bias is None and isinstance(norm, torch.nn.BatchNorm1d)


@pytest.mark.parametrize(("steps", "base"), [(10, 0.9), (1000, 0.98), (2000, 0.99), (100_000, 0.996)])
def test_base_momentum_follows_the_runs_length(steps: int, base: float) -> None:
    config, why = BYOL.fit_config(BYOLConfig(), images=10, steps=steps, batch_size=4, size=32)
    assert config.momentum == pytest.approx(base) and why[0][0] == "momentum"
    if steps >= 200:
        kept = math.prod(tau(config.momentum, k / steps) for k in range(steps))  # type: ignore[arg-type]
        assert kept < 1e-4, "the random start must be gone at the end"


def test_spread_tells_a_collapse() -> None:
    g = torch.Generator().manual_seed(0)
    assert spread(torch.randn(4096, 32, generator=g)).item() == pytest.approx(1, abs=0.02)
    assert spread(torch.ones(8, 32)).item() == pytest.approx(0, abs=1e-6)


def test_bad_values_are_refused() -> None:
    with pytest.raises(UsageError, match="--momentum"):
        BYOLConfig(momentum=2)
    with pytest.raises(UsageError, match="--hidden-dim"):
        BYOLConfig(hidden_dim=0)


def test_natural_views_are_the_papers() -> None:
    one, two = BYOL.natural.global_views
    assert (one.blur, one.solarize, two.blur, two.solarize) == (1.0, 0.0, 0.1, 0.2)
    for view in (one, two):
        assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.08, 1.0), 0.4, 0.4, 0.8)
        assert (view.flip, view.rotate) == (0.5, 0)
