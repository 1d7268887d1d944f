"""Masks beside a source: one 16-bit PNG per image, one bit per organ or finding; or outlines in JSON (`chexlocalize`).

    masks/legend.json                                     ["Lungs", "Heart", …]: the names, lowest bit first
    masks/train/patient00001/study1/view1_frontal.png     the same path as the image, as .png

`kontrast phantom` writes them so, beside its `train` and `valid` folders.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import cv2
import numpy as np

from kontrast.data.chexlocalize import Outlines
from kontrast.data.decode import DecodeError
from kontrast.data.layouts.files import matching
from kontrast.data.resize import fit_mask
from kontrast.errors import DataError

FOLDER, LEGEND = "masks", "legend.json"


class Masks(Protocol):
    """Masks of a source's images: `names`, and `read(source, size, shape, box)` as `MaskSource` has them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the masks."""

    def read(
        self, source: str, size: int, shape: tuple[int, int], box: tuple[int, int, int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """The masks of one image by name, placed as the image is."""


def find_masks(src: Path, files: Sequence[Path] = ()) -> Masks | None:
    """The masks of a source: outlines that were named, else the PNG files beside it, else its outlines in JSON.

    Raises:
        DataError: a file that is not what its name says.
    """
    return Outlines.of(list(files)) if files else MaskSource.find(src) or Outlines.find(src)


@dataclass(frozen=True)
class MaskSource:
    """Where the masks of a source are.

    Attributes:
        folder: that holds `legend.json`.
        base: the images' folder, as it begins their `source`; "" when that is the source folder itself.
        names: of the masks, lowest bit first; at most 16.
    """

    folder: Path
    base: str
    names: tuple[str, ...]

    @classmethod
    def find(cls, src: Path) -> "MaskSource | None":
        """The masks in `src`, or in its CheXpert folder; None where there are none.

        Raises:
            DataError: a legend that is no list of at most 16 names.
        """
        for base in ("", *(path.name for path in matching(src, "CheXpert-v1.0*"))):
            legend = src / base / FOLDER / LEGEND
            if not legend.is_file():
                continue
            try:
                names = json.loads(legend.read_text(encoding="utf-8"))
            except ValueError:
                names = None
            if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or not 0 < len(names) <= 16:
                raise DataError(
                    f"{legend} should be a list of 1 to 16 names, lowest bit first.",
                    fix="Mend it, or move the masks folder away to go on without masks.",
                )
            return cls(legend.parent, base, tuple(names))
        return None

    def read(
        self, source: str, size: int, shape: tuple[int, int], box: tuple[int, int, int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """The masks of one image, placed as the image is; {} when it has none.

        Args:
            source: the image, relative to the source folder.
            size: side of the Pack's square in pixels.
            shape: (H, W) of the source image, to which a mask of another shape is stretched.
            box: the part of the source image that is shown: first row, end row, first column, end column.

        Returns:
            name → (size, size) bool, without the empty ones.

        Raises:
            DecodeError: the file is there but cannot be read.
        """
        inner = PurePosixPath(source)
        if self.base:
            if inner.parts[0] != self.base:
                return {}
            inner = inner.relative_to(self.base)
        path = self.folder / inner.with_suffix(".png")
        if not path.is_file():
            return {}
        planes = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if planes is None or planes.ndim != 2:
            raise DecodeError("its mask cannot be read")
        fitted = {}
        for bit, name in enumerate(self.names):
            plane = (planes.astype(np.uint16) >> np.uint16(bit)) & 1
            if plane.any() and (mask := fit_mask(plane, size, shape, box)).any():
                fitted[name] = mask
        return fitted
