"""The box around the lungs, and whether it can be trusted.

A box that cuts lung away loses findings for ever, a box that is too large loses a little resolution. So the box holds
what either method found and a margin, and where there is doubt the whole image stays.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kontrast.data.lungs.classical import dark_fields
from kontrast.data.lungs.network import probabilities

MARGIN = 0.1
"""Share of the box's height and width that is added at each of its sides."""
AGREEMENT = 0.85
"""Least Dice of the lungs found on the image and on its mirror image: a network that is lost does not agree with
itself. Chosen on generated radiographs (benchmarks/lungs.py)."""
FULL = 0.8
"""A box above this share of the image is not cut out: there is little to gain, and something to lose."""
AREA = (0.08, 0.75)
"""Share of the image that both lungs together may take."""
SIDES = 0.25
"""Least area of the smaller half of the lungs, as a share of the larger."""
SPECK = 0.1
"""Parts below this share of the largest are no lung."""

Box = tuple[int, int, int, int]
"""First row, end row, first column, end column."""


@dataclass(frozen=True)
class Lungs:
    """Lungs that were found.

    Attributes:
        box: around them, with its margin, in pixels of the image; all of it where they fill it (FULL).
        share: (h, w) float32, how likely each place is lung; over the whole image at the network's resolution.
        confidence: agreement with the mirrored image, 0 to 1.
    """

    box: Box
    share: np.ndarray
    confidence: float

    def mask(self, height: int, width: int, shape: tuple[int, int]) -> np.ndarray:
        """The lungs within the box, as (height, width) bool.

        Args:
            height: of the box as it is shown, in pixels.
            width: likewise.
            shape: (H, W) of the whole image.
        """
        first, end, left, right = self.box
        down, across = self.share.shape[0] / shape[0], self.share.shape[1] / shape[1]
        sy, sx = (end - first) / height * down, (right - left) / width * across
        # Pixel centres lie at one half: from those shown to those of the map.
        inverse = np.array([[sx, 0, left * across + 0.5 * sx - 0.5], [0, sy, first * down + 0.5 * sy - 0.5]])
        shown = cv2.warpAffine(
            self.share, inverse, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return shown > 0.5


def find_lungs(grey: np.ndarray) -> Lungs | None:
    """The lungs of a frontal radiograph, or None where they cannot be told with confidence.

    Args:
        grey: (H, W) uint8 or uint16, bone bright.
    """
    share = probabilities(grey)[0]
    mirrored = probabilities(np.ascontiguousarray(grey[:, ::-1]))[0, :, ::-1]
    agreement = _dice(share > 0.5, mirrored > 0.5)
    share = _without_specks((share + mirrored) / 2)
    lungs = share > 0.5
    if agreement < AGREEMENT or not _like_lungs(lungs):
        return None
    boxes = [_bounds(lungs, grey.shape)]
    dark = dark_fields(grey)
    if dark is not None:
        boxes.append(_bounds(dark, grey.shape))
    boxes.append((*boxes[0][:2], *_even(lungs, grey.shape[1])))
    box = _widened(np.array(boxes), grey.shape)
    if (box[1] - box[0]) * (box[3] - box[2]) > FULL * grey.size:
        box = (0, grey.shape[0], 0, grey.shape[1])
    return Lungs(box, share, round(agreement, 3))


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    both = int(a.sum() + b.sum())
    return 2 * float((a & b).sum()) / both if both else 0.0


def _without_specks(share: np.ndarray) -> np.ndarray:
    count, marks, facts, _ = cv2.connectedComponentsWithStats((share > 0.5).astype(np.uint8))
    if count < 2:
        return share
    areas = facts[1:, cv2.CC_STAT_AREA]
    specks = 1 + np.flatnonzero(areas < SPECK * areas.max())
    return np.where(np.isin(marks, specks), np.float32(0), share)


def _like_lungs(lungs: np.ndarray) -> bool:
    """Two halves side by side, neither much smaller than the other, of a size that lungs have."""
    if not AREA[0] * lungs.size < lungs.sum() < AREA[1] * lungs.size:
        return False
    columns = np.flatnonzero(lungs.any(axis=0))
    rows = np.flatnonzero(lungs.any(axis=1))
    middle = (columns[0] + columns[-1] + 1) / 2
    at = np.arange(lungs.shape[1]) + 0.5 < middle
    halves = sorted((int(lungs[:, at].sum()), int(lungs[:, ~at].sum())))
    return bool(halves[0] >= SIDES * halves[1] and np.ptp(rows) > 0.25 * lungs.shape[0])


def _bounds(mask: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """First row, end row, first column, end column of what is set, in pixels of an image of `shape`."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    down, across = shape[0] / mask.shape[0], shape[1] / mask.shape[1]
    return rows[0] * down, (rows[-1] + 1) * down, columns[0] * across, (columns[-1] + 1) * across


def _even(lungs: np.ndarray, width: int) -> tuple[float, float]:
    """First and end column that reach as far from the midline on either side, in pixels of an image so wide.

    Lungs are about as broad on both sides; fluid, a large heart or a collapsed lung hide the outer part of one from
    the network more often than patients lack it. The midline is where fewest rows show lung between the two halves.
    """
    rows = lungs.sum(axis=0)
    columns = np.flatnonzero(rows)
    left, right = int(columns[0]), int(columns[-1]) + 1
    middle = (left + right) // 2
    before, after = (left + middle) // 2, (middle + right) // 2
    fewest = np.flatnonzero(rows[before:after] == rows[before:after].min()) + before
    midline = float(fewest.mean()) + 0.5
    reach = max(midline - left, right - midline)
    across = width / lungs.shape[1]
    return max(0.0, midline - reach) * across, min(float(lungs.shape[1]), midline + reach) * across


def _widened(boxes: np.ndarray, shape: tuple[int, ...]) -> Box:
    """The box around boxes (n, 4), with its margin, within the image."""
    top, left = boxes[:, 0].min(), boxes[:, 2].min()
    bottom, right = boxes[:, 1].max(), boxes[:, 3].max()
    y, x = MARGIN * (bottom - top), MARGIN * (right - left)
    return (
        max(0, int(np.floor(top - y))), min(shape[0], int(np.ceil(bottom + y))),
        max(0, int(np.floor(left - x))), min(shape[1], int(np.ceil(right + x))),
    )  # fmt: skip
