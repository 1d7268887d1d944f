"""SimCLR against its published numbers and a loop written from its paper."""

import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.method import About
from kontrast.methods.simclr import SimCLR, SimCLRConfig, nt_xent
from toys import ToyEncoder, X, Y, pictures, rows, two_views

x, y = torch.tensor(X), torch.tensor(Y)


def by_loops(z1: np.ndarray, z2: np.ndarray, T: float, patients: list[int] | None = None) -> float:
    """Equation 1 of the paper, with views ordered 1a, 1b, 2a, 2b, … as it has them."""
    z = [row for pair in zip(z1, z2, strict=True) for row in pair]
    patient = patients or list(range(len(z1)))
    total = 0.0
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        rest = [k for k in range(len(z)) if k == j or patient[k // 2] != patient[i // 2]]
        below = sum(math.exp(sum(z[i] * z[k]) / T) for k in rest)
        total -= math.log(math.exp(sum(z[i] * z[j]) / T) / below)
    return total / len(z)


@pytest.mark.parametrize(("T", "value"), [(0.1, 4.746375979656603), (0.5, 2.110394981566323)])
def test_nt_xent_is_the_reference_and_the_loop(T: float, value: float) -> None:
    loss, _ = nt_xent(x, y, T)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(value, abs=1e-9)
    assert loss.item() == pytest.approx(by_loops(rows(X), rows(Y), T), abs=1e-12)


@pytest.mark.parametrize("patients", [[3, 1, 3, 2], [0, 0, 0, 9], [4, 4, 4, 4]])
@pytest.mark.parametrize("T", [0.1, 0.5])
def test_images_of_one_patient_are_missing_from_the_loop_too(T: float, patients: list[int]) -> None:
    numbers = torch.tensor(patients)
    assert nt_xent(x, y, T, numbers)[0].item() == pytest.approx(by_loops(rows(X), rows(Y), T, patients), abs=1e-12)
    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, T, numbers)[0], (a, b))


def test_nobody_twice_changes_nothing() -> None:
    assert nt_xent(x, y, 0.1, torch.arange(4)) == nt_xent(x, y, 0.1)


@pytest.mark.parametrize("treat", ["mask", "keep"])
def test_the_patients_of_a_batch_are_masked_or_kept_and_counted(treat: str) -> None:
    torch.manual_seed(0)
    method = SimCLR(ToyEncoder(), SimCLRConfig(same_patient_negatives=treat)).eval()
    views, patients = two_views(pictures(6)), [7, 8, 7, 9, 9, 7]
    step = method.step(views, About(torch.tensor(patients)))
    with torch.no_grad():
        z = [rows(method.projector(method.encoder(view)).double().numpy()) for view in views]
    expected = by_loops(z[0], z[1], 0.1, patients if treat == "mask" else None)
    assert step.loss.item() == pytest.approx(expected, rel=1e-4)
    others = [4, 0, 4, 2, 2, 4]  # two views of each other image of the patient
    assert step.logs["same_patient_negatives"] == pytest.approx(sum(others) / 6)
    chance = sum(math.log(11 - n) for n in others) / 6 if treat == "mask" else math.log(11)
    assert method.chance_loss() == pytest.approx(chance)
    assert "same_patient_negatives" not in method.step(views).logs and method.chance_loss() == math.log(11)


def test_a_masked_collapse_stands_at_its_chance() -> None:
    torch.manual_seed(0)
    method = SimCLR(ToyEncoder())
    with torch.no_grad():
        method.projector[-1].weight.zero_()
    step = method.step(two_views(pictures(6)), About(torch.tensor([0, 0, 1, 2, 2, 2])))
    assert step.loss.item() == pytest.approx(method.chance_loss(), abs=1e-5)


@pytest.mark.parametrize("B", [1, 2, 512])
def test_alike_embeddings_give_the_logarithm(B: int) -> None:
    one = torch.ones(B, 5, dtype=torch.float64)
    assert nt_xent(one, one, 0.1)[0].item() == pytest.approx(math.log(2 * B - 1), abs=1e-9)


def test_gradients_reach_both_views_and_match_finite_differences() -> None:
    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5)[0], (a, b))


def test_t17_low_temperature_and_half_precision_stay_finite() -> None:
    assert nt_xent(x.half(), -x.half(), 0.005)[0].isfinite()
    a, b = x.half(), y.half()
    loss, widened = nt_xent(a, b, 0.1)[0], nt_xent(a.float(), b.float(), 0.1)[0]
    assert loss.dtype == torch.float32 and torch.equal(loss, widened)
    zero = torch.zeros(3, 8, dtype=torch.bfloat16, requires_grad=True)
    nt_xent(zero, y[:3].bfloat16(), 0.1)[0].backward()
    assert zero.grad is not None and zero.grad.isfinite().all()
    exact, _ = nt_xent(x.float(), y.float(), 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nt_xent(x.float(), y.float(), 0.1)[0].item() == exact.item()


def test_views_may_swap_and_the_batch_may_be_reordered() -> None:
    order = torch.tensor([2, 0, 3, 1])
    loss = pytest.approx(nt_xent(x, y, 0.1)[0].item(), abs=1e-12)
    assert nt_xent(y, x, 0.1)[0].item() == loss
    assert nt_xent(x[order], y[order], 0.1)[0].item() == loss


def test_both_views_share_one_pass_and_its_statistics() -> None:
    torch.manual_seed(0)
    method = SimCLR(ToyEncoder())
    sizes: list[int] = []
    method.encoder.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    step = method.step(two_views(pictures(6)))
    assert sizes == [12] and step.features.shape == (6, 16)
    assert method.chance_loss() == pytest.approx(math.log(11))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_projector_has_norms_but_neither_biases_nor_a_last_shift(layers: int) -> None:
    method = SimCLR(ToyEncoder(), SimCLRConfig(layers=layers))
    kinds = [type(m).__name__ for m in method.projector.modules() if not list(m.children())]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * (layers - 1) + ["Linear", "BatchNorm1d"]
    linear = [m for m in method.projector.modules() if isinstance(m, torch.nn.Linear)]
    assert all(m.bias is None for m in linear)
    assert not method.projector[-1].bias.requires_grad and method.projector[-1].bias.abs().max() == 0


def test_contrast_accuracy_counts_a_collapse_as_failure() -> None:
    torch.manual_seed(0)
    method = SimCLR(ToyEncoder())
    with torch.no_grad():
        method.projector[-1].weight.zero_()
    step = method.step(two_views(pictures(6)))
    assert step.logs["contrast_accuracy"] == 0
    assert step.loss.item() == pytest.approx(math.log(11), abs=1e-5)


def test_nothing_is_automatic_and_bad_values_are_refused() -> None:
    config = SimCLRConfig()
    assert SimCLR.fit_config(config, images=3, steps=1, batch_size=2, size=16) == (config, [])
    with pytest.raises(UsageError, match="--temperature"):
        SimCLRConfig(temperature=-1)
    with pytest.raises(UsageError, match="--layers"):
        SimCLRConfig(layers=0)


def test_natural_views_are_the_papers() -> None:
    (view,) = SimCLR.natural.global_views
    assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.08, 1.0), 0.8, 0.8, 0.8)
    assert (view.flip, view.blur, view.solarize, view.rotate) == (0.5, 0.5, 0, 0)
