"""MoCo v3 against its published numbers, a loop written from its paper, and the traps that others fell into."""

import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.byol import tau
from kontrast.methods.method import About
from kontrast.methods.mocov3 import MoCoV3, MoCoV3Config, ctr
from kontrast.nn.vit import VisionTransformer
from toys import ToyEncoder, X, Y, pictures, rows, two_views

x, y = torch.tensor(X), torch.tensor(Y)


def by_loops(q: np.ndarray, k: np.ndarray, T: float, patients: list[int] | None = None) -> float:
    """2τ times the mean over queries of −log of the positive's share; `patients` are no negatives of themselves."""
    total = 0.0
    for i in range(len(q)):
        keys = [j for j in range(len(k)) if j == i or patients is None or patients[j] != patients[i]]
        below = sum(math.exp(sum(q[i] * k[j]) / T) for j in keys)
        total -= math.log(math.exp(sum(q[i] * k[i]) / T) / below)
    return 2 * T * total / len(q)


@pytest.mark.parametrize(("T", "value"), [(0.2, 0.696849569310076), (1.0, 2.889304391307404)])
def test_t12_one_direction_is_the_reference_and_the_loop(T: float, value: float) -> None:
    loss, _ = ctr(x, y, T)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(value, abs=1e-9)
    assert loss.item() == pytest.approx(by_loops(rows(X), rows(Y), T), abs=1e-12)


@pytest.mark.parametrize("B", [1, 2, 512])
def test_alike_embeddings_give_the_logarithm(B: int) -> None:
    one = torch.ones(B, 5, dtype=torch.float64)
    assert ctr(one, one, 0.2)[0].item() == pytest.approx(0.4 * math.log(B), abs=1e-9)


def test_gradient_by_finite_differences_and_none_into_keys() -> None:
    q, k = x.clone().requires_grad_(), y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda q: ctr(q, y, 0.2)[0], (q,))
    ctr(q, k, 0.2)[0].backward()
    assert k.grad is None


