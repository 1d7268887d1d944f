"""What a view does to grey values in [0, 1]: brightness, contrast, gamma, blur, solarize, erase.

Hue, saturation and conversion to grey, which the papers' recipes hold, do nothing to a grey image and are left out.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kontrast.views.geometry import draw_crop


def draw_chosen(n: int, probability: float, generator: torch.Generator) -> Tensor:
    """Which samples an operation applies to: (n,) bool."""
    return torch.rand(n, generator=generator) < probability


def draw_factor(n: int, amount: float, generator: torch.Generator) -> Tensor:
    """Factors uniform in [max(0, 1 − amount), 1 + amount]: (n,)."""
    low = max(0.0, 1 - amount)
    return low + (1 + amount - low) * torch.rand(n, generator=generator)


def draw_gamma(n: int, amount: float, generator: torch.Generator) -> Tensor:
    """Exponents log-uniform in [1 / (1 + amount), 1 + amount], so that darker and brighter are as likely: (n,)."""
    return torch.exp(math.log1p(amount) * (2 * torch.rand(n, generator=generator) - 1))


def draw_sigma(n: int, probability: float, sigma: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Standard deviations of a blur, uniform in `sigma`, 0 where not chosen: (n,), in the unit of `sigma`."""
    chosen = draw_chosen(n, probability, generator)
    return chosen * (sigma[0] + (sigma[1] - sigma[0]) * torch.rand(n, generator=generator))


def draw_erase(n: int, probability: float, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Boxes to erase, (n, 4) as `draw_crop` gives them, with aspect ratio 0.3 to 3.3 (Zhong et al. 2020); 0 = none."""
    chosen = draw_chosen(n, probability, generator)
    return draw_crop(n, area, (0.3, 3.3), generator) * chosen[:, None]


def brightness_contrast(x: Tensor, brightness: Tensor | None, contrast: Tensor | None) -> Tensor:
    """Scale grey values, then their distance from the image's mean: c·(b·x) + (1 − c)·mean(b·x).

    Nothing is clamped in between, so that contrast can bring back what brightness pushed over 1.

    Args:
        x: (n, h, w); changed in place.
        brightness: (n,) factors b, None = 1.
        contrast: (n,) factors c, None = 1.
    """
    if brightness is not None:
        x = x.mul_(_each(brightness, x))
    if contrast is not None:
        c = _each(contrast, x)
        mean = x.mean((1, 2), keepdim=True)
        x = x.mul_(c).add_((1 - c) * mean)
    return x


def gamma(x: Tensor, exponent: Tensor) -> Tensor:
    """Raise x, clamped to [0, 1], to (n,) exponents: above 1 darkens."""
    return x.clamp(0, 1).pow(_each(exponent, x))


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, edges mirrored, each kernel cut off at four standard deviations.

    Args:
        x: (n, h, w).
        sigma: (n,) pixels; samples with 0 are left alone.
    """
    chosen = torch.nonzero(sigma > 0)[:, 0]  # found where the parameters are, on the CPU: no waiting for the device
    if len(chosen) == 0:
        return x
    s = sigma[chosen].double()
    reach = (4 * s + 0.5).floor()
    radius = min(int(reach.max()), x.shape[-1] - 1, x.shape[-2] - 1)
    at = torch.arange(-radius, radius + 1, device=s.device)
    kernel = torch.exp(-0.5 * (at / s[:, None]) ** 2) * (at.abs() <= reach[:, None])
    kernel = (kernel / kernel.sum(1, keepdim=True)).float().to(x.device)  # (chosen, 2 radius + 1)
    chosen = chosen.to(x.device)
    y = F.pad(x[chosen][None], (radius,) * 4, mode="reflect")  # samples as channels of one image
    y = F.conv2d(y, kernel[:, None, None, :], groups=len(chosen))
    y = F.conv2d(y, kernel[:, None, :, None], groups=len(chosen))
    return x.index_copy(0, chosen, y[0])


def solarize(x: Tensor, chosen: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert what is at or above `threshold` (128 of 255 in the papers) in the (n,) chosen samples."""
    return torch.where(_each(chosen, x).bool() & (x >= threshold), 1 - x, x)


def erase(x: Tensor, box: Tensor) -> Tensor:
    """Set the pixels whose centres lie in the (n, 4) boxes to 0, the colour of padding."""
    top, left, height, width = box.float().to(x.device)[:, :, None].unbind(1)  # (n, 1) each
    y = (torch.arange(x.shape[1], device=x.device) + 0.5) / x.shape[1]
    z = (torch.arange(x.shape[2], device=x.device) + 0.5) / x.shape[2]
    rows, columns = (y >= top) & (y < top + height), (z >= left) & (z < left + width)
    return x.masked_fill(rows[:, :, None] & columns[:, None, :], 0.0)


def _each(values: Tensor, x: Tensor) -> Tensor:
    """(n,) → (n, 1, 1) on the device and in the type of `x`."""
    return values.to(x.device, x.dtype)[:, None, None]
