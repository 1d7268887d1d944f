"""Where a view looks: crop, flip and antialiased resize as two matrix products, and rotation.

Coordinates are fractions of the image's side, so that what was drawn fits an image of any size. Pixel `i` of a side of
`n` covers [i, i + 1] and has its centre at i + 0.5 (`align_corners=False`).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def draw_crop(n: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Boxes inside the image: (n, 4) float64 of top, left, height, width, as fractions of its sides.

    The area is uniform in `scale`; the aspect ratio (width over height) is log-uniform in that part of `ratio` which
    fits into the image at this area. The usual implementation (Szegedy et al. 2015) draws both and tries again what
    does not fit, which makes large crops rarer than `scale` says; here nothing is rejected.

    Args:
        n: how many.
        scale: smallest and largest area, fractions of the image's, within (0, 1].
        ratio: smallest and largest aspect ratio, around 1.
        generator: on the CPU.
    """
    u = torch.rand(n, 4, generator=generator, dtype=torch.float64)
    area = scale[0] + (scale[1] - scale[0]) * u[:, 0]
    low = area.clamp(min=ratio[0]).log()
    high = (1 / area).clamp(max=ratio[1]).log()
    aspect = torch.exp(low + (high - low) * u[:, 1])
    height = (area / aspect).sqrt().clamp(max=1)
    width = (area * aspect).sqrt().clamp(max=1)
    return torch.stack([u[:, 2] * (1 - height), u[:, 3] * (1 - width), height, width], dim=1)


def draw_flip(n: int, probability: float, generator: torch.Generator) -> Tensor:
    """Which samples are mirrored left to right: (n,) bool."""
    return torch.rand(n, generator=generator) < probability


def draw_angle(n: int, limit: float, generator: torch.Generator) -> Tensor:
    """Angles in degrees, uniform in ±`limit`: (n,) float64."""
    return limit * (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1)


def margin(size: int, limit: float) -> int:
    """Pixels around a view of `size` that a rotation by up to `limit` degrees can reach."""
    angle = math.radians(min(limit, 45.0))
    return 0 if limit == 0 else math.ceil(size / 2 * (math.cos(angle) + math.sin(angle) - 1)) + 1


def crop_resize(images: Tensor, box: Tensor, flip: Tensor, size: int, pad: int = 0) -> Tensor:
    """Crop each image to its box, mirror it if `flip`, resize it: rows · image · columnsᵀ.

    Resizing is linear with antialiasing, as Pillow and `interpolate(antialias=True)` do it: where pixels shrink, the
    triangle widens with them. The pixels just outside the box take part in the filter, as in Pillow's `resize(box=)`.

    Args:
        images: (n, H, W) float.
        box: (n, 4) from `draw_crop`.
        flip: (n,) bool from `draw_flip`.
        size: side of the view in pixels.
        pad: pixels to add on each side, at the same resolution; what lies outside the image is 0.

    Returns:
        (n, size + 2 pad, size + 2 pad)
    """
    _, H, W = images.shape
    rows = _weights(box[:, 0], box[:, 2], torch.zeros_like(flip), H, size, pad, images.device)  # (n, out, H)
    columns = _weights(box[:, 1], box[:, 3], flip, W, size, pad, images.device)  # (n, out, W)
    return torch.bmm(torch.bmm(rows, images), columns.transpose(1, 2))


def _weights(
    start: Tensor, length: Tensor, flip: Tensor, source: int, size: int, pad: int, device: torch.device
) -> Tensor:
    """How much each source pixel gives to each output pixel along one axis: (n, size + 2 pad, source), rows sum to 1.

    The centres are found in float64 where the parameters are (they are few), so that an identity stays one.
    """
    at = (torch.arange(size + 2 * pad, dtype=torch.float64, device=start.device) - pad + 0.5) / size
    at = torch.where(flip[:, None], 1 - at, at)  # (n, out), as a fraction of the box
    centre = (start[:, None] + at * length[:, None]) * source
    reach = (length * source / size).clamp(min=1)[:, None]  # half the triangle's base, in source pixels
    inside = ((centre >= 0) & (centre <= source)).float().to(device)
    pixel = torch.arange(source, dtype=torch.float64, device=start.device) + 0.5
    target, place = (centre / reach).float().to(device), (pixel / reach).float().to(device)
    weights = (target[:, :, None] - place[:, None, :]).abs_().neg_().add_(1).clamp_(min=0)  # (n, out, source)
    return weights.mul_((inside / weights.sum(2).clamp_(min=1e-6))[:, :, None])


def rotate(canvas: Tensor, angle: Tensor, size: int) -> Tensor:
    """Turn about the centre, counter-clockwise for positive angles, bilinear; outside the canvas is 0.

    Args:
        canvas: (n, m, m), a view with its margin, m ≥ size and of the same parity.
        angle: (n,) degrees.
        size: side of what is cut out of the middle.

    Returns:
        (n, size, size)
    """
    m = canvas.shape[-1]
    radians = torch.deg2rad(angle)
    cos, sin = ((f(radians) * 2 / m).float().to(canvas.device)[:, None, None] for f in (torch.cos, torch.sin))
    at = torch.arange(size, device=canvas.device) + 0.5 - size / 2  # pixels from the centre
    x, y = at[None, None, :], at[None, :, None]
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)  # (n, size, size, 2), where to look, in ±1
    return F.grid_sample(canvas[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]
