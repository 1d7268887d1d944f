"""MoCo against its published numbers, a loop written from its paper, and the traps that others fell into."""

import copy
import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.method import About
from kontrast.methods.moco import MoCo, MoCoConfig, info_nce
from kontrast.nn.batchnorm import SplitBatchNorm
from toys import Q, ToyEncoder, X, Y, pictures, rows, two_views

x, y, queue = torch.tensor(X), torch.tensor(Y), torch.tensor(Q)


def by_loops(q: np.ndarray, k: np.ndarray, negatives: np.ndarray, T: float, left_out: tuple = ()) -> float:
    """`left_out` holds pairs (query, negative)."""
    total = 0.0
    for i in range(len(q)):
        positive = math.exp(sum(q[i] * k[i]) / T)
        others = sum(math.exp(sum(q[i] * n) / T) for j, n in enumerate(negatives) if (i, j) not in left_out)
        total -= math.log(positive / (positive + others))
    return total / len(q)


@pytest.mark.parametrize(("T", "value"), [(0.07, 14.275018642915509), (0.2, 5.270612878679589)])
def test_info_nce_is_the_reference_and_the_loop(T: float, value: float) -> None:
    loss = info_nce(x, y, queue, T)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(value, abs=1e-9)
    assert loss.item() == pytest.approx(by_loops(rows(X), rows(Y), rows(Q), T), abs=1e-12)


MASKED = ((0, 1), (0, 4), (2, 0), *((3, j) for j in range(len(Q))))
"""No negative is left to query 3."""


def mask(pairs: tuple) -> torch.Tensor:
    left_out = torch.zeros(len(X), len(Q), dtype=torch.bool)
    for i, j in pairs:
        left_out[i, j] = True
    return left_out


@pytest.mark.parametrize("T", [0.07, 0.2])
def test_left_out_keys_are_missing_from_the_loop_too(T: float) -> None:
    loss = info_nce(x, y, queue, T, mask(MASKED))
    assert loss.item() == pytest.approx(by_loops(rows(X), rows(Y), rows(Q), T, MASKED), abs=1e-12)
    assert loss.item() < info_nce(x, y, queue, T).item() - 1e-3
    assert info_nce(x, y, queue, T, mask(())).item() == info_nce(x, y, queue, T).item()


def test_gradient_with_a_mask_is_that_of_finite_differences_and_zero_where_all_is_masked() -> None:
    q = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda q: info_nce(q, y, queue, 0.2, mask(MASKED)), (q,))
    info_nce(q, y, queue, 0.2, mask(MASKED)).backward()
    assert q.grad is not None and q.grad[3].abs().max() == 0 and (q.grad[:3].abs().amax(1) > 0).all()


@pytest.mark.parametrize("K", [1, 7, 65536])
def test_alike_embeddings_give_the_logarithm(K: int) -> None:
    one = torch.ones(3, 5, dtype=torch.float64)
    assert info_nce(one, one, torch.ones(K, 5, dtype=torch.float64), 0.2).item() == pytest.approx(math.log(1 + K))


def test_gradient_by_finite_differences_and_none_into_keys() -> None:
    q = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda q: info_nce(q, y, queue, 0.2), (q,))
    k, n = y.clone().requires_grad_(), queue.clone().requires_grad_()
    info_nce(q, k, n, 0.2).backward()
    assert k.grad is None and n.grad is None


def test_low_temperature_and_half_precision_stay_finite() -> None:
    # e^(1/0.005) overflows even fp32: only log-sum-exp survives
    loss = info_nce(x.half() * 1e-4, -y.half(), queue.half(), 0.005)
    assert loss.dtype == torch.float32 and loss.isfinite()
    zero = torch.zeros(2, 8, dtype=torch.bfloat16, requires_grad=True)
    info_nce(zero, y[:2].bfloat16(), queue.bfloat16(), 0.07).backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


