"""MAE: paint the three quarters of a picture that were hidden.

He et al. 2022, arXiv:2111.06377

    L = mean over hidden patches i of ‖x̂_i − ŷ_i‖²/n,   ŷ_i = (y_i − mean y_i)/√(var y_i + 1e-6) of a patch's n pixels

The encoder sees the other patches alone; a light decoder gets its outputs and a token in the place of every hidden
patch.

Differs from the paper:
- the decoder is lighter, 4 blocks of width 256 for 8 of 512: that one is twice as costly on all patches as a ViT-S;
- the encoder's positions are learned, as all Vision Transformers' are here; the decoder's are the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kontrast.config import require
from kontrast.methods.method import UNKNOWN, About, Decision, Method, Step, masks_of, vision_transformer
from kontrast.nn.numerics import full_precision
from kontrast.nn.vit import Block, VisionTransformer
from kontrast.views.masks import MaskSpec
from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import Recipe

HEAD_DIM = 32  # of the decoder's attention, as in the paper (512 in 16 heads)


@dataclass(frozen=True, kw_only=True)
class MAEConfig:
    """What of MAE can be chosen."""

    mask_ratio: float = 0.75
    """Share of the patches that are hidden, between 0 and 1."""
    decoder_dim: int = 256
    """Width of the decoder, a multiple of 32."""
    decoder_depth: int = 4
    """Blocks of the decoder, 1 or more."""

    def __post_init__(self) -> None:
        ratio, dim, depth = self.mask_ratio, self.decoder_dim, self.decoder_depth
        require(0 < ratio < 1, f"--mask-ratio {ratio} is not between 0 and 1.", "The paper has 0.75.")
        fits = dim > 0 and dim % HEAD_DIM == 0
        require(fits, f"--decoder-dim {dim} is no multiple of {HEAD_DIM}.", "The paper has 512, the default is 256.")
        require(depth > 0, f"--decoder-depth {depth} is not above 0.", "The paper has 8, the default is 4.")


def patchify(x: Tensor, patch: int) -> Tensor:
    """Pixels patch by patch, row by row: (b, 1, H, W) → (b, N, patch²); what is left over is dropped."""
    b, _, H, W = x.shape
    h, w = H // patch, W // patch
    x = x[:, 0, : h * patch, : w * patch].reshape(b, h, patch, w, patch)
    return x.transpose(2, 3).reshape(b, h * w, patch**2)


@full_precision
def reconstruction(prediction: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
    """MAE's loss: (n − 1)/n for a prediction of 0, as the variance is the unbiased one.

    Args:
        prediction: (…, n) for every patch.
        pixels: (…, n), brought to mean 0 and variance 1 within each patch; a flat patch becomes 0.
        hidden: (…) bool, the patches that count.
    """
    y = (pixels - pixels.mean(dim=-1, keepdim=True)) / (pixels.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return (prediction - y)[hidden].square().mean()


def sincos_positions(height: int, width: int, dim: int, device: torch.device | str = "cpu") -> Tensor:
    """Fixed positions of a class token, which are 0, and a grid: (1, 1 + height · width, dim), dim a multiple of 4.

    A quarter of a place's coordinates each are sine and cosine of its column, then of its row, with wavelengths from
    2π to 20000π (Vaswani et al. 2017, arXiv:1706.03762, once for each axis).
    """
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64, device=device) / (dim // 4))  # (dim/4,)
    place = torch.arange(height * width, device=device)[:, None]
    row, column = place // width * omega, place % width * omega  # (h·w, dim/4) each
    places = torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1)
    return torch.cat([places.new_zeros(1, dim), places])[None]


class MAE(Method):
    """MAE on a Vision Transformer."""

    Config = MAEConfig
    encoder: VisionTransformer
    views = ViewSpec(globals=1)
    needs_vit = True
    natural = Recipe((View(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5),))
    xray = Recipe(
        (
            View(
                scale=(0.5, 1.0),  # as for every method here; the paper finds crops useful, but not needed
                ratio=(3 / 4, 4 / 3),
                flip=0.5,
                # no rotation: its black corners would be patches with nothing to paint; no brightness or contrast:
                # they are taken out of each patch before it is compared
            ),
        )
    )
    recommended: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 6e-4, "weight_decay": 0.05, "per": 256}
    published: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "lr": 1.5e-4, "weight_decay": 0.05, "per": 256}

    def __init__(self, encoder: nn.Module, config: MAEConfig = MAEConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = vision_transformer(encoder, "mae")
        self.patch = self.encoder.patch
        self.views = ViewSpec(globals=1, masks=MaskSpec(patch=self.patch, share=(config.mask_ratio, config.mask_ratio)))
        width, dim = self.encoder.feature_dim, config.decoder_dim
        self.enter = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.decoder = nn.Sequential(*(Block(dim, dim // HEAD_DIM) for _ in range(config.decoder_depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.leave = nn.Linear(dim, self.patch**2)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.mask_token, std=0.02)
        for module in (*self.decoder.modules(), self.enter, self.leave):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def step(self, views: Sequence[Tensor], about: About = UNKNOWN) -> Step:
        """Encode what is seen, paint what is hidden."""
        (x,), (hidden,) = views, masks_of(about)  # (b, 1, H, W), (b, N)
        seen = int((~hidden[0]).sum())  # n, of every image
        order = hidden.int().argsort(dim=1, stable=True)  # (b, N), the seen patches first
        tokens = self.encoder.encode(*self.encoder.embed(x), kept=order[:, :seen])  # (b, 1 + n, F)
        prediction = self.decode(tokens, order, (x.shape[2] // self.patch, x.shape[3] // self.patch))  # (b, N, p²)
        loss = reconstruction(prediction, patchify(x, self.patch), hidden)
        return Step(loss, tokens[:, 1:].mean(dim=1).detach())

    def decode(self, tokens: Tensor, order: Tensor, grid: tuple[int, int]) -> Tensor:
        """Pixels of every patch: (b, 1 + n, F), (b, N) places of the n seen and then of the hidden → (b, N, p²)."""
        z = self.enter(tokens)  # (b, 1 + n, D)
        blank = self.mask_token.to(z.dtype).expand(len(z), order.shape[1] + 1 - z.shape[1], -1)
        z = torch.cat([z, blank], dim=1)  # (b, 1 + N, D), the seen patches first
        places = order.argsort(dim=1)  # (b, N), where each patch is in z
        patches = z[:, 1:].gather(1, places[:, :, None].expand(-1, -1, z.shape[2]))
        z = torch.cat([z[:, :1], patches], dim=1) + sincos_positions(*grid, z.shape[2], z.device).to(z.dtype)
        return self.leave(self.norm(self.decoder(z)))[:, 1:]

    def chance_loss(self) -> float:
        """1 − 1/n: every patch painted in one grey. Padding is flat and costs nothing, so a run may be below."""
        return 1 - 1 / self.patch**2

    @classmethod
    def fit_config(
        cls, config: MAEConfig, *, images: int, steps: int, batch_size: int, size: int
    ) -> tuple[MAEConfig, list[Decision]]:
        """Nothing to resolve."""
        return config, []
