"""VICReg against its published number, a loop written from its paper, and its closed forms."""

import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.vicreg import VICReg, VICRegConfig, covariance, invariance, terms, variance
from toys import ToyEncoder, X, Y, pictures, two_views

x, y = torch.tensor(X), torch.tensor(Y)


def by_loops(z1: np.ndarray, z2: np.ndarray) -> tuple[float, float, float]:
    """s of equation 5, the mean of the two v of equation 1, the sum of the two c of equation 4."""
    B, D = z1.shape
    s = sum((z1[i, d] - z2[i, d]) ** 2 for i in range(B) for d in range(D)) / B / D
    v = c = 0.0
    for z in (z1, z2):
        centred = z - z.sum(axis=0) / B
        cov = [[sum(centred[:, i] * centred[:, j]) / (B - 1) for j in range(D)] for i in range(D)]
        v += sum(max(0.0, 1 - math.sqrt(cov[d][d] + 1e-4)) for d in range(D)) / D / 2
        c += sum(cov[i][j] ** 2 for i in range(D) for j in range(D) if i != j) / D
    return s, v, c


def test_t15_terms_are_the_reference_and_the_loop() -> None:
    s, v, c = terms(x, y)
    assert s.dtype == v.dtype == c.dtype == torch.float64
    assert (s.item(), v.item(), c.item()) == pytest.approx((1.05575470, 0.22136270, 2.80835419), abs=5e-9)
    assert (25 * s + 25 * v + c).item() == pytest.approx(34.73628925209991, abs=1e-9)
    assert (s.item(), v.item(), c.item()) == pytest.approx(by_loops(X, Y), abs=1e-12)


def test_closed_forms() -> None:
    constant = torch.full((6, 5), 3.0, dtype=torch.float64)
    s, v, c = terms(constant, constant)
    assert (s.item(), v.item(), c.item()) == pytest.approx((0, 0.99, 0), abs=1e-12)
    t = torch.arange(16, dtype=torch.float64)[:, None] * 2 * math.pi / 16
    waves = 2 * torch.cat([f(k * t) for k in (1, 2, 3) for f in (torch.sin, torch.cos)], dim=1)  # uncorrelated
    assert [term.item() for term in terms(waves, waves)] == pytest.approx([0, 0, 0], abs=1e-12)
    assert invariance(waves, waves + 3).item() == pytest.approx(9)
    assert variance(waves / 100).item() == pytest.approx(1 - math.sqrt(4e-4 * 8 / 15 + 1e-4), abs=1e-12)


@pytest.mark.parametrize(("B", "D"), [(2, 7), (4, 12), (5, 16)])
def test_more_outputs_than_images_cannot_be_uncorrelated(B: int, D: int) -> None:
    """Rank B − 1: with deviations of 1 the covariance term is D/(B − 1) − 1 or more; the reason for dim's `auto`."""
    corners = torch.linalg.svd(torch.eye(B, dtype=torch.float64) - 1 / B)[0][:, : B - 1]  # orthonormal, means 0
    z = corners.repeat(1, D)[:, : D // (B - 1) * (B - 1)] * math.sqrt(B - 1)
    assert covariance(z).item() == pytest.approx(z.shape[1] / (B - 1) - 1)
    g = torch.Generator().manual_seed(0)
    z = torch.randn(B, D, generator=g, dtype=torch.float64)
    assert covariance(z / z.std(dim=0)).item() >= D / (B - 1) - 1 - 1e-9


def test_gradients_reach_both_views_and_match_finite_differences() -> None:
    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        s, v, c = terms(a, b)
        return 25 * s + 25 * v + c

    assert torch.autograd.gradcheck(loss, (x.clone().requires_grad_(), y.clone().requires_grad_()))


def test_t17_constant_outputs_and_half_precision_stay_finite() -> None:
    zero = torch.zeros(4, 8, dtype=torch.bfloat16, requires_grad=True)
    s, v, c = terms(zero, y.bfloat16())
    (s + v + c).backward()
    assert zero.grad is not None and zero.grad.isfinite().all()
    a, b = x.half(), y.half()
    assert all(map(torch.equal, terms(a, b), terms(a.float(), b.float())))
    exact = [term.item() for term in terms(x.float(), y.float())]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert [term.item() for term in terms(x.float(), y.float())] == exact


def vicreg(**options: object) -> VICReg:
    torch.manual_seed(0)
    return VICReg(ToyEncoder(), VICRegConfig(**({"dim": 12} | options)))  # type: ignore[arg-type]


def test_step_weighs_the_terms_and_logs_them_bare() -> None:
    method = vicreg(invariance_weight=2.0, variance_weight=3.0, covariance_weight=5.0)
    views = two_views(pictures(8))
    step = method.step(views)
    with torch.no_grad():
        z = [method.projector(method.encoder(v)).double().numpy() for v in views]
    s, v, c = by_loops(*z)
    assert step.loss.item() == pytest.approx(2 * s + 3 * v + 5 * c, rel=1e-4)
    names = ("invariance", "variance", "covariance")
    assert [float(step.logs[name]) for name in names] == pytest.approx([s, v, c], rel=1e-4)
    assert method.chance_loss() == pytest.approx(3 * 0.99)
    assert vicreg().chance_loss() == pytest.approx(24.75)


def test_step_is_embed_and_compare() -> None:
    method, views = vicreg(), two_views(pictures(8))
    z1, z2, h = found = method.embed(views)
    assert z1.requires_grad and z2.requires_grad and not h.requires_grad
    assert z1.shape == z2.shape == (8, 12) and h.shape == (8, 16)
    assert method.compare(found).loss.item() == vicreg().step(views).loss.item()


def test_expander_has_three_layers_and_no_norm_at_its_end() -> None:
    leaves = [m for m in vicreg().projector.modules() if not list(m.children())]
    assert [type(m).__name__ for m in leaves] == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    assert all(m.bias is None and m.out_features == 12 for m in leaves if isinstance(m, torch.nn.Linear))


@pytest.mark.parametrize(("batch", "dim"), [(2, 8), (256, 1024), (2048, 8192), (4096, 8192)])
def test_outputs_follow_the_batch(batch: int, dim: int) -> None:
    config, why = VICReg.fit_config(VICRegConfig(), images=10**5, steps=100, batch_size=batch, size=64)
    assert config.dim == dim and why[0][:2] == ("dim", dim)


def test_natural_views_are_the_papers() -> None:
    (view,) = VICReg.natural.global_views
    assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.08, 1.0), 0.4, 0.4, 0.8)
    assert (view.flip, view.blur, view.solarize, view.rotate) == (0.5, 0.5, 0.1, 0)


def test_bad_values_are_refused() -> None:
    with pytest.raises(UsageError, match="--variance-weight"):
        VICRegConfig(variance_weight=-1)
