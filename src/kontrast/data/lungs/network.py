"""A small U-Net in NumPy: where the lungs and the heart are.

Written out here because the processes that read files would otherwise load torch: seconds and hundreds of megabytes
each, for a network that takes milliseconds. Trained on generated radiographs alone (`benchmarks/lungs_training.py`).
"""

import functools
from pathlib import Path

import cv2
import numpy as np

from kontrast.data.resize import fit, placement

SIDE = 64
"""Side of the square that the network sees, in pixels."""
CHANNELS = (12, 24, 32, 48)
"""Channels of each level, from SIDE / 2 pixels down to SIDE / 16."""
WEIGHTS = Path(__file__).with_name("unet.safetensors")


def stretch(picture: np.ndarray) -> np.ndarray:
    """Grey values between their percentiles 1 and 99 to 0 … 1, padding and frames (exactly 0) left out of the count.

    Args:
        picture: any shape and scale, float32.

    Returns:
        float32 of the same shape.
    """
    shown = picture[picture > 0]
    if not shown.size:
        return np.zeros_like(picture, dtype=np.float32)
    low, high = np.percentile(shown, (1, 99))
    return np.clip((picture - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)


def probabilities(grey: np.ndarray) -> np.ndarray:
    """How likely each place is lung, and heart.

    Args:
        grey: (H, W) uint8 or uint16, bone bright.

    Returns:
        (2, h, w) float32 in [0, 1]: lungs and heart over the whole image, shrunk so that its longer side is SIDE.
    """
    height, width, top, left = placement(grey.shape[0], grey.shape[1], SIDE)
    logits = forward(stretch(fit(grey, SIDE).astype(np.float32)), weights())
    shares = 1 / (1 + np.exp(-logits))
    return shares[:, top : top + height, left : left + width]


@functools.cache
def weights() -> dict[str, np.ndarray]:
    """The weights in the package, float32."""
    from safetensors.numpy import load_file

    return {name: value.astype(np.float32) for name, value in load_file(WEIGHTS).items()}


def forward(picture: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """Logits (2, SIDE, SIDE) of a picture (SIDE, SIDE) in [0, 1].

    Two 3 × 3 convolutions a level down, one a level up, each normalised (folded into its weights) and rectified; the
    first level works on 2 × 2 pixels as channels, and the head gives as many back.
    """
    x = picture.reshape(SIDE // 2, 2, SIDE // 2, 2).transpose(1, 3, 0, 2).reshape(4, SIDE // 2, SIDE // 2)
    levels = []
    for level in range(len(CHANNELS)):
        if level:
            c, side = x.shape[:2]
            x = x.reshape(c, side // 2, 2, side // 2, 2).max(axis=(2, 4))
        for i in range(2):
            x = np.maximum(_conv3(x, w[f"down.{level}.{i}.weight"], w[f"down.{level}.{i}.bias"]), 0)
        levels.append(x)
    for level, skip in enumerate(levels[-2::-1]):
        x = np.concatenate([x.repeat(2, axis=1).repeat(2, axis=2), skip])
        x = np.maximum(_conv3(x, w[f"up.{level}.0.weight"], w[f"up.{level}.0.bias"]), 0)
    side = x.shape[1]
    x = (w["head.weight"][:, :, 0, 0] @ x.reshape(len(x), -1) + w["head.bias"][:, None]).reshape(2, 2, 2, side, side)
    return x.transpose(0, 3, 1, 4, 2).reshape(2, SIDE, SIDE)


def _conv3(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A 3 × 3 convolution with zero padding: (C, H, W) → (D, H, W); one matrix product over the nine neighbours."""
    c, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # (C, H, W, 3, 3)
    columns = views.transpose(0, 3, 4, 1, 2).reshape(9 * c, height * width)
    return (weight.reshape(len(weight), -1) @ columns + bias[:, None]).reshape(-1, height, width)


def enlarged(share: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map of `probabilities` at another size, bilinear: (height, width) float32."""
    return cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
