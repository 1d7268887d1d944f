"""Whole views: the ranges (View), what was drawn from them (ViewParams), and how it is applied."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kontrast.views import cpu, geometry, intensity
from kontrast.views.masks import MaskSpec

_CELLS = 2**26
"""Elements of one operand that are taken at once on a GPU, so that a large batch does not fill its memory."""


@dataclass(frozen=True)
class ViewSpec:
    """How many views of each image a method needs.

    Attributes:
        globals: views of (nearly) the whole image.
        locals: small crops at a lower resolution (multi-crop, Caron et al. 2020).
        masks: which patches of the global views are hidden; None for none.
    """

    globals: int = 2
    locals: int = 0
    masks: MaskSpec | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """The ranges of one random view. Defaults change nothing but the size.

    Attributes:
        size: side in pixels.
        scale: area of the crop, smallest and largest, as a fraction of the image.
        ratio: aspect ratio of the crop, width over height.
        flip: probability of mirroring left to right.
        rotate: largest angle in degrees, either way.
        jitter: probability that brightness, contrast and gamma change; they change together.
        brightness: largest change of the factor from 1.
        contrast: likewise.
        gamma: exponents lie between 1 / (1 + gamma) and 1 + gamma.
        blur: probability of a Gaussian blur.
        sigma: its standard deviation in pixels of a view of 224, scaled with the view, so that 64 px are not blurred
            three times as much.
        solarize: probability of inverting what is brighter than 0.5.
        erase: probability of erasing a rectangle.
        erased: its area as a fraction of the view.
    """

    size: int = 224
    scale: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    rotate: float = 0.0
    jitter: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    erase: float = 0.0
    erased: tuple[float, float] = (0.02, 0.2)


@dataclass(frozen=True, kw_only=True)
class ViewParams:
    """What was drawn for n samples; tensors on the CPU with leading n, None = the operation is off.

    Attributes:
        limit: the largest angle that could have been drawn, in degrees: the margin to keep for rotation must not
            depend on who shares the batch.
        box: (n, 4) top, left, height, width of the crop, as fractions.
        flip: (n,) bool.
        angle: (n,) degrees, counter-clockwise.
        brightness: (n,) factors.
        contrast: (n,) factors.
        gamma: (n,) exponents.
        sigma: (n,) standard deviation of the blur as a fraction of the view's side, 0 = none.
        solarize: (n,) bool.
        erase: (n, 4) like `box`, 0 = none.
    """

    limit: float
    box: Tensor
    flip: Tensor
    angle: Tensor | None = None
    brightness: Tensor | None = None
    contrast: Tensor | None = None
    gamma: Tensor | None = None
    sigma: Tensor | None = None
    solarize: Tensor | None = None
    erase: Tensor | None = None

    def __len__(self) -> int:
        return len(self.box)

    def slice(self, start: int, stop: int) -> "ViewParams":
        """The parameters of samples start … stop − 1."""
        drawn = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        part: dict[str, Any] = {k: v[start:stop] for k, v in drawn.items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **part)


def draw(view: View, n: int, generator: torch.Generator) -> ViewParams:
    """Draw the parameters of n views, operation by operation, always in the same order.

    Args:
        view: the ranges.
        n: how many samples.
        generator: on the CPU; the only source of chance.
    """
    box = geometry.draw_crop(n, view.scale, view.ratio, generator)
    flip = geometry.draw_flip(n, view.flip, generator)
    angle = geometry.draw_angle(n, view.rotate, generator) if view.rotate else None
    chosen = intensity.draw_chosen(n, view.jitter, generator)

    def jitter(factor: Tensor) -> Tensor:
        return torch.where(chosen, factor, torch.ones(()))

    return ViewParams(
        limit=view.rotate,
        box=box,
        flip=flip,
        angle=angle,
        brightness=jitter(intensity.draw_factor(n, view.brightness, generator)) if view.brightness else None,
        contrast=jitter(intensity.draw_factor(n, view.contrast, generator)) if view.contrast else None,
        gamma=jitter(intensity.draw_gamma(n, view.gamma, generator)) if view.gamma else None,
        sigma=intensity.draw_sigma(n, view.blur, view.sigma, generator) / 224 if view.blur else None,
        solarize=intensity.draw_chosen(n, view.solarize, generator) if view.solarize else None,
        erase=intensity.draw_erase(n, view.erase, view.erased, generator) if view.erase else None,
    )


@torch.no_grad()
def apply(images: Tensor, params: ViewParams, size: int) -> Tensor:
    """Make the views that `params` describe, where the images are.

    In order: crop, flip, resize; rotate; blur; brightness, contrast; gamma; solarize; erase; clamp. On a CPU by
    `cpu.apply`, elsewhere by `apply_tensors`; what they give differs by rounding.

    Args:
        images: (n, 1, H, W), uint8, or float in [0, 1].
        params: drawn for these n samples.
        size: side of the views in pixels.

    Returns:
        (n, 1, size, size) float32 in [0, 1].

    Raises:
        ValueError: images of another shape or number.
    """
    n, channels, _, _ = images.shape
    if channels != 1 or n != len(params):
        raise ValueError(f"Expected ({len(params)}, 1, H, W) images for these parameters, got {tuple(images.shape)}.")
    if images.device.type != "cpu":
        return apply_tensors(images, params, size)
    source = (images if images.dtype == torch.uint8 else images.float())[:, 0].numpy()
    views = cpu.apply(source, params, size, torch.get_num_threads())
    return torch.from_numpy(views)[:, None]


@torch.no_grad()
def apply_tensors(images: Tensor, params: ViewParams, size: int) -> Tensor:
    """`apply` in tensor operations, for any device."""
    n, _, H, W = images.shape
    pad = geometry.margin(size, params.limit)
    chunk = max(1, _CELLS // ((size + 2 * pad) * max(H, W)))
    views = torch.empty(n, 1, size, size, device=images.device)
    with torch.autocast(images.device.type, enabled=False):  # 8 bits of bfloat16 would show as grey steps
        for start in range(0, n, chunk):
            part = slice(start, start + chunk)
            views[part, 0] = _apply(images[part, 0], params.slice(start, start + chunk), size, pad)
    return views


def _apply(images: Tensor, params: ViewParams, size: int, pad: int) -> Tensor:
    x = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    x = geometry.crop_resize(x, params.box, params.flip, size, pad)
    if params.angle is not None:
        x = geometry.rotate(x, params.angle, size)
    if params.sigma is not None:
        x = intensity.blur(x, params.sigma * size)
    x = intensity.brightness_contrast(x, params.brightness, params.contrast)
    if params.gamma is not None:
        x = intensity.gamma(x, params.gamma)
    if params.solarize is not None:
        x = intensity.solarize(x, params.solarize)
    if params.erase is not None:
        x = intensity.erase(x, params.erase)
    return x.clamp_(0, 1)
