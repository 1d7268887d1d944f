"""SwAV against its published numbers, a loop written from its paper, and the traps that others fell into."""

import copy
import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.method import by_resolution, usage_entropy
from kontrast.methods.swav import SwAV, SwAVConfig, swapped_prediction
from kontrast.nn.numerics import unit
from kontrast.nn.sinkhorn import sinkhorn
from toys import P, ToyEncoder, X, Y, pictures, rows, two_views

s1, s2 = torch.tensor(rows(X) @ rows(P).T), torch.tensor(rows(Y) @ rows(P).T)


def by_loops(scores: list[np.ndarray], targets: list[np.ndarray], T: float) -> float:
    total = 0.0
    for s, q in enumerate(targets):
        part, others = 0.0, [v for v in range(len(scores)) if v != s]
        for v in others:
            for b in range(len(q)):
                below = sum(math.exp(score / T) for score in scores[v][b])
                part -= sum(q[b, k] * math.log(math.exp(scores[v][b, k] / T) / below) for k in range(q.shape[1]))
        total += part / len(others) / len(targets[0])
    return total / len(targets)


def test_swapped_prediction_is_the_reference_and_the_loop() -> None:
    q = [sinkhorn(s1), sinkhorn(s2)]
    loss = swapped_prediction([s1, s2], q, 0.1)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(1.80626315976094, abs=1e-9)
    loops = by_loops([s1.numpy(), s2.numpy()], [t.numpy() for t in q], 0.1)
    assert loss.item() == pytest.approx(loops, abs=1e-12)
    jointly = swapped_prediction([s1, s2], sinkhorn(torch.cat([s1, s2])).chunk(2), 0.1)
    assert jointly.item() == pytest.approx(2.05728777956, abs=1e-9)  # what one Sinkhorn over both crops would give


def test_small_crops_predict_and_are_never_targets() -> None:
    g = torch.Generator().manual_seed(0)
    scores = [torch.randn(4, 5, generator=g, dtype=torch.float64) / 5 for _ in range(4)]
    q = [sinkhorn(s) for s in scores[:2]]
    loss = swapped_prediction(scores, q, 0.1)
    assert loss.item() == pytest.approx(by_loops([s.numpy() for s in scores], [t.numpy() for t in q], 0.1), abs=1e-12)
    # with every crop a target the number differs, so the loop above does tell T8
    wrong = swapped_prediction(scores, [sinkhorn(s) for s in scores], 0.1, assign=range(4))
    assert abs(wrong.item() - loss.item()) > 1e-3


@pytest.mark.parametrize("K", [5, 3000])
def test_equal_scores_give_the_logarithm(K: int) -> None:
    s = torch.zeros(4, K, dtype=torch.float64)
    assert swapped_prediction([s, s, s], [sinkhorn(s)] * 2, 0.1).item() == pytest.approx(math.log(K))


def test_gradient_by_finite_differences_and_none_into_targets() -> None:
    a, b = s1.clone().requires_grad_(), s2.clone().requires_grad_()
    q = [sinkhorn(s1).requires_grad_(), sinkhorn(s2).requires_grad_()]
    assert torch.autograd.gradcheck(lambda a, b: swapped_prediction([a, b], q, 0.1), (a, b))
    swapped_prediction([a, b], q, 0.1).backward()
    assert q[0].grad is None and not sinkhorn(a).requires_grad


def swav(**options: object) -> SwAV:
    torch.manual_seed(0)
    config = {"prototypes": 6, "dim": 8, "local_views": 2, "freeze_steps": 0} | options
    return SwAV(ToyEncoder(), SwAVConfig(**config))  # type: ignore[arg-type]


def crops(n: int = 8, seed: int = 0) -> list[torch.Tensor]:
    images = pictures(n, seed=seed)
    return two_views(images, seed) + two_views(images[:, :, 4:12, 4:12], seed + 1)


