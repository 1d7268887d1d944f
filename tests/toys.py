"""A small encoder, small pictures and the reference inputs with which methods are tested."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kontrast.methods.method import About
from kontrast.nn.vit import VisionTransformer
from kontrast.views.masks import draw_masks

SMALL: dict[str, Any] = {
    "dim": 8, "hidden_dim": 32, "momentum": 0.9, "queue_length": 24, "bn_groups": 2,
    "prototypes": 10, "local_views": 2, "freeze_steps": 0, "queue_start": 0,
    "decoder_dim": 32, "decoder_depth": 1,
}  # fmt: skip
"""Options that make any method small, by the names that methods' configurations share."""


def small_config(method: Any, **options: Any) -> Any:
    """A method's configuration, small, with `options` over that; names that it does not have are left out."""
    has = {field.name for field in dataclasses.fields(method.Config)}
    return method.Config(**{name: value for name, value in (SMALL | options).items() if name in has})


class ToyEncoder(nn.Module):
    """conv-bn-relu-conv-bn-relu-pool, (B, 1, H, W) → (B, feature_dim)."""

    def __init__(self, feature_dim: int = 16, *, norm: bool = True) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.conv1 = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(8, feature_dim, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(feature_dim) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.bn2(self.conv2(x)).relu().mean(dim=(2, 3))


def toy_encoder(method: Any, feature_dim: int = 16, *, norm: bool = True) -> nn.Module:
    """The smallest encoder that a method takes; of pictures of 16 px."""
    if method.needs_vit:
        return VisionTransformer(size=16, patch=4, dim=feature_dim, depth=1, heads=1)
    return ToyEncoder(feature_dim, norm=norm)


def without_norm(module: nn.Module) -> None:
    """Take the batch-norms of its heads out."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d):
            setattr(module, name, nn.Identity())
        else:
            without_norm(child)


def about_for(method: Any, n: int, seed: int = 0, size: int = 16) -> About:
    """What a method must know of a batch beside its views."""
    spec = method.views
    if spec.masks is None:
        return About()
    side = size // spec.masks.patch
    return About(masks=draw_masks(spec.masks, spec.globals, n, (side, side), torch.Generator().manual_seed(seed)))


def pictures(n: int, size: int = 16, seed: int = 0) -> Tensor:
    """(n, 1, size, size): smooth random pictures, each unlike the others."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, 1, 4, 4, generator=g)
    return nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)


def families(n: int, kinds: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures of a few kinds, all of a kind alike: (n,) which kind, (n, 1, 16, 16)."""
    kind = torch.randint(0, kinds, (n,), generator=torch.Generator().manual_seed(seed))
    return kind, pictures(kinds, seed=5)[kind]


def two_views(images: Tensor, seed: int = 0, noise: float = 0.2, count: int = 2) -> list[Tensor]:
    """The same pictures with other noise and brightness in each view."""
    g = torch.Generator().manual_seed(seed)
    n = len(images)
    return [
        images * (1 + 0.2 * torch.randn(n, 1, 1, 1, generator=g)) + noise * torch.randn(images.shape, generator=g)
        for _ in range(count)
    ]


def _table(rows: int, columns: int, f: str, a: float, b: float) -> np.ndarray:
    index = np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)
    return np.asarray(getattr(np, f)(a * index + b))


# The inputs of the published numeric oracles: rows i, columns j, functions of 8i + j.
X = _table(4, 8, "sin", 1.0, 1.0)
Y = _table(4, 8, "cos", 1.7, 0.3)
Q = _table(6, 8, "sin", 0.9, 0.5)
P = _table(5, 8, "cos", 0.6, 0.2)


def rows(a: np.ndarray) -> np.ndarray:
    """Rows at unit length."""
    return a / np.sqrt((a**2).sum(axis=1, keepdims=True))
