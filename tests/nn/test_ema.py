import copy

import torch
from torch import nn

from kontrast.nn.ema import MomentumCopy


def student() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def test_update_is_the_convex_combination() -> None:
    net = student()
    teacher = MomentumCopy(net)
    before = copy.deepcopy(list(teacher.parameters()))
    with torch.no_grad():
        for p in net.parameters():
            p.uniform_()
    teacher.update(net, 0.75)
    for old, now, new in zip(before, teacher.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * new)
    teacher.update(net, 0.0)
    for now, new in zip(teacher.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(now, new)
    held = copy.deepcopy(list(teacher.parameters()))
    teacher.update(student(), 1.0)
    assert all(torch.equal(a, b) for a, b in zip(held, teacher.parameters(), strict=True))


def test_many_updates_decay_geometrically() -> None:
    net = nn.Linear(1, 1, bias=False)
    teacher = MomentumCopy(net)
    with torch.no_grad():
        teacher.module.weight.fill_(1.0)
        net.weight.fill_(0.0)
    for _ in range(340):
        teacher.update(net, 0.999)
    assert abs(float(teacher.module.weight) - 0.999**340) < 1e-5


def test_t13_buffers_are_the_teachers_own() -> None:
    net = student()
    teacher = MomentumCopy(net)
    net[1].running_mean.fill_(3.0)
    net[1].num_batches_tracked.fill_(9)
    teacher.update(net, 0.5)
    assert teacher.module[1].running_mean.abs().max() == 0
    assert int(teacher.module[1].num_batches_tracked) == 0
    teacher(torch.randn(8, 4))
    assert int(teacher.module[1].num_batches_tracked) == 1


def test_no_gradient_in_or_out() -> None:
    teacher = MomentumCopy(student())
    assert not any(p.requires_grad for p in teacher.parameters())
    x = torch.randn(8, 4, requires_grad=True)
    assert not teacher(x).requires_grad
