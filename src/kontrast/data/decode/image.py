"""What decoding gives, and how it fails."""

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from kontrast.errors import DataError

MAX_PIXELS = 200_000_000
"""Larger images are refused from their header, before memory is taken: a 900 kB PNG can claim 900 megapixels.
The largest radiographs (long-leg, 43 × 130 cm at 0.1 mm) have about 56 megapixels."""

COUNTED = 2**24
"""Up to so much whole numbers are exact in single precision."""


@dataclass(frozen=True)
class Image:
    """One grey radiograph, bone bright.

    Attributes:
        words: (H, W), as the file holds them: uint8 or uint16, or places in a longer table.
        bits: significant bits, 8 to 16: values lie in 0 … 2**bits - 1.
        header: DICOM only: `patient`, `study`, `view`, `sex`, `age`, `modality`, `laterality` (`L`, `R`, `B`), `device`
            (maker and model) and `burned_in` (`yes`, `no`: text in the pixels), None where absent.
        display: the range 0 … 2**bits - 1 is what a viewer shows from black to white (8-bit files; DICOM with a
            window). Otherwise the numbers have no agreed black and white, and `intensity` stretches them.
        polarity: what the file says of its greys: `MONOCHROME1`, `MONOCHROME2`, `MinIsWhite`, `colour`; "" for nothing.
        doubts: what the file does not say, or says twice and differently; in words without anything of its header.
        table: the grey value of each word, uint8 or uint16; None where the words are the grey values.
    """

    words: np.ndarray
    bits: int
    header: dict[str, str | float | None] = field(default_factory=dict)
    display: bool = True
    doubts: tuple[str, ...] = ()
    polarity: str = ""
    table: np.ndarray | None = None

    @cached_property
    def pixels(self) -> np.ndarray:
        """(H, W) grey values, uint8 or uint16."""
        return self.words if self.table is None else by_table(self.words, self.table)


class DecodeError(DataError):
    """A file that cannot become an image; `reason` is short and never quotes the file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, fix="Repair or remove the file; the others go on without it.")
        self.reason = reason


def check_size(height: int, width: int) -> None:
    """Refuse what no radiograph can be.

    Raises:
        DecodeError: no pixels, or more than MAX_PIXELS.
    """
    if height < 1 or width < 1:
        raise DecodeError("no pixels")
    if height * width > MAX_PIXELS:
        raise DecodeError(f"too many pixels ({height * width / 1e6:.0f} MP; the limit is {MAX_PIXELS // 1_000_000})")


def luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) colour to (H, W) grey of the same type: .299 R + .587 G + .114 B (ITU-R BT.601), rounded.

    Grey stored as RGB (Kermany's JPEGs, some NIH PNGs) comes out exactly as it went in, up to one grey level
    where JPEG's chroma is not quite neutral.
    """
    weights = np.array([299, 587, 114], dtype=np.uint32)
    return ((rgb.astype(np.uint32) @ weights + 500) // 1000).astype(rgb.dtype)


def by_table(words: np.ndarray, table: np.ndarray) -> np.ndarray:
    """`table[words]`, in a quarter of NumPy's time where OpenCV does it: for every value of 8 or 16 bits."""
    return cv2.LUT(words, table) if len(table) == 1 << 8 * words.dtype.itemsize else table[words]


def histogram(pixels: np.ndarray) -> np.ndarray:
    """How many pixels have each value, (256,) or (65536,) int64.

    OpenCV counts six times as fast as NumPy, but in single precision: so COUNTED pixels at a time.

    Args:
        pixels: (H, W), uint8 or uint16.
    """
    values = 1 << 8 * pixels.dtype.itemsize
    counts = np.zeros(values, np.int64)
    for part in np.array_split(pixels, -(-pixels.size // COUNTED)):
        counts += cv2.calcHist([part], [0], None, [values], [0, values]).ravel().astype(np.int64)
    return counts
