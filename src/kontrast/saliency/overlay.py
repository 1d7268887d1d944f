"""A heat map over its image, as a picture."""

import cv2
import numpy as np

SHOWN = 224
"""Smaller images are enlarged to at least this side, so that they can be looked at."""

CONTOUR = (255, 220, 0)
"""Cyan, as OpenCV orders colours (B, G, R): found neither in grey images nor in the heat's purple to yellow."""


def overlay(image: np.ndarray, heat: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The image beside itself under the heat map, the true place outlined in both.

    Args:
        image: (S, S) uint8 grey.
        heat: (S, S) in [0, 1]; 0 leaves the image as it is, 1 covers it by 60 %.
        mask: (S, S) bool, the true place, or None.

    Returns:
        (k S, 2 k S, 3) uint8, B, G, R as OpenCV has it; k is 1 from 224 pixels on.
    """
    side = len(image) * max(1, -(-SHOWN // len(image)))
    grey = cv2.cvtColor(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    large = cv2.resize(heat.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    colour = cv2.applyColorMap(np.rint(large.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    alpha = 0.6 * large[:, :, None].clip(0, 1)
    picture = np.concatenate([grey, np.rint((1 - alpha) * grey + alpha * colour).astype(np.uint8)], axis=1)
    if mask is not None and mask.any():
        enlarged = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for offset in (0, side):
            cv2.drawContours(picture, outlines, -1, CONTOUR, 1, offset=(offset, 0))
    return picture


def png(picture: np.ndarray) -> bytes:
    """A picture, (H, W, 3) B, G, R or (H, W) uint8, as the bytes of a PNG file."""
    return cv2.imencode(".png", picture)[1].tobytes()
