"""Small images side by side in one picture, to be looked at beside the data or the weights that they explain."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from kontrast.apart import borrowed
from kontrast.data.decode import DecodeError, decode
from kontrast.data.intensity import to_uint8
from kontrast.data.preparation import Treatment, prepare_image

CELL, GAP, PAPER = 144, 6, 255
SHOWN = 6
"""Images in a preview."""


def sheet(rows: Sequence[Sequence[np.ndarray]], cell: int = CELL) -> np.ndarray:
    """Images in rows on white, each fitted into its cell with its own aspect.

    Args:
        rows: equally many images a row, each (h, w) uint8.
        cell: side of a cell in pixels.

    Returns:
        (H, W) uint8.
    """
    high, wide = len(rows), max(len(row) for row in rows)
    step = cell + GAP
    picture = np.full((high * step - GAP, wide * step - GAP), PAPER, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            scale = cell / max(image.shape)
            height, width = (max(1, round(side * scale)) for side in image.shape)
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            top, left = i * step + (cell - height) // 2, j * step + (cell - width) // 2
            picture[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=way)
    return picture


def png(picture: np.ndarray) -> bytes:
    """A picture, (H, W) uint8, as the bytes of a PNG file, the same ones each time and with nothing else in it."""
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def before_and_after(src: Path, sources: Sequence[str], treatment: Treatment) -> np.ndarray | None:
    """Source images, as decoded and in their own shape, above the same images as they are packed.

    Args:
        src: the source folder.
        sources: the training images, in the Pack's order; six of them are shown, evenly spaced.
        treatment: what `prepare` does to each.

    Returns:
        (H, W) uint8, or None when there are none to show.
    """
    places = np.unique(np.linspace(0, len(sources) - 1, SHOWN).round().astype(int)).tolist() if sources else []
    jobs = [(src, sources[place], treatment) for place in places]
    with borrowed() as apart:  # files from anywhere are never decoded in this process
        pairs = [pair for pair in apart.map(_pair, jobs) if isinstance(pair, tuple)]
    return sheet([[before for before, _ in pairs], [after for _, after in pairs]]) if pairs else None


def _pair(src: Path, source: str, treatment: Treatment) -> tuple[np.ndarray, np.ndarray] | None:
    """An image as decoded and as packed, or None: it could be read a moment ago, and a picture is not worth the run."""
    try:
        image = to_uint8(decode(src / source))
        packed = prepare_image(src, source, treatment).pixels
    except DecodeError:
        return None
    return image, packed if packed.dtype == np.uint8 else (packed >> 8).astype(np.uint8)
