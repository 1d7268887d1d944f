"""What can be wrong with data before any model is: patients, studies and images that splits and Packs share."""

from itertools import combinations
from typing import Any

import numpy as np

from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import looks
from kontrast.data.likeness import NEAR, nearest
from kontrast.types import SPLITS

UNITS = {"patients": "patient_id", "studies": "study_id", "images": "sha256"}
"""What may be shared, and the column that tells. Images are compared by the checksum of their source files."""

NEAR_COPIES = "near_copies"
"""Images of the second that are nearly the same as one of the first, though not the same file (`data.likeness`)."""


class Audited:
    """A Pack and the fingerprints of its images, taken once.

    Args:
        pack: opened.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.looks = looks(pack, pack.rows())


def within(one: Audited) -> list[dict[str, Any]]:
    """What each pair of a Pack's splits shares: `{"splits", "patients", …, "near_copies"}`; None = unknown."""
    pack = one.pack
    return [
        {"splits": [a, b]} | _shared(one, pack.rows(a), one, pack.rows(b), comparable=pack.patients_known)
        for a, b in combinations(SPLITS, 2)
        if len(pack.rows(a)) and len(pack.rows(b))
    ]


def repeated_images(pack: Pack) -> int:
    """Images of a Pack that are a byte-for-byte copy of an earlier one."""
    return int(pack.table["sha256"].duplicated().sum())


def between(one: Audited, two: Audited) -> list[dict[str, Any]]:
    """What each split of one Pack shares with each split of another; patients and studies None = unknown.

    Patients can be compared only when both Packs name them and hashed them with the same key.
    """
    first, second = one.pack, two.pack
    comparable = first.patients_known and second.patients_known and first.key_id == second.key_id
    return [
        {"splits": [a, b]} | _shared(one, first.rows(a), two, second.rows(b), comparable=comparable)
        for a in SPLITS
        for b in SPLITS
        if len(first.rows(a)) and len(second.rows(b))
    ]


def _shared(
    one: Audited, rows: np.ndarray, two: Audited, others: np.ndarray, *, comparable: bool
) -> dict[str, int | None]:
    first, second = one.pack.table.iloc[rows], two.pack.table.iloc[others]
    found: dict[str, int | None] = {}
    for unit, column in UNITS.items():
        both = (set(first[column]) & set(second[column])) - {""}
        found[unit] = len(both) if comparable or unit == "images" else None
    fresh = others[~second["sha256"].isin(set(first["sha256"])).to_numpy()]
    return found | {NEAR_COPIES: int((nearest(two.looks[fresh], one.looks[rows]) <= NEAR).sum())}
