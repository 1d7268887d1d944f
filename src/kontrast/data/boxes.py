"""Boxes around findings, brought to the pixels of a Pack: NIH ChestX-ray14's list (Wang et al. 2017), or yours.

A table of your own has the columns `image, finding, x, y, width, height`: the image's file name or path, and the box's
left upper corner and sides in pixels of that image.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from kontrast.config import nearest
from kontrast.data.columns import stem
from kontrast.data.resize import placement
from kontrast.data.vocabulary import standard
from kontrast.errors import DataError

FILE = "BBox_List_2017.csv"
COLUMNS = ("image_id", "finding", "x", "y", "width", "height")
DRAWN_ON = 1024
"""Pixels of the square originals that the boxes are given in; smaller copies are scaled."""


OWN = ["image", "finding", "x", "y", "width", "height"]
"""Columns of a table of boxes that is not NIH's."""


def find_boxes(src: Path, files: Sequence[Path] = ()) -> pd.DataFrame | None:
    """The boxes of a source as `Records.boxes` has them; None without. NIH's are 984 on 880 images.

    Args:
        src: searched for NIH's list, unless files are named.
        files: tables of boxes, NIH's or your own.

    Raises:
        DataError: a named file that is missing or not like either.
    """
    tables = [read_boxes(path) for path in files or [src / FILE] if files or path.is_file()]
    return pd.concat(tables, ignore_index=True) if tables else None


def read_boxes(path: Path) -> pd.DataFrame:
    """One table of boxes, as `find_boxes` gives it."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError):  # no file, or no table
        raise DataError(f"{path} cannot be read as a table of boxes.", fix="Name a CSV file with --places.") from None
    if set(OWN) <= set(table.columns):
        table = table[OWN].rename(columns={"image": "file"}).assign(square=0)
    elif list(table.columns[:2]) == ["Image Index", "Finding Label"] and table.shape[1] >= 6:
        # The header reads `Image Index,Finding Label,Bbox [x,y,w,h],,,`: its own commas split the last column in four.
        table = table.iloc[:, :6].set_axis(["file", *OWN[1:]], axis=1).assign(square=DRAWN_ON)
    else:
        raise DataError(
            f"{path} is no table of boxes: it has the columns {', '.join(map(str, table.columns[:8]))}.",
            fix=f"Give NIH's {FILE}, or a table with the columns {', '.join(OWN)}.",
        )
    numbers = OWN[2:]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    return table.dropna(subset=["file", "finding", *numbers])


def place_boxes(
    boxes: pd.DataFrame, images: dict[str, tuple[str, int, int, str]], findings: tuple[str, ...], size: int
) -> Iterator[tuple[str, str, float, float, float, float]]:
    """Boxes in a Pack's pixels, for the images that are in it.

    Args:
        boxes: see `Records.boxes`.
        images: source → (image_id, height and width of the source, its row's CROP or "").
        findings: the Pack's; the box list's own spelling (`Infiltrate`) is brought to theirs where one is near.
        size: side of the Pack's square in pixels.
    """
    by_name = {stem(source): image for source, image in images.items()} | images  # a path names one, before a name
    for file, finding, *box, square in boxes.itertuples(index=False):
        found = by_name.get(file) or by_name.get(stem(file))
        if found is None:
            continue
        image_id, height, width, crop = found
        first, end, before, after = map(int, re.split("[:,]", crop)) if crop else (0, height, 0, width)
        new_height, new_width, top, left = placement(end - first, after - before, size)
        shown = new_width / (after - before)
        # Copies of square originals: one scale for both sides, and padding only where they were cropped.
        scale = shown * width / (square or width)
        x, y, w, h = (round(value * scale, 2) for value in box)
        x, y = round(x - before * shown, 2), round(y - first * shown, 2)
        if crop:
            right, bottom = min(x + w, new_width), min(y + h, new_height)
            x, y = max(x, 0), max(y, 0)
            w, h = round(right - x, 2), round(bottom - y, 2)
            if w <= 0 or h <= 0:  # outside the crop
                continue
        name = standard(finding)
        yield image_id, name if name in findings else nearest(name, findings) or name, x + left, y + top, w, h
