import torch
from torch import nn

from kontrast.nn.heads import batchnorm_without_shift, mlp


def kinds(module: nn.Sequential) -> list[str]:
    return [type(m).__name__ for m in module]


def test_layers_and_widths() -> None:
    head = mlp([6, 5, 4, 3], norm=True, bias=False, last_bias=True)
    assert kinds(head) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    linear = [m for m in head if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features, m.bias is not None) for m in linear] == [
        (6, 5, False),
        (5, 4, False),
        (4, 3, True),
    ]
    assert head(torch.randn(2, 6)).shape == (2, 3)


def test_without_norm_and_without_hidden_layers() -> None:
    assert kinds(mlp([6, 5, 4], norm=False)) == ["Linear", "ReLU", "Linear"]
    assert kinds(mlp([6, 4], norm=True)) == ["Linear"]
    assert mlp([6, 4], norm=True, last_bias=False)[0].bias is None


def test_batchnorm_without_shift_scales_only() -> None:
    norm = batchnorm_without_shift(3)
    assert [name for name, p in norm.named_parameters() if p.requires_grad] == ["weight"]
    out = norm(torch.randn(64, 3) * 5 + 2)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
