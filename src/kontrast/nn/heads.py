"""Projectors and predictors: small perceptrons behind an encoder, thrown away after pretraining."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(dims: Sequence[int], *, norm: bool, bias: bool = True, last_bias: bool = True) -> nn.Sequential:
    """A perceptron with ReLU between its layers, (B, dims[0]) → (B, dims[-1]).

    Args:
        dims: widths, input first; two of them make one linear layer.
        norm: batch-norm before each ReLU.
        bias: biases of the hidden layers.
        last_bias: bias of the last layer, which has neither norm nor ReLU.
    """
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(dims[:-1]):
        layers += [nn.Linear(wide, narrow, bias=bias), *([nn.BatchNorm1d(narrow)] if norm else []), nn.ReLU()]
    layers.append(nn.Linear(dims[-2], dims[-1], bias=last_bias))
    return nn.Sequential(*layers)


def batchnorm_without_shift(dim: int) -> nn.BatchNorm1d:
    """Batch-norm with a learned scale and no learned shift, as at the end of SimCLR's projector."""
    norm = nn.BatchNorm1d(dim)
    norm.bias.requires_grad_(False)  # stays 0; a missing tensor would upset cuDNN and synchronised batch-norm
    return norm
