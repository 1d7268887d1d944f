"""Grad-CAM and Grad-CAM++ on an encoder's last map before pooling.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), eq. 1 and 2:

    α_c = mean over places of ∂ logit / ∂ A_c        how much channel c speaks for the finding
    map = ReLU(Σ_c α_c A_c)

For a Vision Transformer the map is that of the last block's patch tokens. Behind mean pooling and a linear head the
gradient is head weight / places, so the result is CAM (Zhou et al. 2016) up to a factor; nothing here relies on that.

Grad-CAM++ (Chattopadhyay et al. 2018, arXiv:1710.11063), eq. 10 to 19, weighs the places of a channel before it sums
them, so that a finding in two places is not paid for by one of them:

    g    = ∂ logit / ∂ A_c                           at each place
    α    = g² / (2 g² + g³ Σ_places A_c)             eq. 19, with the score exp(logit), whose common factor cancels
    w_c  = Σ_places α ReLU(g)
    map  = ReLU(Σ_c w_c A_c)

Eq. 19 holds where the logit is linear in A, as it is behind a mean and a linear head, and where A is not negative, as
behind a ReLU: with A of both signs its denominator may vanish. So it is for CNNs.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kontrast.nn.backbone import Encoder


class Explainable(Protocol):
    """What a classifier must have to be explained."""

    encoder: Encoder
    head: nn.Module
    training: bool


def gradcam(
    classifier: Explainable, x: Tensor, finding_index: int | Tensor, size: int | None = None, *, plus: bool = False
) -> Tensor:
    """Grad-CAM maps of one finding per image.

    Args:
        classifier: in evaluation mode: in training, batch norm would mix the images.
        x: (B, 1, H, W) normalised images.
        finding_index: which logit is explained: one for all images, or (B,).
        size: side of the maps in pixels; None = that of the images.
        plus: Grad-CAM++ in place of Grad-CAM.

    Returns:
        (B, H, W) float32 in [0, 1], the highest value of each image 1; all 0 where nothing speaks for the finding.

    Raises:
        ValueError: the classifier is in training mode.
    """
    if classifier.training:
        raise ValueError("Grad-CAM needs a classifier in evaluation mode: call .eval() first.")
    with torch.no_grad():
        maps = classifier.encoder.feature_maps(x)
    shape = (size, size) if size else (x.shape[-2], x.shape[-1])
    return weigh_maps(classifier, maps, finding_index, shape, plus=plus)


def weigh_maps(
    classifier: Explainable, maps: Tensor, finding_index: int | Tensor, size: tuple[int, int], *, plus: bool = False
) -> Tensor:
    """Grad-CAM from feature maps that are there already.

    Args:
        classifier: its pooling and head are differentiated.
        maps: (B, C, h, w) of `encoder.feature_maps`.
        finding_index: as in `gradcam`.
        size: (H, W) of the result, to which maps are brought bilinearly.
        plus: as in `gradcam`.

    Returns:
        (B, H, W) float32, as `gradcam`.
    """
    with torch.enable_grad():
        A = maps.detach().float().requires_grad_()  # (B, C, h, w)
        logits = classifier.head(classifier.encoder.pool(A))  # (B, F)
        chosen = torch.as_tensor(finding_index, device=A.device).expand(len(A))[:, None]
        # The sum over images gives each its own gradient: none enters another's logit.
        (gradient,) = torch.autograd.grad(logits.gather(1, chosen).sum(), A)
    A = A.detach()
    weights = _plus_weights(gradient, A) if plus else gradient.mean((2, 3))  # (B, C)
    return bring_up((weights[:, :, None, None] * A).sum(1).relu(), size)


def _plus_weights(g: Tensor, A: Tensor) -> Tensor:
    """Weights w of Grad-CAM++, (B, C), from the gradient and the maps, both (B, C, h, w)."""
    below = 2 * g**2 + g**3 * A.sum((2, 3), keepdim=True)
    alpha = torch.where(below != 0, g**2 / torch.where(below != 0, below, 1.0), 0.0)  # 0 where g is
    return (alpha * g.relu()).sum((2, 3))


def bring_up(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, h, w), at least 0, brought bilinearly to (B, H, W), and the highest value of each to 1."""
    maps = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    top = maps.amax((1, 2), keepdim=True)
    return torch.where(top > 0, maps / top.clamp(min=torch.finfo(maps.dtype).tiny), 0.0)