def test_step_is_the_papers_pseudocode() -> None:
    method = swav()
    views = crops()
    with torch.no_grad():
        twin = copy.deepcopy(method)
        C = unit(twin.prototypes.weight)
        h = torch.cat([twin.encoder(torch.cat(views[:2])), twin.encoder(torch.cat(views[2:]))])
        scores = (unit(twin.projector(h)) @ C.T).double().chunk(4)
        expected = by_loops([s.numpy() for s in scores], [sinkhorn(s).numpy() for s in scores[:2]], 0.1)
    assert method.step(views).loss.item() == pytest.approx(expected, rel=1e-4)


def test_prototypes_are_unit_without_bias_and_in_the_graph() -> None:
    method = swav()
    with torch.no_grad():
        method.prototypes.weight.mul_(3.0)
    method.step(crops()).loss.backward()
    assert method.prototypes.bias is None  # T9
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(6))
    assert method.prototypes.weight.grad is not None and method.prototypes.weight.grad.abs().sum() > 0


def test_t8_t10_prototypes_are_frozen_by_a_missing_gradient() -> None:
    method = swav(freeze_steps=2)
    optimizer = torch.optim.SGD((p for _, p in method.trainable()), lr=0.5, momentum=0.9)
    moved = []
    for step in range(3):
        method.step(crops(seed=step)).loss.backward()
        assert method.prototypes.weight.requires_grad, "DDP would wait for a parameter that left the graph"
        method.after_backward(step, step / 3)
        before = method.prototypes.weight.clone()
        optimizer.step()
        optimizer.zero_grad()
        moved.append(not torch.equal(before, method.prototypes.weight))
    assert moved == [False, False, True]


def test_t11_one_pass_a_resolution() -> None:
    method = swav()
    seen: list[tuple[int, int]] = []
    method.encoder.register_forward_pre_hook(lambda _, args: seen.append((len(args[0]), args[0].shape[-1])))
    heads: list[int] = []
    method.projector.register_forward_pre_hook(lambda _, args: heads.append(len(args[0])))
    method.step(crops())
    assert seen == [(16, 16), (16, 8)] and heads == [32]
    encoder = ToyEncoder(norm=False)
    torch.testing.assert_close(by_resolution(encoder, crops()), torch.cat([encoder(v) for v in crops()]))


def test_t4_the_queue_counts_only_when_full_and_only_before_it_takes_the_batch() -> None:
    method, without = swav(queue_length=16, queue_start=1), swav()
    for step in range(5):
        views = crops(seed=step)
        memory = [q.keys.clone() for q in method.queues]
        full = [q.full for q in method.queues]
        assert full == [step >= 3] * 2  # steps 1 and 2 fill it
        loss = method.step(views).loss.item()
        alone = without.step(views).loss.item()
        if step < 3:
            assert loss == alone
            continue
        assert loss != alone
        twin = copy.deepcopy(without)
        with torch.no_grad():
            C = unit(twin.prototypes.weight)
            h = torch.cat([twin.encoder(torch.cat(views[:2])), twin.encoder(torch.cat(views[2:]))])
            scores = (unit(twin.projector(h)) @ C.T).chunk(4)
            q = [sinkhorn(torch.cat([m @ C.T, s]))[-8:] for m, s in zip(memory, scores[:2], strict=True)]
        assert loss == pytest.approx(swapped_prediction(scores, q, 0.1).item(), rel=1e-4)


def test_t3_queue_and_its_start_survive_a_resume() -> None:
    method = swav(queue_length=16, queue_start=1)
    for step in range(4):
        method.step(crops(seed=step))
    twin = swav(queue_length=16, queue_start=1)
    twin.load_state_dict(copy.deepcopy(method.state_dict()))
    for step in (4, 5):
        assert twin.step(crops(seed=step)).loss.item() == method.step(crops(seed=step)).loss.item()


