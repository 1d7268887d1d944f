"""Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), one channel, with timm's parameter names.

The features are the mean of the patch tokens, not the class token: as good or better when trained from scratch
(Beyer et al. 2022, arXiv:2205.01580), and Grad-CAM needs places that the output depends on, which the patch tokens
of the last block are not for a class token. The class token stays in the sequence, so public weights fit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kontrast.nn.backbone import Encoder


class Attention(nn.Module):
    """Multi-head self-attention, softmax(Q Kᵀ / √d) V."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) → (B, N, D)."""
        q, k, v = self._split(x)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor) -> Tensor:
        """(B, N, D) → (B, h, N, N): how much of each token (column) enters each (row), rows sum to 1."""
        q, k, _ = self._split(x)
        return (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, N, D = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # each (B, h, N, d)
        return q, k, v


class Mlp(nn.Module):
    """Two layers with a GELU between, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) → (B, N, D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and beside a shortcut."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) → (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Cuts the image into patches and projects each; what is left over at the right and bottom is dropped."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, D, H/p, W/p)."""
        return self.proj(x)


class VisionTransformer(Encoder):
    """A ViT without its classification layer.

    Args:
        size: image size in pixels for which positions are learned, a multiple of `patch`; other sizes work by
            interpolation (multi-crop has them).
        patch: patch size in pixels.
        dim: D, width of the tokens.
        depth: number of blocks.
        heads: attention heads.
    """

    def __init__(self, *, size: int, patch: int, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.feature_dim, self.patch, self.grid = dim, patch, size // patch
        self.patch_embed = PatchEmbed(patch, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The patches, row by row, and where they lie: (B, 1, H, W) → (B, N, D), (1, 1 + N, D), N = H/p · W/p.

        The positions are not added yet, so that a method may put a token of its own in a patch's place; the first is
        the class token's.
        """
        maps = self.patch_embed(x)
        return maps.flatten(2).transpose(1, 2), resize_positions(self.pos_embed, *maps.shape[2:])

    def encode(self, patches: Tensor, positions: Tensor, kept: Tensor | None = None) -> Tensor:
        """All blocks over the class token and the patches, normalised: (B, 1 + n, D), the class token first.

        Args:
            patches: (B, N, D), from `embed`.
            positions: (1, 1 + N, D), from `embed`.
            kept: (B, n) int64, which patches of each image are looked at, in this order; None for all, n = N.
        """
        x = patches + positions[:, 1:]  # (B, N, D)
        if kept is not None:
            x = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))  # (B, n, D)
        token = (self.cls_token + positions[:, :1]).expand(len(x), -1, -1)
        return self.norm(self.blocks(torch.cat([token, x], dim=1)))

    def feature_maps(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, D, H/p, W/p): the patch tokens of the last block, normalised."""
        tokens = self.encode(*self.embed(x))[:, 1:]
        return tokens.transpose(1, 2).unflatten(2, (x.shape[2] // self.patch, x.shape[3] // self.patch))


def resize_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """Positions of a class token and a square grid, (1, 1 + g², D), at another grid: (1, 1 + height · width, D).

    Bicubic with antialiasing, as timm does; the class token's stays.
    """
    grid = round((positions.shape[1] - 1) ** 0.5)
    if (height, width) == (grid, grid):
        return positions
    token, places = positions[:, :1], positions[:, 1:]
    places = places.reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    places = places if places.dtype == torch.float64 else places.float()
    places = F.interpolate(places, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([token, places.flatten(2).transpose(1, 2).to(token.dtype)], dim=1)