def test_autocast_does_not_touch_the_loss() -> None:
    exact = info_nce(x.float(), y.float(), queue.float(), 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert info_nce(x.float(), y.float(), queue.float(), 0.07).item() == exact.item()


def moco(**options: object) -> MoCo:
    torch.manual_seed(0)
    config = {"queue_length": 32, "momentum": 0.9, "bn_groups": 1, "dim": 8} | options
    return MoCo(ToyEncoder(), MoCoConfig(**config))  # type: ignore[arg-type]


def test_t1_current_keys_are_no_negatives() -> None:
    method = moco(queue_length=8, temperature=0.01)
    views = two_views(pictures(8), noise=0.0)
    views[1] = views[0]
    before = method.queue.keys.clone()
    method.teacher.update(torch.nn.Sequential(method.encoder, method.projector), 0.0)
    with torch.no_grad():
        q = method.projector(method.encoder(views[0]))
        k = method.teacher(views[1])
    expected = info_nce(q, k, before, 0.01)
    loss = method.step(views).loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert not torch.equal(method.queue.keys, before), "keys enter after the loss"
    # with the keys of this step among the negatives no loss is below ln 2: the second step on the same batch has them
    assert method.step(views).loss.item() >= math.log(2) - 1e-3


def test_t5_teacher_starts_as_a_copy_head_included() -> None:
    method = moco()
    student = torch.nn.Sequential(method.encoder, method.projector)
    for own, other in zip(method.teacher.parameters(), student.parameters(), strict=True):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()


def test_ema_falls_between_query_and_key() -> None:
    """The key network of this step has the student's weights from before this step in it."""
    method = moco(momentum=0.25)
    views = two_views(pictures(8))
    with torch.no_grad():
        for p in [*method.encoder.parameters(), *method.projector.parameters()]:
            p.add_(0.1)
    start = [p.clone() for p in method.teacher.parameters()]
    student = [p.clone() for p in [*method.encoder.parameters(), *method.projector.parameters()]]
    seen: list[torch.Tensor] = []
    method.teacher.module.register_forward_pre_hook(
        lambda module, _: seen.extend(p.clone() for p in module.parameters())
    )
    method.step(views)
    for now, old, new in zip(seen, start, student, strict=True):
        torch.testing.assert_close(now, 0.25 * old + 0.75 * new)


def test_queue_walks_round_and_state_round_trips() -> None:
    method = moco(queue_length=20)  # no multiple of the batch
    for step in range(4):
        method.step(two_views(pictures(8, seed=step)), About(torch.arange(8) + 3 * step))
        assert int(method.queue.pointer) == 8 * (step + 1) % 20
    twin = moco(queue_length=20)
    twin.load_state_dict(copy.deepcopy(method.state_dict()))
    views, about = two_views(pictures(8, seed=9)), About(torch.arange(8))
    one, other = twin.step(views, about), method.step(views, about)
    assert one.loss.item() == other.loss.item() and one.logs == other.logs
    assert one.logs["same_patient_negatives"] > 0


def queue_of(method: MoCo, patients: list[int]) -> None:
    """Fill the queue with keys of these patients."""
    g = torch.Generator().manual_seed(5)
    method.queue.enqueue(
        torch.nn.functional.normalize(torch.randn(len(patients), 8, generator=g)), torch.tensor(patients)
    )


@pytest.mark.parametrize("treat", ["mask", "keep"])
def test_keys_of_the_query_s_own_patient_are_no_negatives_but_counted_either_way(treat: str) -> None:
    """Row by row: the queue holds patients 5, 5, 6, 7 and noise, the batch 5, 7, 8, 5."""
    method, plain = (moco(queue_length=6, temperature=0.5, same_patient_negatives=treat) for _ in range(2))
    for each in (method, plain):
        queue_of(each, [5, 5, 6, 7])
    views = two_views(pictures(4))
    before = method.queue.keys.clone()
    step = method.step(views, About(torch.tensor([5, 7, 8, 5])))
    plain.teacher.update(torch.nn.Sequential(plain.encoder, plain.projector), plain.m)
    with torch.no_grad():
        q, k = plain.projector(plain.encoder(views[0])), plain.teacher(views[1])
    pairs = ((0, 0), (0, 1), (1, 3), (3, 0), (3, 1)) if treat == "mask" else ()
    expected = by_loops(*(rows(t.double().numpy()) for t in (q, k, before)), 0.5, pairs)
    assert step.loss.item() == pytest.approx(expected, rel=1e-5)
    assert step.logs["same_patient_negatives"] == (2 + 1 + 0 + 2) / 4
    chance = sum(math.log(7 - m) for m in (2, 1, 0, 2)) / 4 if treat == "mask" else math.log(7)
    assert method.chance_loss() == pytest.approx(chance)
    assert method.queue.patients.tolist() == [8, 5, 6, 7, 5, 7]


def test_a_masked_collapse_stands_at_its_chance() -> None:
    method = moco(queue_length=6)
    method.queue.keys.fill_(1.0)
    method.queue.patients.copy_(torch.tensor([0, 0, 0, 1, 2, -1]))
    with torch.no_grad():
        last = [m for m in method.projector.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.weight.zero_(), last.bias.fill_(1.0)
    method.teacher.update(torch.nn.Sequential(method.encoder, method.projector), 0.0)
    step = method.step(two_views(pictures(8)), About(torch.tensor([0, 0, 0, 1, 1, 2, 3, 4])))
    assert step.loss.item() == pytest.approx(method.chance_loss(), abs=1e-5)
    assert method.chance_loss() < math.log(7) - 0.05


def test_stale_keys_of_the_same_images_are_masked_as_their_patient_s() -> None:
    """The step of `test_t1` whose second loss could not fall below ln 2: with patients known it can."""
    method = moco(queue_length=8, temperature=0.01)
    views = two_views(pictures(8), noise=0.0)
    about = About(torch.arange(8))
    method.step([views[0], views[0]], about)
    step = method.step([views[0], views[0]], about)
    assert step.logs["same_patient_negatives"] == 1
    assert step.loss.item() < method.step([views[0], views[0]]).loss.item()


def test_without_patients_nothing_changes() -> None:
    """As published, bit for bit; neither do patients of whom nobody comes twice."""
    known, unknown = moco(queue_length=64), moco(queue_length=64)
    for s in range(4):
        views = two_views(pictures(8, seed=s))
        a, b = known.step(views, About(torch.arange(8) + 8 * s)), unknown.step(views)
        assert a.loss.item() == b.loss.item()
        assert a.logs["same_patient_negatives"] == 0 and "same_patient_negatives" not in b.logs
    assert unknown.queue.patients.max() == -1 and unknown.chance_loss() == known.chance_loss() == math.log(65)


def test_t16_query_and_key_groups_share_as_few_as_possible() -> None:
    method = moco(bn_groups=4)
    assert isinstance(method.encoder.bn1, SplitBatchNorm) and method.encoder.bn1.groups == 4
    seen: dict[str, torch.Tensor] = {}
    method.encoder.register_forward_pre_hook(lambda _, args: seen.__setitem__("q", args[0]))
    method.teacher.module[0].register_forward_pre_hook(lambda _, args: seen.__setitem__("k", args[0]))
    labels = torch.arange(16.0).view(16, 1, 1, 1).expand(16, 1, 8, 8)
    method.step([labels, labels])
    q, k = (seen[name][:, 0, 0, 0].view(4, 4).tolist() for name in "qk")
    assert [sorted(g) for g in q] != [sorted(g) for g in k]
    assert all(len(set(a) & set(b)) == 1 for a in q for b in k)


def test_keys_come_back_in_the_order_of_the_queries() -> None:
    method, plain = moco(bn_groups=4), moco(bn_groups=4)
    method.eval(), plain.eval()  # statistics fixed: dealing may then change nothing
    views = two_views(pictures(16))
    plain.groups = 0
    assert method.step(views).loss.item() == pytest.approx(plain.step(views).loss.item(), rel=1e-5)


def test_an_encoder_without_batchnorm_is_left_alone() -> None:
    torch.manual_seed(0)
    method = MoCo(ToyEncoder(norm=False), MoCoConfig(queue_length=8, bn_groups=4))
    method.step(two_views(pictures(5)))  # 5 does not divide into 4 groups, and need not


def test_a_batch_that_does_not_divide_says_what_to_set() -> None:
    with pytest.raises(UsageError, match="--batch-size") as error:
        moco(bn_groups=4).step(two_views(pictures(6)))
    assert "6 images" in error.value.problem
    with pytest.raises(UsageError):
        moco(bn_groups=4).step(two_views(pictures(4)))  # one sample a group has no statistics


@pytest.mark.parametrize("images", [3, 40, 1000, 35322, 10**6])
@pytest.mark.parametrize("batch", [2, 7, 64, 256])
@pytest.mark.parametrize("steps", [1, 340, 100_000])
def test_fit_config_caps_the_queue_and_fits_the_momentum(images: int, batch: int, steps: int) -> None:
    config, why = MoCo.fit_config(MoCoConfig(), images=images, steps=steps, batch_size=batch, size=64)
    assert {name for name, _, _ in why} == {"queue_length", "momentum", "bn_groups"}
    K, m, groups = config.queue_length, config.momentum, config.bn_groups
    assert isinstance(K, int) and isinstance(m, float) and isinstance(groups, int)
    assert 1 <= K <= max(1, images // 4) and (batch > K or K % batch == 0 or K == 65536)
    assert 0.9 <= m <= 0.999
    if steps >= 100:
        assert m**steps < 1e-4, "the random start must be gone at the end"
    assert batch % groups == 0 and (groups == 1 or batch >= 2 * groups)
    assert groups > 1 or batch in (2, 7)
    assert batch >= K or K / batch * (1 - m) <= 0.256 + 1e-9, "the key encoder has become another meanwhile"


def test_the_queue_spans_as_much_of_the_key_encoders_time_as_the_papers() -> None:
    """ImageNet at the paper's length gives its queue; a run of 376 steps, whose key encoder is quick, nine batches."""
    config, _ = MoCo.fit_config(MoCoConfig(), images=1_281_167, steps=1_000_000, batch_size=256, size=224)
    assert (config.queue_length, config.momentum) == (65536, 0.999)
    config, why = MoCo.fit_config(MoCoConfig(), images=12_032, steps=376, batch_size=64, size=64)
    assert config.queue_length == 9 * 64 and "changes little" in {n: r for n, _, r in why}["queue_length"]
    config, _ = MoCo.fit_config(MoCoConfig(momentum=0.999), images=12_032, steps=376, batch_size=64, size=64)
    assert config.queue_length == 12_032 // 4 // 64 * 64  # a slow one keeps the keys of all of it alike
    config, _ = MoCo.fit_config(MoCoConfig(momentum=1.0), images=12_032, steps=376, batch_size=64, size=64)
    assert config.queue_length == 12_032 // 4 // 64 * 64


def test_what_the_user_chose_is_kept_or_refused() -> None:
    config, why = MoCo.fit_config(
        MoCoConfig(queue_length=100, momentum=0.5, bn_groups=2), images=400, steps=10, batch_size=8, size=64
    )
    assert (config.queue_length, config.momentum, config.bn_groups, why) == (100, 0.5, 2, [])
    with pytest.raises(UsageError, match="--queue-length 65536"):
        MoCo.fit_config(MoCoConfig(queue_length=65536), images=35322, steps=10, batch_size=8, size=64)
    with pytest.raises(UsageError, match="--batch-size"):
        MoCo.fit_config(MoCoConfig(bn_groups=3), images=400, steps=10, batch_size=8, size=64)
    with pytest.raises(UsageError, match="--momentum"):
        MoCoConfig(momentum=1.5)
    with pytest.raises(UsageError, match="--temperature"):
        MoCoConfig(temperature=0)


def test_chance_loss() -> None:
    assert moco(queue_length=65536).chance_loss() == pytest.approx(11.0904, abs=1e-4)


def test_natural_views_are_the_papers() -> None:
    (view,) = MoCo.natural.global_views
    assert (view.scale, view.brightness, view.contrast, view.jitter) == ((0.2, 1.0), 0.4, 0.4, 0.8)
    assert (view.flip, view.blur, view.solarize, view.rotate) == (0.5, 0.5, 0, 0)