def test_usage_entropy() -> None:
    assert usage_entropy(torch.eye(4)).item() == pytest.approx(1)
    assert usage_entropy(torch.ones(8, 4)).item() == 0
    assert usage_entropy(torch.eye(4)[:2].repeat(4, 1)).item() == pytest.approx(0.5)


@pytest.mark.parametrize("images", [3, 40, 1000, 35322, 10**6])
@pytest.mark.parametrize("batch", [2, 64, 256, 4096])
@pytest.mark.parametrize("steps", [1, 340, 100_000])
def test_fit_config(images: int, batch: int, steps: int) -> None:
    config, why = SwAV.fit_config(SwAVConfig(), images=images, steps=steps, batch_size=batch, size=64)
    assert {name for name, _, _ in why} == {"prototypes", "local_views", "freeze_steps", "queue_length", "queue_start"}
    K, L = config.prototypes, config.queue_length
    assert isinstance(K, int) and isinstance(L, int)
    assert 32 <= K <= 3000 and (images / 30 >= K or K == 32)
    assert images / 4 >= L and L % batch == 0 and (L == 0 or batch < K) and L <= 3840
    assert 0 <= config.freeze_steps <= steps / 10 and 0 <= config.queue_start <= steps / 10  # type: ignore[operator]


def test_published_numbers_stand_where_the_data_are_large_enough() -> None:
    config, _ = SwAV.fit_config(SwAVConfig(), images=1_281_167, steps=1_000_900, batch_size=256, size=224)
    assert (config.prototypes, config.queue_length, config.freeze_steps) == (3000, 3840, 5004)
    assert config.queue_start == 15 * 5004
    method = SwAV(ToyEncoder())
    assert method.chance_loss() == pytest.approx(8.0064, abs=1e-4) and method.views.locals == 6


def test_bad_values_are_refused() -> None:
    for name in ("prototypes", "epsilon", "temperature", "sinkhorn_iterations", "dim"):
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            SwAVConfig(**{name: 0})
    with pytest.raises(UsageError, match="--local-views"):
        SwAVConfig(local_views=-1)


def test_a_short_run_has_no_queue_and_no_more_prototypes_than_a_batch_can_balance() -> None:
    # 12,000 radiographs, 10 epochs: with a queue and 402 prototypes the share in use fell from .95 to .36.
    config, _ = SwAV.fit_config(SwAVConfig(), images=12_062, steps=470, batch_size=256, size=64)
    assert config.queue_length == 0
    assert config.prototypes == 128
    longer, _ = SwAV.fit_config(SwAVConfig(), images=12_062, steps=47 * 100, batch_size=256, size=64)
    assert longer.queue_length == 2816
    assert longer.prototypes == 402


@pytest.mark.parametrize(("size", "locals_"), [(64, 0), (96, 0), (112, 6), (224, 6)])
def test_local_crops_need_pixels(size: int, locals_: int) -> None:
    config, _ = SwAV.fit_config(SwAVConfig(), images=12_062, steps=470, batch_size=256, size=size)
    assert config.local_views == locals_


def test_natural_views_are_the_papers() -> None:
    natural = SwAV.natural.at(224)
    (view,), local = natural.global_views, natural.local_view
    assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.14, 1.0), 0.8, 0.8, 0.8)
    assert (view.flip, view.blur, view.rotate) == (0.5, 0.5, 0)
    assert local is not None and local.scale == (0.05, 0.14) and local.size == 96
    assert local.sigma[1] / 224 * local.size == pytest.approx(2.0), "blurred by as many of its own pixels"


def test_equal_prototypes_stand_at_chance() -> None:
    method = swav()
    with torch.no_grad():
        method.prototypes.weight.fill_(1.0)
    views = two_views(pictures(8), count=method.views.globals)
    views += two_views(pictures(8)[..., ::2, ::2], count=method.views.locals)
    assert method.step(views).loss.item() == pytest.approx(method.chance_loss(), abs=1e-4)
