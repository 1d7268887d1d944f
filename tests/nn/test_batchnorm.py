import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kontrast.errors import UsageError
from kontrast.nn.batchnorm import SplitBatchNorm, deal, dealt, split_batchnorm
from toys import ToyEncoder, pictures


def pair(groups: int, **options: object) -> tuple[nn.BatchNorm2d, SplitBatchNorm]:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(3, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        if plain.affine:
            plain.weight.uniform_(0.5, 2)
            plain.bias.uniform_()
    holder = nn.Sequential(copy.deepcopy(plain))
    assert split_batchnorm(holder, groups) == 1
    split = holder[0]
    assert isinstance(split, SplitBatchNorm)
    return plain, split


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_equals_ordinary_batchnorm_on_each_part(groups: int, options: dict[str, object], channels_last: bool) -> None:
    plain, split = pair(groups, **options)
    x = torch.randn(8, 3, 5, 5) * 3 + 1
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    for _ in range(2):
        parts = [copy.deepcopy(plain) for _ in range(groups)]
        expected = torch.cat([bn(part) for bn, part in zip(parts, x.chunk(groups), strict=True)])
        y = split(x)
        torch.testing.assert_close(y, expected)
        assert not channels_last or y.is_contiguous(memory_format=torch.channels_last)
        if plain.running_mean is not None:
            for name in ("running_mean", "running_var"):
                mean = torch.stack([getattr(bn, name) for bn in parts]).mean(dim=0)
                torch.testing.assert_close(getattr(split, name), mean)
                getattr(plain, name).copy_(mean)
            assert int(split.num_batches_tracked) == int(parts[0].num_batches_tracked)
            plain.num_batches_tracked.copy_(parts[0].num_batches_tracked)
    torch.testing.assert_close(split.eval()(x), plain.eval()(x))


def test_gradients_equal_those_of_the_parts() -> None:
    plain, split = pair(2)
    x = torch.randn(8, 3, 4, 4)
    w = torch.randn(8, 3, 4, 4)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    (split(a) * w).sum().backward()
    (torch.cat([plain(part) for part in b.chunk(2)]) * w).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(split.weight.grad, plain.weight.grad)


def test_parts_do_not_see_each_other() -> None:
    _, split = pair(2)
    x = torch.randn(8, 3, 4, 4)
    y = split(x)
    other = x.clone()
    other[4:] += 100
    torch.testing.assert_close(split(other)[:4], y[:4])


def test_names_tensors_and_weights_stay_the_same() -> None:
    encoder = ToyEncoder()
    state, parameters = {k: v.clone() for k, v in encoder.state_dict().items()}, list(encoder.parameters())
    assert split_batchnorm(encoder, 2) == 2
    assert list(encoder.state_dict()) == list(state)
    assert all(a is b for a, b in zip(encoder.parameters(), parameters, strict=True))
    ToyEncoder().load_state_dict(encoder.state_dict())
    assert split_batchnorm(encoder, 4) == 2 and encoder.bn1.groups == 4
    assert split_batchnorm(ToyEncoder(norm=False), 2) == 0


@pytest.mark.parametrize(("batch", "groups"), [(6, 4), (4, 4), (3, 2)])
def test_a_batch_that_does_not_divide(batch: int, groups: int) -> None:
    _, split = pair(groups)
    with pytest.raises(UsageError, match="--batch-size"):
        split(torch.randn(batch, 3, 4, 4))
    split.eval()(torch.randn(batch, 3, 4, 4))  # no statistics, no groups


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8))
def test_deal_is_a_permutation(batch: int, groups: int) -> None:
    assert sorted(deal(batch, groups).tolist()) == list(range(batch))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_dealt_groups_share_equally(groups: int, each: int) -> None:
    order = deal(groups * groups * each, groups).view(groups, -1).tolist()
    for g, dealt_group in enumerate(order):
        for h in range(groups):
            start = h * groups * each
            shared = [i for i in dealt_group if start <= i < start + groups * each]
            assert len(shared) == each, (g, h)


def test_dealt_restores_the_order() -> None:
    x = pictures(12)
    torch.testing.assert_close(dealt(lambda v: v * 2, x, 3), x * 2)
    _, split = pair(3)
    x = torch.randn(12, 3, 2, 2)
    assert not torch.allclose(dealt(split, x, 3), split(x)), "other groups, other statistics"
