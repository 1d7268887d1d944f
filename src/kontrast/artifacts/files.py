"""Arrays and tables in an artifact's folder: whole or not there, and the same bytes for the same values."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kontrast.artifacts.disk import atomic


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write a `.npy` file atomically, and notice a full disk: NumPy's own `tofile` can lose the end without an error.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    with atomic(path) as stream:
        array = np.ascontiguousarray(array)
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.reshape(-1).view(np.uint8).data)


def write_planes(path: Path, planes: Mapping[int, np.ndarray], rows: int, size: int) -> None:
    """A (rows, size, size) uint8 `.npy` of 0 and 1, whose empty planes take no space on file systems with sparse files.

    Args:
        path: of the file.
        planes: position → (size, size) bool; the others are 0.
        rows: how many planes there are.
        size: their side, in pixels.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size)})
    with atomic(path) as stream:
        stream.write(header.getvalue())
        start = stream.tell()
        for position in sorted(planes):
            stream.seek(start + position * size * size)
            stream.write(planes[position].astype(np.uint8).tobytes())
        stream.truncate(start + rows * size * size)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically, in UTF-8 with plain line ends."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with atomic(path) as stream:
        stream.write(text.getvalue().encode("utf-8", "surrogateescape"))


def cell(value: Any) -> str:
    """A value as it stands in a table: whole numbers without a point, blank for None and NaN."""
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return ""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)
