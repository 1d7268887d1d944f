"""Lungs by threshold: the two dark fields that lie side by side within the body.

No training and no weights, so it fails in other ways than the network: it knows aerated lung alone, and takes air
outside the body for it where nothing bright lies between.
"""

import cv2
import numpy as np

SIDE = 128
"""Longer side at which it works, in pixels."""


def dark_fields(grey: np.ndarray) -> np.ndarray | None:
    """The lungs as (h, w) bool over the whole image, longer side SIDE; None where no two fields look like lungs.

    Otsu's threshold splits a smoothed image in dark and bright; what is dark and reaches the image's left, right or
    upper edge is the air around the body; of the rest the two largest fields are the lungs if they have the shape
    and place of lungs.

    Args:
        grey: (H, W) uint8 or uint16, bone bright.
    """
    scale = SIDE / max(grey.shape)
    size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = np.percentile(small, (1, 99))
    small = np.clip((small - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    small = cv2.GaussianBlur(small, (0, 0), 2)
    _, dark = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    dark = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, marks, facts, centres = cv2.connectedComponentsWithStats(dark)
    height, width = dark.shape
    fields = []
    for mark in range(1, count):
        left, top, w, _, area = facts[mark]
        if left > 0 and top > 0 and left + w < width and area > 0.03 * height * width:
            fields.append((int(area), mark))
    if len(fields) < 2:
        return None
    (large, first), (small_area, second) = sorted(fields, reverse=True)[:2]
    (ax, ay), (bx, by) = centres[first], centres[second]
    side_by_side = abs(ax - bx) > 0.15 * width and abs(ay - by) < 0.25 * height
    if not side_by_side or small_area < 0.3 * large or large + small_area > 0.7 * height * width:
        return None
    both = np.isin(marks, (first, second)).astype(np.uint8)
    # Ribs and vessels leave holes and notches; a closing as wide as a rib fills them.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    return cv2.morphologyEx(both, cv2.MORPH_CLOSE, disc) > 0
