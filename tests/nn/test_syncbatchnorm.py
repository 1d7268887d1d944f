"""Synchronised batch-norm: in one process it is ordinary batch-norm, and it keeps the module's own tensors."""

import pytest
import torch
from torch import nn

from kontrast.nn.batchnorm import SplitBatchNorm
from kontrast.nn.syncbatchnorm import SyncBatchNorm, synchronise

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (6, 3)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_process_is_ordinary_batchnorm(shape, momentum):
    torch.manual_seed(0)
    plain = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3, momentum=momentum).double()
    nn.init.normal_(plain.weight)
    sync = SyncBatchNorm(3, momentum=momentum).double()
    sync.load_state_dict(plain.state_dict())
    for _ in range(2):
        x = (torch.randn(shape, dtype=torch.float64) * 2 + 5).requires_grad_()
        other = x.detach().clone().requires_grad_()
        weight = torch.randn(shape, dtype=torch.float64)
        (plain(x) * weight).sum().backward()
        (sync(other) * weight).sum().backward()
        torch.testing.assert_close(x.grad, other.grad, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(plain.weight.grad, sync.weight.grad, rtol=1e-9, atol=1e-11)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, sync.state_dict()[name], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(plain.eval()(x), sync.eval()(x))


def test_layers_are_exchanged_with_their_tensors_and_grouped_ones_stay():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(2)), SplitBatchNorm(2))
    before = dict(net.named_parameters())
    synchronise(net, CPU)
    assert isinstance(net[1], SyncBatchNorm) and isinstance(net[2][0], SyncBatchNorm)
    assert type(net[3]) is SplitBatchNorm
    assert all(before[k] is v for k, v in net.named_parameters())


def test_bf16_in_bf16_out():
    x = torch.randn(4, 2, dtype=torch.bfloat16)
    assert SyncBatchNorm(2)(x).dtype == torch.bfloat16
