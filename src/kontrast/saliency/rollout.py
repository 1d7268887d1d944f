"""Attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928): how much each patch enters a ViT's features.

    Ã_l = ½ (mean over heads of A_l) + ½ I           attention, and the shortcut beside it (section 3)
    R   = Ã_L ⋯ Ã_1                                  what of each input token is in each token of the last block

The paper reads the class token's row. Our features are the mean of the patch tokens, so the map is the mean of their
rows. No logit enters: the map is the same for every finding, and says where the encoder looks, not for what.
"""

import torch
from torch import Tensor

from kontrast.nn.vit import VisionTransformer
from kontrast.saliency.gradcam import bring_up


def rollout(encoder: VisionTransformer, x: Tensor, size: int | None = None) -> Tensor:
    """Attention rollout, one map an image.

    Args:
        encoder: a Vision Transformer.
        x: (B, 1, H, W) normalised images.
        size: side of the maps in pixels; None = that of the images.

    Returns:
        (B, H, W) float32 in [0, 1], the highest value of each image 1.
    """
    height, width = x.shape[-2] // encoder.patch, x.shape[-1] // encoder.patch
    entered = roll_out(encoder, x)[:, 1:, 1:].mean(1)  # (B, N): of the patches, mean over the patch tokens
    shape = (size, size) if size else (x.shape[-2], x.shape[-1])
    return bring_up(entered.unflatten(1, (height, width)), shape)


def roll_out(encoder: VisionTransformer, x: Tensor) -> Tensor:
    """R of all blocks, (B, 1 + N, 1 + N): rows are tokens of the last block, columns of the input, rows sum to 1."""
    result: list[Tensor] = []

    def follow(attention: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        A = attention.weights(inputs[0]).float().mean(1)  # type: ignore[operator]  # (B, 1 + N, 1 + N)
        step = 0.5 * A + 0.5 * torch.eye(A.shape[-1], device=A.device)
        result[:] = [step @ result[0]] if result else [step]

    handles = [block.attn.register_forward_pre_hook(follow) for block in encoder.blocks]  # type: ignore[union-attr,arg-type]
    try:
        with torch.no_grad():
            encoder.encode(*encoder.embed(x))
    finally:
        for handle in handles:
            handle.remove()
    return result[0]
