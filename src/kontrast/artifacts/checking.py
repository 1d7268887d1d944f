"""Whether a Pack's card says what its files hold: the card has no checksum of its own, so it is worked out again."""

import math
from typing import Any

import numpy as np

from kontrast import console
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.pixels import contents, pixel_sums, statistics
from kontrast.types import SPLITS

AT_A_TIME = 512
CLOSE = 1e-9
"""Of mean and deviation: the sums are whole numbers, so only the last division may differ between machines."""


def card_faults(pack: Pack) -> list[str]:
    """What of a card is not what whole files give: `mean is 0.947, its images give 0.4695`; [] where all is.

    Images and patients of each split, and mean and standard deviation, which every encoder carries along. Settings and
    notes are not of the files, and cannot be told.
    """
    content, found = pack.card.content, list[str]()
    expected: dict[str, Any] = {"splits": _splits(pack)}
    sums = []
    places, splits = contents(pack.table, pack.size), pack.table["split"].tolist()
    with console.progress("verify", len(pack), "images") as line:
        for first in range(0, len(pack), AT_A_TIME):
            rows = np.arange(first, min(first + AT_A_TIME, len(pack)))
            part = slice(first, first + AT_A_TIME)
            sums.append(pixel_sums(pack.images(rows), splits[part], places[part]))
            line.update(len(rows))
    expected |= statistics(sums, str(pack.dtype))
    for name, value in expected.items():
        said = content.get(name)
        if name == "pixels" and said is None:  # Packs of protocol 1 have none
            continue
        if isinstance(value, float):
            if not (isinstance(said, int | float) and math.isclose(said, value, rel_tol=CLOSE, abs_tol=CLOSE)):
                found.append(f"{name} is {said!r}, its images give {value!r}")
        elif said != value:
            found.append(f"{name} is not what its table and images give")
    return found


def _splits(pack: Pack) -> dict[str, dict[str, int]]:
    rows = {name: pack.table[pack.table["split"] == name] for name in SPLITS}
    return {name: {"images": len(of), "patients": of["patient_id"].nunique()} for name, of in rows.items()}
