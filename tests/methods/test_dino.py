"""DINO against its published numbers, loops written from its paper, and the traps that others fell into."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kontrast.errors import UsageError
from kontrast.methods.byol import tau
from kontrast.methods.dino import DINO, DINOConfig, centred, cross_entropy, flatness, warmed
from toys import P, ToyEncoder, X, Y, families, pictures, rows, two_views

s1, s2 = torch.tensor(5 * rows(X) @ rows(P).T), torch.tensor(5 * rows(Y) @ rows(P).T)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.array([[math.exp(v) / sum(math.exp(w) for w in row) for v in row] for row in x])


def by_loops(student: list[np.ndarray], teacher: list[np.ndarray], T: float) -> float:
    """From the paper's algorithm 1: every crop of the student but the teacher's own."""
    terms = []
    for t, p in enumerate(teacher):
        for v, s in enumerate(student):
            if v != t:
                q = softmax(s / T)
                terms.append(
                    -sum(p[b, k] * math.log(q[b, k]) for b in range(len(p)) for k in range(p.shape[1])) / len(p)
                )
    return sum(terms) / len(terms)


def test_the_loss_is_the_reference_and_the_loop() -> None:
    centre = 0.1 * s2.mean(dim=0)
    p = centred(s2, centre, 0.04)
    loss = cross_entropy([s2, s1], [p], 0.1)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(13.686313001902988, abs=1e-9)
    q = softmax((s2.numpy() - centre.numpy()) / 0.04)
    assert loss.item() == pytest.approx(by_loops([s2.numpy(), s1.numpy()], [q], 0.1), abs=1e-9)


def test_all_pairs_but_a_crop_with_itself() -> None:
    g = torch.Generator().manual_seed(0)
    student = [torch.randn(4, 5, generator=g, dtype=torch.float64) / 5 for _ in range(4)]
    teacher = [(10 * torch.randn(4, 5, generator=g, dtype=torch.float64)).softmax(dim=1) for _ in range(2)]
    arrays = [s.numpy() for s in student], [t.numpy() for t in teacher]
    assert cross_entropy(student, teacher, 0.1).item() == pytest.approx(by_loops(*arrays, 0.1), abs=1e-12)
    # with the pairs of a crop and itself the number differs, so the loop does tell
    both = [-(t * (s / 0.1).log_softmax(1)).sum(1).mean() for t in teacher for s in student]
    assert abs(torch.stack(both).mean().item() - by_loops(*arrays, 0.1)) > 1e-3


@pytest.mark.parametrize("K", [5, 65536])
def test_equal_outputs_of_the_student_give_the_logarithm(K: int) -> None:
    s, p = torch.zeros(2, K, dtype=torch.float64), torch.rand(2, K, dtype=torch.float64).softmax(dim=1)
    assert cross_entropy([s, s, s], [p, p], 0.1).item() == pytest.approx(math.log(K))


def test_gradient_by_finite_differences_and_none_into_the_teacher() -> None:
    a, b = s1.clone().requires_grad_(), s2.clone().requires_grad_()
    p = [centred(s1, s1.mean(0), 0.5).requires_grad_(), centred(s2, s2.mean(0), 0.5).requires_grad_()]
    assert torch.autograd.gradcheck(lambda a, b: cross_entropy([a, b], p, 0.5), (a, b))
    cross_entropy([a, b], p, 0.5).backward()
    assert p[0].grad is None and not centred(a, a.mean(0), 0.5).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_t17_low_temperatures_and_half_precision_stay_finite(dtype: torch.dtype) -> None:
    s = (2 * torch.tensor(rows(X) @ rows(P).T) - 1).to(dtype).requires_grad_()
    p = centred(s, torch.zeros(5), 0.001)
    loss = cross_entropy([s, s], [p, p], 0.001)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and s.grad is not None and s.grad.isfinite().all()
    wide = s.detach().float()
    assert torch.equal(centred(s, torch.zeros(5), 0.04), centred(wide, torch.zeros(5), 0.04))
    assert torch.equal(cross_entropy([s, s], [p, p], 0.1), cross_entropy([wide, wide], [p, p], 0.1))


def dino(**options: object) -> DINO:
    torch.manual_seed(0)
    config = {"hidden_dim": 32, "dim": 8, "prototypes": 10, "local_views": 2, "freeze_steps": 0, "momentum": 0.9}
    return DINO(ToyEncoder(), DINOConfig(**(config | options)))  # type: ignore[arg-type]


def crops(n: int = 8, seed: int = 0, locals_: int = 2) -> list[torch.Tensor]:
    images = pictures(n, seed=seed)
    return two_views(images, seed) + two_views(images[..., ::2, ::2], seed + 1, count=locals_)


def by_hand(method: DINO, views: list[torch.Tensor]) -> tuple[list[np.ndarray], np.ndarray]:
    """Outputs of the student for each crop and of the teacher for both global ones, layer by layer."""
    twin = copy.deepcopy(method)

    def head(x: torch.Tensor, owner: torch.nn.Module) -> torch.Tensor:
        a, _, b, _, c = owner.mlp  # type: ignore[misc, union-attr]
        z = c(F.gelu(b(F.gelu(a(x)))))
        v = owner.prototypes.weight  # type: ignore[union-attr]
        return (z / z.norm(dim=1, keepdim=True)) @ (v / v.norm(dim=1, keepdim=True)).T

    with torch.no_grad():
        large, small = torch.cat(views[:2]), torch.cat(views[2:])
        h = torch.cat([twin.encoder(large), twin.encoder(small)])
        student = [s.double().numpy() for s in head(h, twin.head).chunk(len(views))]
        encoder, own = twin.teacher.module
        return student, head(encoder(large), own).double().numpy()


def test_steps_are_the_papers_algorithm_with_a_centre_that_moves_after_its_use() -> None:
    method = dino()
    optimizer = torch.optim.SGD((p for _, p in method.trainable()), lr=0.1)
    centre = None
    for step in range(4):
        views = crops(seed=step)
        student, teacher = by_hand(method, views)
        if centre is None:
            centre = teacher.mean(axis=0)  # here it starts where the first batch is
        expected = by_loops(student, list(np.split(softmax((teacher - centre) / 0.04), 2)), 0.1)
        centre = 0.9 * centre + 0.1 * teacher.mean(axis=0)
        loss = method.step(views).loss
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(method.centre.numpy(), centre, atol=1e-6)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        before = [p.clone() for p in method.teacher.parameters()]
        method.after_step(step / 4)
        m = tau(0.9, step / 4)
        student_now = [*method.encoder.parameters(), *method.head.parameters()]
        for old, now, new in zip(before, method.teacher.parameters(), student_now, strict=True):
            torch.testing.assert_close(now, m * old + (1 - m) * new)


def test_t21_the_centre_survives_a_resume() -> None:
    method, twin = dino(), dino()
    for step in range(3):
        method.step(crops(seed=step))
    twin.load_state_dict(copy.deepcopy(method.state_dict()))
    assert twin.step(crops(seed=3)).loss.item() == method.step(crops(seed=3)).loss.item()
    assert torch.equal(twin.centre, method.centre) and method.centre.abs().sum() > 0


def test_t5_teacher_starts_as_a_copy_head_included() -> None:
    method = dino()
    student = [*method.encoder.parameters(), *method.head.parameters()]
    for own, other in zip(method.teacher.parameters(), student, strict=True):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()
    assert len(student) == 8 + 7


def test_t8_small_crops_are_the_students_alone() -> None:
    method = dino()
    seen: list[tuple[int, ...]] = []
    method.teacher.module[0].register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    method.step(crops())
    assert seen == [(16, 1, 16, 16)]


def test_t10_prototypes_are_frozen_by_a_missing_gradient() -> None:
    method = dino(freeze_steps=2)
    optimizer = torch.optim.AdamW((p for _, p in method.trainable()), lr=0.1, weight_decay=0.5)
    moved = []
    for step in range(3):
        method.step(crops(seed=step)).loss.backward()
        weight = method.head.prototypes.weight
        assert weight.requires_grad and weight.grad is not None, "DDP would wait for one that left the graph"
        method.after_backward(step, step / 3)
        before = weight.clone()
        optimizer.step()
        optimizer.zero_grad()
        moved.append(not torch.equal(before, weight))
    assert moved == [False, False, True]


def test_t9_prototypes_count_by_direction_alone_and_the_head_has_no_batchnorm() -> None:
    method = dino()
    x = torch.randn(4, 16)
    before = method.head(x)
    with torch.no_grad():
        method.head.prototypes.weight.mul_(torch.rand(10, 1) + 0.5)
    torch.testing.assert_close(method.head(x), before)
    assert before.abs().max() <= 1 + 1e-6 and method.head.prototypes.bias is None
    assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in method.head.modules())


def test_t11_one_pass_a_resolution() -> None:
    method = dino()
    seen: list[tuple[int, int]] = []
    method.encoder.register_forward_pre_hook(lambda _, args: seen.append((len(args[0]), args[0].shape[-1])))
    method.step(crops())
    assert seen == [(16, 16), (16, 8)]


def test_t13_the_teachers_batchnorm_statistics_are_its_own() -> None:
    method = dino()
    method.step(crops())
    own = method.teacher.module[0].bn1
    assert method.teacher.training and int(own.num_batches_tracked) == 1
    assert int(method.encoder.bn1.num_batches_tracked) == 2
    held = own.running_mean.clone()
    method.encoder.bn1.running_mean.fill_(7.0)
    method.after_step(0.5)
    assert torch.equal(own.running_mean, held)


@pytest.mark.parametrize(("progress", "value"), [(0, 0.04), (0.15, 0.055), (0.3, 0.07), (0.9, 0.07)])
def test_the_teacher_warms_up_linearly(progress: float, value: float) -> None:
    method = dino(teacher_temperature=0.07, teacher_warmup=0.3)
    assert method.teacher_temperature == 0.04
    method.before_step(progress)
    assert method.teacher_temperature == pytest.approx(value)
    assert warmed(progress, 0.3, 0.03) == 0.03  # a lower one is kept from the start
    assert warmed(progress, 0.0, 0.07) == 0.07


def test_alike_prototypes_stand_at_chance() -> None:
    method = dino()
    with torch.no_grad():
        method.head.prototypes.weight.fill_(1.0)
    assert method.step(crops()).loss.item() == pytest.approx(method.chance_loss(), abs=1e-4)


def test_flatness() -> None:
    assert flatness(torch.full((3, 8), 1 / 8)).item() == pytest.approx(1)
    assert flatness(torch.eye(8)).item() == 0
    assert flatness(torch.tensor([[0.5, 0.5, 0, 0]])).item() == pytest.approx(0.5)


def test_published_numbers_stand_where_the_data_are_large_enough() -> None:
    config, _ = DINO.fit_config(DINOConfig(), images=1_281_167, steps=125_100, batch_size=1024, size=224)
    assert (config.local_views, config.freeze_steps, config.teacher_temperature) == (8, 1251, 0.07)
    assert config.prototypes == 64058 and config.momentum == 0.996
    assert config.teacher_warmup == pytest.approx(30 / 100, abs=1e-3)
    longer, _ = DINO.fit_config(DINOConfig(), images=1_281_167, steps=375_300, batch_size=1024, size=224)
    assert longer.teacher_warmup == pytest.approx(30 / 300, abs=1e-3)
    method = DINO(ToyEncoder())
    assert method.chance_loss() == pytest.approx(11.0904, abs=1e-4) and method.views.locals == 8
    first, _, second, _, last = method.head.mlp
    assert (first.out_features, second.out_features, last.out_features) == (2048, 2048, 256)


@pytest.mark.parametrize("steps", [1, 26, 340, 9_999])
def test_short_runs_have_a_cold_and_not_too_slow_a_teacher(steps: int) -> None:
    config, _ = DINO.fit_config(DINOConfig(), images=2000, steps=steps, batch_size=64, size=64)
    assert config.teacher_temperature == 0.04 and config.prototypes == 1024 and config.local_views == 0
    assert 0.98 <= config.momentum <= 0.996  # type: ignore[operator]
    assert config.freeze_steps <= steps / 10  # type: ignore[operator]


def test_the_papers_two_global_views_differ_and_small_ones_are_blurred_by_its_pixels() -> None:
    made = DINO.natural.at(224)
    assert [(v.blur, v.solarize) for v in made.global_views] == [(1.0, 0.0), (0.1, 0.2)]
    assert made.global_views[0].scale == (0.4, 1.0) and made.local_view is not None
    assert (made.local_view.scale, made.local_view.size, made.local_view.blur) == ((0.05, 0.4), 96, 0.5)
    assert made.local_view.sigma[1] / 224 * made.local_view.size == pytest.approx(2.0)


def test_bad_values_are_refused() -> None:
    for name in ("prototypes", "hidden_dim", "temperature", "teacher_temperature", "dim"):
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            DINOConfig(**{name: 0})
    for name, value in (("local_views", -1), ("freeze_steps", -1), ("teacher_warmup", 1.5), ("momentum", 2)):
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            DINOConfig(**{name: value})


def learned(centre_from_zero: bool = False, steps: int = 150) -> tuple[float, float]:
    """Share of noisy pictures whose nearest neighbour is of the same of 16 kinds, before and after training."""
    method = dino(hidden_dim=128, dim=128, prototypes=256, local_views=0, freeze_steps=5, momentum=0.98)

    def views(n: int, seed: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        kind, images = families(n, 16, seed)
        return kind, two_views(images, seed, noise=0.6)

    def neighbours() -> float:
        (a, (x, _)), (b, (y, _)) = views(256, 10**6), views(256, 10**6 + 1)
        twin = copy.deepcopy(method).eval()
        with torch.no_grad():
            p, q = twin.encoder(x), twin.encoder(y)
        nearest = (F.normalize(q - p.mean(0)) @ F.normalize(p - p.mean(0)).T).argmax(dim=1)
        return (a[nearest] == b).float().mean().item()

    start = neighbours()
    method.started.fill_(centre_from_zero)
    optimizer = torch.optim.AdamW((p for _, p in method.trainable()), lr=0.003)
    for step in range(steps):
        method.step(views(32, step)[1]).loss.backward()
        method.after_backward(step, step / steps)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step / steps)
    return start, neighbours()


def test_it_learns() -> None:
    start, end = learned()
    assert start < 0.45 and end > 0.7, (start, end)


@pytest.mark.slow
def test_from_a_centre_at_0_a_short_run_learns_less() -> None:
    """Why c starts at the first batch's mean: the page on DINO says so."""
    assert learned(centre_from_zero=True)[1] < learned()[1] - 0.2
