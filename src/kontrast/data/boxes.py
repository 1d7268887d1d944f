"""Boxes around findings, brought to the pixels of a Pack; and NIH ChestX-ray14's list of them (Wang et al. 2017)."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from kontrast.config import nearest
from kontrast.data.columns import stem
from kontrast.data.resize import placement
from kontrast.data.vocabulary import standard

FILE = "BBox_List_2017.csv"
COLUMNS = ("image_id", "finding", "x", "y", "width", "height")
DRAWN_ON = 1024
"""Pixels of the square originals that the boxes are given in; smaller copies are scaled."""


def find_boxes(src: Path) -> pd.DataFrame | None:
    """NIH's boxes, 984 on 880 images, as `Records.boxes` has them; None where the list is not there."""
    path = src / FILE
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    # The header reads `Image Index,Finding Label,Bbox [x,y,w,h],,,`: its own commas split the last column in four.
    table = table.iloc[:, :6]
    table.columns = ["file", "finding", "x", "y", "width", "height"]
    numbers = ["x", "y", "width", "height"]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    return table.dropna().assign(square=DRAWN_ON)


def place_boxes(
    boxes: pd.DataFrame, images: dict[str, tuple[str, int, int]], findings: tuple[str, ...], size: int
) -> Iterator[tuple[str, str, float, float, float, float]]:
    """Boxes in a Pack's pixels, for the images that are in it.

    Args:
        boxes: see `Records.boxes`.
        images: source → (image_id, height, width of the source).
        findings: the Pack's; the box list's own spelling (`Infiltrate`) is brought to theirs where one is near.
        size: side of the Pack's square in pixels.
    """
    by_name = {stem(source): image for source, image in images.items()}
    for file, finding, *box, square in boxes.itertuples(index=False):
        if stem(file) not in by_name:
            continue
        image_id, height, width = by_name[stem(file)]
        _, new_width, top, left = placement(height, width, size)
        # Copies of square originals: one scale for both sides, and padding only where they were cropped.
        scale = new_width / (square or width)
        x, y, w, h = (round(value * scale, 2) for value in box)
        name = standard(finding)
        yield image_id, name if name in findings else nearest(name, findings) or name, x + left, y + top, w, h
