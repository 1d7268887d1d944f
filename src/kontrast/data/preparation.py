"""One source file into one square of grey values, and many of them in a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from kontrast.apart import Ended, borrowed
from kontrast.data.decode import DecodeError, decode_and_hash, measure
from kontrast.data.intensity import denoise, equalize, to_uint8, to_uint16
from kontrast.data.lungs import find_lungs
from kontrast.data.masks import Masks
from kontrast.data.resize import fit, placement

LUNGS = "lungs"
"""Name of the mask of the lungs that were found."""
SAMPLE = 64
LARGEST_AUTO = 320
"""Chest radiographs gain little above 320 px but for nodules and pneumothorax, and cost with the square of it
(Haque et al. 2023; Sabottke and Spieler 2020: best between 256 and 448)."""


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """What is done to every image.

    Attributes:
        size: side of the square in pixels.
        dtype: `uint8` or `uint16`.
        denoise: see `intensity.denoise`.
        equalize: see `intensity.equalize`.
        crop: `none`, or `lungs`: to the box around the lungs, where they are found with confidence.
    """

    size: int
    dtype: str = "uint8"
    denoise: str = "none"
    equalize: str = "none"
    crop: str = "none"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An image ready to be packed.

    Attributes:
        pixels: (size, size), padding 0.
        content: (4,) first row, end row, first column, end column of the picture within its padding.
        height: of the source image, in pixels.
        width: of the source image, in pixels.
        sha256: of the source file.
        masks: name → (size, size) bool, the empty ones left out; with `crop` the lungs that were found, as `lungs`,
            unless the source has a mask of that name.
        crop: what of the source image is shown: first row, end row, first column, end column; None: all of it.
    """

    pixels: np.ndarray
    content: tuple[int, int, int, int]
    height: int
    width: int
    sha256: str
    masks: dict[str, np.ndarray]
    crop: tuple[int, int, int, int] | None = None


def prepare_image(src: Path, source: str, treatment: Treatment, masks: Masks | None = None) -> Prepared:
    """Decode, crop, fit to the square, then clean the picture (never its padding).

    Cleaning comes after resizing: at the size that is used it costs a hundredth of what it costs at 3000 px, and
    averaging over areas has taken most of the noise away.

    Raises:
        DecodeError: the image, or its mask, cannot be read.
    """
    image, sha256 = decode_and_hash(src / source)
    grey = to_uint16(image) if treatment.dtype == "uint16" else to_uint8(image)
    shape = grey.shape
    lungs = find_lungs(grey) if treatment.crop == "lungs" else None
    if lungs is not None:
        first, end, before, after = lungs.box
        grey = np.ascontiguousarray(grey[first:end, before:after])
    square = fit(grey, treatment.size)
    rows, columns, top, left = placement(grey.shape[0], grey.shape[1], treatment.size)
    picture = square[top : top + rows, left : left + columns]
    if (treatment.denoise, treatment.equalize) != ("none", "none"):
        clean = denoise(np.ascontiguousarray(picture), treatment.denoise)
        picture[:] = equalize(clean, treatment.equalize)
    box = lungs.box if lungs else None
    found = masks.read(source, treatment.size, shape, box) if masks else {}
    if lungs is not None and LUNGS not in found:
        found[LUNGS] = np.zeros(square.shape, bool)
        found[LUNGS][top : top + rows, left : left + columns] = lungs.mask(rows, columns, shape)
    return Prepared(
        pixels=square,
        content=(top, top + rows, left, left + columns),
        height=shape[0],
        width=shape[1],
        sha256=sha256,
        masks=found,
        crop=box,
    )


def prepare_images(
    src: Path, sources: Sequence[str], treatment: Treatment, masks: Masks | None = None
) -> list[Prepared | str]:
    """`prepare_image` for each source; what fails gives its reason instead, and the others go on.

    Files are read in a process apart: one that crashes its decoder, hangs it or takes all memory costs that file.

    Args:
        src: the source folder.
        sources: paths relative to it.
        treatment: what is done to each.
        masks: where their masks are, if anywhere.
    """
    jobs = [(src, source, treatment, masks) for source in sources]
    with borrowed() as apart:
        return [done.how if isinstance(done, Ended) else done for done in apart.map(_prepared, jobs)]


def _prepared(src: Path, source: str, treatment: Treatment, masks: Masks | None) -> Prepared | str:
    cv2.setNumThreads(1)  # others work beside this process
    try:
        return prepare_image(src, source, treatment, masks)
    except DecodeError as error:
        return error.reason


def suggest_size(src: Path, sources: Sequence[str]) -> tuple[int, str]:
    """The size of a Pack whose size was left open, and why.

    The middle of the longer sides of up to 64 images, evenly spaced, rounded down to a multiple of 32 (what encoders
    halve five times), at most 320.
    """
    step = max(1, len(sources) // SAMPLE)
    jobs = [(src / source,) for source in sources[::step][:SAMPLE]]
    with borrowed() as apart:
        sides = [side for side in apart.map(_longer_side, jobs) if isinstance(side, int)]
    if not sides:
        return LARGEST_AUTO, f"none of the {len(jobs)} images looked at could be read"
    middle = int(median(sides))
    if middle > LARGEST_AUTO:
        return LARGEST_AUTO, f"longer sides are about {middle} px; above 320 little is gained for most findings"
    size = max(32, middle // 32 * 32)
    return size, f"longer sides are about {middle} px; a multiple of 32 not above that"


def _longer_side(path: Path) -> int | None:
    try:
        return max(measure(path))
    except DecodeError:
        return None
