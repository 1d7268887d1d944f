"""CheXlocalize's outlines of findings (Saporta et al. 2022): a JSON file of segmentations or of contours.

    {"patient64541_study1_view1_frontal": {"Edema": {"size": [h, w], "counts": "…"}, …}, …}      segmentations
    {"patient64541_study1_view1_frontal": {"img_size": [h, w], "Edema": [[[x, y], …], …]}, …}    contours

Segmentations are run lengths in COCO's compressed form (`pycocotools`): down the columns, of 0 and 1 in turn, beginning
with 0; from the fourth on each as its difference from the one before the last; a number in groups of five bits, the
lowest first, each group plus 48 a character, with 32 added where another follows, the highest bit of the last its sign.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from kontrast.data.decode import DecodeError
from kontrast.data.resize import fit_mask
from kontrast.errors import DataError

NAMED = {"Airspace Opacity": "Lung Opacity"}
"""Findings that CheXlocalize calls otherwise than CheXpert's tables do."""

PATTERNS = ("gt_segmentations*.json", "gt_annotations*.json")
"""Names under which a source is searched for them, in itself and in its folder `CheXlocalize`; segmentations first."""


@dataclass(frozen=True)
class Outlines:
    """Where outlines of findings are.

    Attributes:
        files: JSON files; where several outline an image, the first counts.
        names: findings that some image has an outline of.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, files: "tuple[Path, ...] | list[Path]") -> "Outlines":
        """The outlines in some files.

        Raises:
            DataError: a file that is missing, no JSON, or not of either form.
        """
        found = dict.fromkeys(name for file in files for image in _load(file).values() for name in image)
        return cls(tuple(files), tuple(NAMED.get(name, name) for name in found if name != "img_size"))

    @classmethod
    def find(cls, src: Path) -> "Outlines | None":
        """The outlines beside a source's images, under the names of CheXlocalize; None where there are none."""
        for pattern in PATTERNS:
            for folder in (src, src / "CheXlocalize", src.parent / "CheXlocalize"):
                if files := sorted(folder.glob(pattern)):
                    return cls.of(files)
        return None

    def read(
        self, source: str, size: int, shape: tuple[int, int], box: tuple[int, int, int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """The masks of one image, placed as the image is; {} when it has none.

        Args:
            source: the image, `…/patient64541/study1/view1_frontal.jpg`.
            size: side of the Pack's square in pixels.
            shape: (H, W) of the source image, to which outlines drawn on a larger copy are brought.
            box: the part of the source image that is shown: first row, end row, first column, end column.

        Returns:
            name → (size, size) bool, without the empty ones.

        Raises:
            DecodeError: an outline that cannot be read.
        """
        key = "_".join(PurePosixPath(source).with_suffix("").parts[-3:])
        image: dict[str, Any] = next((found for file in self.files if (found := _load(file).get(key))), {})
        fitted = {}
        for name, outline in image.items():
            if name == "img_size":
                continue
            try:
                mask = decode(outline) if isinstance(outline, dict) else fill(outline, image["img_size"])
            except (KeyError, ValueError, TypeError, IndexError):
                raise DecodeError(f"its outline of {name} cannot be read") from None
            if mask.any() and (placed := fit_mask(mask, size, shape, box)).any():
                fitted[NAMED.get(name, name)] = placed
        return fitted


@functools.lru_cache(maxsize=4)
def _load(path: Path) -> dict[str, dict[str, Any]]:
    """A file's outlines; kept, since every worker asks for one image after the other."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(found, dict) and all(isinstance(image, dict) for image in found.values())
    except OSError:
        raise DataError(f"{path} cannot be read.", fix="Name an existing file with --places.") from None
    except ValueError:
        whole = False
    if not whole:
        raise DataError(
            f"{path} holds no outlines: an object of images, each an object of findings, is expected.",
            fix="Give CheXlocalize's gt_segmentations_….json or gt_annotations_….json.",
        )
    return found


def decode(outline: dict[str, Any]) -> np.ndarray:
    """A segmentation, `size` (h, w) and `counts` (COCO's string, or a list of run lengths), as (h, w) bool.

    Raises:
        ValueError: run lengths that do not add up to the size.
    """
    height, width = (int(side) for side in outline["size"])
    counts = outline["counts"]
    runs = _run_lengths(counts) if isinstance(counts, str) else [int(run) for run in counts]
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError("run lengths do not fit the size")
    values = np.arange(len(runs)) % 2 == 1  # of 0 and 1 in turn
    return np.repeat(values, runs).reshape(width, height).T


def _run_lengths(text: str) -> list[int]:
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError("a character that no run length has")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("the last run length is cut short")
    return runs


def fill(contours: list[list[list[float]]], size: list[int]) -> np.ndarray:
    """Contours of [x, y] in pixels, filled on an image of (h, w): (h, w) bool, where any of them encloses."""
    height, width = (int(side) for side in size)
    canvas = np.zeros((height, width), np.uint8)
    for contour in contours:
        # OpenCV names pixels by their centres; 4 of the bits are fractions of a pixel.
        points = np.rint(np.asarray(contour, dtype=np.float64).reshape(-1, 1, 2) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [points], 1, shift=4)
    return canvas > 0
