"""Mean and deviation of a Pack's pixels from whole numbers, which add up to the same figure in any order.

So a run that was interrupted, shared out or went on later gets the same mean to the last bit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kontrast.data.decode import histogram
from kontrast.data.resize import placement
from kontrast.types import CROP, SPLITS


def contents(table: pd.DataFrame, size: int) -> np.ndarray:
    """Where in its square each picture of a Pack's table lies: (n, 4) first row, end row, first column, end column."""
    crops = table[CROP].fillna("") if CROP in table else [""] * len(table)
    places = np.empty((len(table), 4), dtype=np.int64)
    for at, (height, width, crop) in enumerate(zip(table["height"], table["width"], crops, strict=True)):
        if crop:
            height, width = (int(end) - int(first) for first, end in (part.split(":") for part in crop.split(",")))
        rows, columns, top, left = placement(height, width, size)
        places[at] = top, top + rows, left, left + columns
    return places


def pixel_sums(images: np.ndarray, splits: Sequence[str], content: np.ndarray | None) -> dict[str, list[int]]:
    """Exact integer sums over the pictures without their padding: [pixels, Σ value, Σ value²] by split.

    Args:
        images: (n, size, size) uint8 or uint16.
        splits: of each image.
        content: (n, 4) first row, end row, first column, end column of each picture; None: all of it.
    """
    sums: dict[str, list[int]] = {}
    for position, split in enumerate(splits):
        picture = images[position]
        if content is not None:
            top, bottom, left, right = content[position]
            picture = picture[top:bottom, left:right]
        counts = histogram(picture)
        values = np.arange(len(counts), dtype=np.int64)  # Σ value² of an image stays below 2^63 up to 2^31 pixels
        add = (int(counts.sum()), int((counts * values).sum()), int((counts * values * values).sum()))
        total = sums.setdefault(split, [0, 0, 0])
        sums[split] = [a + b for a, b in zip(total, add, strict=True)]
    return sums


def statistics(sums: Sequence[Mapping[str, list[int]]], dtype: str) -> dict[str, Any]:
    """Mean and standard deviation in [0,1] of the train pixels, or of all where nothing is train.

    Args:
        sums: of `pixel_sums`, one a shard, or of earlier shards together.
        dtype: `uint8` or `uint16`.

    Returns:
        `mean`, `std`, `statistics` (`train` or `all`) and `pixels`: the sums of all shards.
    """

    def over(splits: Sequence[str]) -> tuple[int, ...]:
        return tuple(sum(part[split][i] for part in sums for split in splits if split in part) for i in range(3))

    source, (count, total, squares) = "train", over(["train"])
    if not count:
        source, (count, total, squares) = "all", over(SPLITS)
    top = float(np.iinfo(dtype).max)
    mean = total / count if count else 0.0
    variance = max((squares * count - total * total) / (count * count), 0.0) if count else 0.0
    pixels = {split: [sum(p[split][i] for p in sums if split in p) for i in range(3)] for split in SPLITS}
    return {"mean": mean / top, "std": math.sqrt(variance) / top, "statistics": source, "pixels": pixels}
