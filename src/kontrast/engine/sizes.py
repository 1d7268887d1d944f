"""Images of several sizes and depths as tensors of one, and the room there is for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kontrast import console

if TYPE_CHECKING:
    from kontrast.artifacts.pack import Pack


def to_tensor(images: np.ndarray) -> Tensor:
    """(n, H, W) uint8 → (n, 1, H, W) uint8; uint16 (full range) → float32 in [0, 1]."""
    if images.dtype == np.uint16:
        return torch.from_numpy(images.astype(np.float32) / 65535)[:, None]
    return torch.from_numpy(np.ascontiguousarray(images))[:, None]


def resize(images: Tensor, size: int) -> Tensor:
    """(n, 1, H, W) → (n, 1, size, size) with antialiasing, in the type given."""
    if images.shape[-1] == size:
        return images
    out = functional.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return out.round().clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else out


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on the device now; 0 where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as stream:
            facts = dict(line.split(":", 1) for line in stream)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def common_size(packs: "Sequence[Pack]", size: int | None) -> int:
    """The size at which several Packs are trained on together; what is resized is said.

    Args:
        packs: at least one.
        size: wanted, pixels; None for the smallest Pack's.
    """
    sizes = sorted({pack.size for pack in packs})
    if size is None:
        size = sizes[0]
        reason = "the Packs' size" if len(sizes) == 1 else f"the smallest of the Packs' sizes {sizes}"
        console.decided("--size", size, reason)
    if sizes[-1] > size:
        console.say(f"  Packs of {', '.join(str(s) for s in sizes if s > size)} px are reduced to {size} px.")
    if sizes[0] < size:
        console.warn(f"Packs of {', '.join(str(s) for s in sizes if s < size)} px are enlarged to {size} px.")
    return size
