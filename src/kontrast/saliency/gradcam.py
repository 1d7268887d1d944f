"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) on an encoder's last map before pooling.

    α_c = mean over places of ∂ logit / ∂ A_c        how much channel c speaks for the finding
    map = ReLU(Σ_c α_c A_c)                          (eq. 1 and 2 of the paper)

For a Vision Transformer the map is that of the last block's patch tokens. Behind mean pooling and a linear head the
gradient is head weight / places, so the result is CAM (Zhou et al. 2016) up to a factor; nothing here relies on that.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kontrast.nn.backbone import Encoder


class Explainable(Protocol):
    """What a classifier must have to be explained."""

    encoder: Encoder
    head: nn.Linear
    training: bool


def gradcam(classifier: Explainable, x: Tensor, finding_index: int | Tensor, size: int | None = None) -> Tensor:
    """Grad-CAM maps of one finding per image.

    Args:
        classifier: in evaluation mode: in training, batch norm would mix the images.
        x: (B, 1, H, W) normalised images.
        finding_index: which logit is explained: one for all images, or (B,).
        size: side of the maps in pixels; None = that of the images.

    Returns:
        (B, H, W) float32 in [0, 1], the highest value of each image 1; all 0 where nothing speaks for the finding.

    Raises:
        ValueError: the classifier is in training mode.
    """
    if classifier.training:
        raise ValueError("Grad-CAM needs a classifier in evaluation mode: call .eval() first.")
    with torch.no_grad():
        maps = classifier.encoder.feature_maps(x)
    return weigh_maps(classifier, maps, finding_index, (size, size) if size else (x.shape[-2], x.shape[-1]))


def weigh_maps(classifier: Explainable, maps: Tensor, finding_index: int | Tensor, size: tuple[int, int]) -> Tensor:
    """Grad-CAM from feature maps that are there already.

    Args:
        classifier: its pooling and head are differentiated.
        maps: (B, C, h, w) of `encoder.feature_maps`.
        finding_index: as in `gradcam`.
        size: (H, W) of the result, to which maps are brought bilinearly.

    Returns:
        (B, H, W) float32, as `gradcam`.
    """
    with torch.enable_grad():
        A = maps.detach().float().requires_grad_()  # (B, C, h, w)
        logits = classifier.head(classifier.encoder.pool(A))  # (B, F)
        chosen = torch.as_tensor(finding_index, device=A.device).expand(len(A))[:, None]
        # The sum over images gives each its own gradient: none enters another's logit.
        (gradient,) = torch.autograd.grad(logits.gather(1, chosen).sum(), A)
    alpha = gradient.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
    cam = (alpha * A.detach()).sum(1, keepdim=True).relu()  # (B, 1, h, w)
    cam = F.interpolate(cam, size=size, mode="bilinear", align_corners=False)[:, 0]
    top = cam.amax((1, 2), keepdim=True)
    return torch.where(top > 0, cam / top.clamp(min=torch.finfo(cam.dtype).tiny), 0.0)