def test_t17_low_temperature_and_half_precision_stay_finite() -> None:
    a, b = x.half(), y.half()
    assert ctr(a, -b, 0.005)[0].isfinite()
    loss, widened = ctr(a, b, 0.2)[0], ctr(a.float(), b.float(), 0.2)[0]
    assert loss.dtype == torch.float32 and torch.equal(loss, widened)
    exact = ctr(x.float(), y.float(), 0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ctr(x.float(), y.float(), 0.2) == exact


def mocov3(encoder: torch.nn.Module | None = None, **options: object) -> MoCoV3:
    torch.manual_seed(0)
    config = {"hidden_dim": 32, "dim": 8, "momentum": 0.9} | options
    return MoCoV3(encoder or ToyEncoder(), MoCoV3Config(**config))  # type: ignore[arg-type]


def tiny_vit() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(size=16, patch=8, dim=16, depth=1, heads=2)


def expected(method: MoCoV3, views: list[torch.Tensor], patients: list[int] | None = None) -> float:
    with torch.no_grad():
        q = [method.predictor(method.projector(method.encoder(v))).double().numpy() for v in views]
        k = [method.teacher(v).double().numpy() for v in views]
    T = method.config.temperature
    return sum(by_loops(rows(q[a]), rows(k[b]), T, patients) for a, b in ((0, 1), (1, 0)))


def test_t12_loss_is_the_sum_of_both_directions_each_against_the_other_view() -> None:
    method = mocov3()
    views = two_views(pictures(8))
    step = method.step(views)
    assert step.loss.item() == pytest.approx(expected(method, views), rel=1e-5)
    assert method.chance_loss() == pytest.approx(0.8 * math.log(8))


def test_t23_own_patients_images_are_no_negatives() -> None:
    patients = [0, 1, 2, 3, 4, 4, 4, 0]
    views, about = two_views(pictures(8)), About(torch.tensor(patients))
    masked, kept = mocov3(), mocov3(same_patient_negatives="keep")
    step = masked.step(views, about)
    assert step.loss.item() == pytest.approx(expected(masked, views, patients), rel=1e-5)
    assert step.logs["same_patient_negatives"] == pytest.approx(8 / 8)
    assert masked.chance_loss() == pytest.approx(0.8 * (3 * math.log(8) + 2 * math.log(7) + 3 * math.log(6)) / 8)
    assert kept.step(views, about).loss.item() == pytest.approx(expected(kept, views), rel=1e-5)
    alone = mocov3().step(views, About(torch.zeros(8, dtype=torch.int64)))
    assert alone.loss.item() == pytest.approx(0, abs=1e-6), "a positive is never left out"


def shape(network: torch.nn.Module) -> list[str]:
    """Its layers but ReLU, `plain` where a norm has neither scale nor shift."""
    leaves = [m for m in network.modules() if not list(m.children()) and not isinstance(m, torch.nn.ReLU)]
    assert all(m.bias is None for m in leaves if isinstance(m, torch.nn.Linear))
    return [type(m).__name__ + ("" if getattr(m, "affine", True) else " plain") for m in leaves]


def test_heads_of_a_resnet_as_published() -> None:
    method = MoCoV3(ToyEncoder())
    assert shape(method.projector) == ["Linear", "BatchNorm1d", "Linear", "BatchNorm1d plain"]
    assert shape(method.predictor) == ["Linear", "BatchNorm1d", "Linear"]
    widths = [m.out_features for m in method.modules() if isinstance(m, torch.nn.Linear)]
    assert widths == [4096, 256, 4096, 256, 4096, 256]  # projector, predictor, the teacher's projector


def test_t12_heads_of_a_vit_as_published() -> None:
    method = mocov3(tiny_vit())
    assert shape(method.projector) == ["Linear", "BatchNorm1d"] * 2 + ["Linear", "BatchNorm1d plain"]
    assert shape(method.predictor) == ["Linear", "BatchNorm1d", "Linear", "BatchNorm1d plain"]


def test_a_vits_patch_projection_stays_as_it_was() -> None:
    method = mocov3(tiny_vit())
    names = {name for name, _ in method.trainable()}
    encoder = {f"encoder.{name}" for name, _ in method.encoder.named_parameters()}
    assert encoder - names == {"encoder.patch_embed.proj.weight", "encoder.patch_embed.proj.bias"}
    method.step(two_views(pictures(8))).loss.backward()
    assert method.encoder.patch_embed.proj.weight.grad is None
    assert method.encoder.pos_embed.grad.abs().max() > 0


def test_t5_teacher_is_a_copy_of_encoder_and_projector_and_has_no_predictor() -> None:
    method = mocov3()
    student = [*method.encoder.parameters(), *method.projector.parameters()]
    for own, other in zip(method.teacher.parameters(), student, strict=True):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()


def test_t13_teacher_moves_at_every_step_before_the_keys_by_m_of_the_cosine() -> None:
    method = mocov3(momentum=0.5)
    student = [*method.encoder.parameters(), *method.projector.parameters()]
    with torch.no_grad():
        for p in student:
            p.add_(1.0)
    norm = method.teacher.module[0].bn1
    method.encoder.bn1.running_mean.fill_(7.0)
    for progress, m in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
        before = [p.clone() for p in method.teacher.parameters()]
        method.before_step(progress)
        assert method.in_force(progress)["momentum"] == pytest.approx(m) == tau(0.5, progress)
        for old, now, new in zip(before, method.teacher.parameters(), student, strict=True):
            torch.testing.assert_close(now, m * old + (1 - m) * new)
        before = [p.clone() for p in method.teacher.parameters()]
        method.step(two_views(pictures(8)))
        method.after_step(progress)
        assert all(torch.equal(a, b) for a, b in zip(before, method.teacher.parameters(), strict=True))
    assert norm.training and int(norm.num_batches_tracked) == 6
    assert norm.running_mean.abs().max() < 2, "batch-norm statistics are the teacher's own"


def test_step_is_embed_and_compare() -> None:
    method, views = mocov3(), two_views(pictures(8))
    q1, q2, k1, k2, h = found = method.embed(views)
    assert q1.requires_grad and q2.requires_grad and not (k1.requires_grad or k2.requires_grad or h.requires_grad)
    assert {len(z) for z in found} == {8} and h.shape == (8, 16)
    assert method.compare(found).loss.item() == mocov3().step(views).loss.item()


@pytest.mark.parametrize(("steps", "base"), [(10, 0.9), (1000, 0.98), (2000, 0.99), (100_000, 0.99)])
def test_base_momentum_follows_the_runs_length(steps: int, base: float) -> None:
    config, why = MoCoV3.fit_config(MoCoV3Config(), images=10, steps=steps, batch_size=4, size=32)
    assert config.momentum == pytest.approx(base) and why[0][0] == "momentum"


def test_natural_views_are_the_papers() -> None:
    one, two = MoCoV3.natural.global_views
    assert (one.blur, one.solarize, two.blur, two.solarize) == (1.0, 0.0, 0.1, 0.2)
    for view in (one, two):
        assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.2, 1.0), 0.4, 0.4, 0.8)
        assert (view.flip, view.rotate) == (0.5, 0)


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"momentum": 2}, {"hidden_dim": 0}])
def test_bad_values_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(wrong)).replace("_", "-")):
        MoCoV3Config(**wrong)  # type: ignore[arg-type]
