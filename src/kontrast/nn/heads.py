"""Projectors and predictors: small perceptrons behind an encoder, thrown away after pretraining."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from kontrast.nn.numerics import full_precision, unit


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


class PrototypeHead(nn.Module):
    """DINO's head: a perceptron with GELU, then cosines with K prototypes (Caron et al. 2021, arXiv:2104.14294).

    The paper's last layer is weight-normalised with its gain held at 1: a product with rows of unit length.

    Args:
        width: F, length of the features.
        hidden: width of the two hidden layers.
        dim: size of the space in which features meet prototypes.
        prototypes: K.
    """

    def __init__(self, width: int, hidden: int, dim: int, prototypes: int) -> None:
        super().__init__()
        layers = nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, dim)
        for layer in layers:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.mlp = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
        self.prototypes = nn.Linear(dim, prototypes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, F) → (n, K), cosines in fp32."""
        return cosines(self.mlp(x), self.prototypes.weight)


@full_precision
def cosines(z: Tensor, prototypes: Tensor) -> Tensor:
    """Of every row with every prototype: (n, D), (K, D) → (n, K)."""
    return unit(z) @ unit(prototypes).T
