"""The encoders by name, what describes one completely, and how images become its input."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kontrast.config import choose, require
from kontrast.nn.backbone import Encoder
from kontrast.nn.densenet import DenseNet
from kontrast.nn.resnet import BasicBlock, Bottleneck, ResNet
from kontrast.nn.vit import VisionTransformer

__all__ = ["ENCODERS", "Encoder", "EncoderSpec", "build_encoder", "normalise"]

SMALL_CNN, SMALL_VIT = 48, 127
"""Up to these sizes in pixels the small stem serves: the ImageNet one would leave a CNN a map of 1×1 or 2×2, and a
ViT fewer than 64 patches."""


@dataclass(frozen=True)
class EncoderSpec:
    """All that is needed to build an encoder and to prepare images for it.

    Attributes:
        name: a key of ENCODERS.
        size: height and width of its images, pixels; for a ViT a multiple of its patch.
        stem: `imagenet` (CNN: 7×7 stride 2 and max-pooling; ViT: patches of 16) or `small` (CNN: 3×3 stride 1;
            ViT: patches of 8); `auto` becomes `small` up to 48 px (CNN) or below 128 px (ViT).
        mean: subtracted from pixels in [0, 1].
        std: then divided by; above 0.

    Raises:
        UsageError: a name that is no encoder, or a size that does not fit it.
    """

    name: str
    size: int = 224
    stem: str = "auto"
    mean: float = 0.5
    std: float = 0.25

    def __post_init__(self) -> None:
        choose(self.name, ENCODERS, "--encoder")
        choose(self.stem, ("auto", "imagenet", "small"), "The stem")
        if self.stem == "auto":
            limit = SMALL_VIT if self.is_vit else SMALL_CNN
            object.__setattr__(self, "stem", "small" if self.size <= limit else "imagenet")
        step = self.patch if self.is_vit else 1
        least = max(16, self.stride)
        require(
            self.size >= least and self.size % step == 0,
            f"{self.name} needs images of at least {least} px"
            + (f" and a multiple of {step}" if step > 1 else "")
            + (f", because its weights reduce them {self.stride}-fold" if least > 16 else "")
            + f", but --size is {self.size}.",
            f"Use --size {max(least, round(self.size / step) * step)}.",
        )
        require(self.std > 0, f"The pixel std should be above 0, but is {self.std}.", "Are all images of one grey?")

    @property
    def is_vit(self) -> bool:
        """Whether it is a Vision Transformer."""
        return self.name.startswith("vit")

    @property
    def stride(self) -> int:
        """How many pixels, along each side, become one place of the last map."""
        return self.patch if self.is_vit else 8 if self.stem == "small" else 32

    @property
    def patch(self) -> int:
        """Patch size of a ViT, pixels."""
        return 8 if self.stem == "small" else 16


def _resnet(block: type[BasicBlock | Bottleneck], *depths: int) -> Callable[[EncoderSpec], Encoder]:
    return lambda spec: ResNet(block, depths, small=spec.stem == "small")


def _vit(dim: int, heads: int) -> Callable[[EncoderSpec], Encoder]:
    return lambda spec: VisionTransformer(size=spec.size, patch=spec.patch, dim=dim, depth=12, heads=heads)


ENCODERS: dict[str, Callable[[EncoderSpec], Encoder]] = {
    "resnet18": _resnet(BasicBlock, 2, 2, 2, 2),
    "resnet34": _resnet(BasicBlock, 3, 4, 6, 3),
    "resnet50": _resnet(Bottleneck, 3, 4, 6, 3),
    "densenet121": lambda spec: DenseNet((6, 12, 24, 16), small=spec.stem == "small"),
    "vit_small": _vit(384, 6),
    "vit_base": _vit(768, 12),
}
"""Each encoder's name and what builds it from a spec."""


def build_encoder(spec: EncoderSpec, *, seed: int | None = None) -> Encoder:
    """A fresh encoder, initialised as its paper (ViT) or torchvision (ResNet, DenseNet) does.

    Args:
        spec: which one.
        seed: makes the initialisation reproducible without touching the global random state; None draws from it.
    """
    if seed is None:
        return ENCODERS[spec.name](spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ENCODERS[spec.name](spec)


def normalise(images: Tensor, spec: EncoderSpec) -> Tensor:
    """Images as an encoder wants them, (x − mean) / std with x in [0, 1].

    Args:
        images: (B, 1, H, W) uint8, uint16 (full range) or floating point in [0, 1].
        spec: whose mean and std.

    Returns:
        (B, 1, H, W), float32 (or the floating type given), on the same device.
    """
    if not images.is_floating_point():
        images = images.float() / torch.iinfo(images.dtype).max
    return (images - spec.mean) / spec.std
