"""Whose image is whose: a number for each patient, and which images may stand in for each other as positives."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.errors import UsageError

if TYPE_CHECKING:
    from kontrast.artifacts.pack import Pack

Found = Sequence[tuple["Pack", np.ndarray]]
"""Packs, each with the rows to learn from."""


def patient_numbers(found: Found) -> np.ndarray | None:
    """A number for the patient of every row of the Packs laid end to end, (n,) int64; None where no Pack names any.

    Equal hashes under one key are one patient, in whatever Pack. Under two keys nobody can tell, so they count as two.
    An image of a Pack that names no patients is a patient of its own.
    """
    if not any(pack.patients_known for pack, _ in found):
        return None
    names = [
        f"{pack.key_id} " + pack.table["patient_id"]
        if pack.patients_known
        else pd.Series([f"row {row} of Pack {at}" for row in range(len(pack))])
        for at, (pack, _) in enumerate(found)
    ]
    return pd.factorize(pd.concat(names))[0].astype(np.int64)


def training_patients(found: Found, numbers: np.ndarray) -> np.ndarray:
    """The patient of every row to learn from, in the order of `Batches`, (count,); `numbers` as above."""
    starts = np.cumsum([0] + [len(pack) for pack, _ in found])
    return numbers[np.concatenate([rows + start for start, (_, rows) in zip(starts[:-1], found, strict=True)])]


def partner_groups(found: Found, positives: str) -> np.ndarray | None:
    """Which training images may stand in for each other: (count,) int64, one number a group; None for `image`.

    Args:
        found: from `training_rows`.
        positives: `image`, `study` or `patient`. Views (frontal, lateral) are not kept apart: in MedAug all views of
            a study together did best (Vu et al. 2021, arXiv:2102.10663).

    Raises:
        UsageError: patients or studies are not known, or nobody has two images.
    """
    if positives == "image":
        return None
    numbers = patient_numbers(found)
    if numbers is None:
        raise UsageError(
            f"--positives {positives} needs to know whose image each is, but no Pack names its patients.",
            fix="Set --positives image, or prepare the Packs again with a table of patients (--column patient=NAME).",
        )
    groups = training_patients(found, numbers)
    if positives == "study":
        studies = np.concatenate([pack.table["study_id"].to_numpy(dtype=object)[rows] for pack, rows in found])
        if not (studies != "").any():
            raise UsageError(
                "--positives study needs study ids, but no Pack has any.",
                fix="Set --positives patient or image, or prepare the Packs again with --column study=NAME.",
            )
        count = len(studies)
        study = np.where(studies == "", count + np.arange(count), pd.factorize(studies)[0])  # a blank one joins nobody
        groups = groups * (2 * count) + study  # the patient is part of the number: no study joins two people
    if shared(groups) == 0:
        raise UsageError(
            f"--positives {positives}: no {positives} has two of the {len(groups):,} training images.",
            fix="Set --positives " + ("patient or image." if positives == "study" else "image."),
        )
    return groups


def shared(groups: np.ndarray) -> int:
    """How many members have another in their group."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return int((sizes[group] > 1).sum())


def settle_patients(positives: str, negatives: str | None, found: Found) -> str | None:
    """Check and say what patients are used for.

    Args:
        positives: as `partner_groups` takes it.
        negatives: `mask`, `keep` or `auto`; None for a method without negatives.
        found: from `training_rows`.

    Returns:
        `negatives` without `auto`: `mask` where any patients are known.

    Raises:
        UsageError: what was asked needs patients or studies that are not known, or would change nothing.
    """
    numbers = patient_numbers(found)
    groups = partner_groups(found, positives)
    if groups is not None:
        paired = shared(groups)
        rest = "" if paired == len(groups) else "; the others stay with two views of themselves"
        reason = f"{paired:,} of {len(groups):,} images have another of their {positives}{rest}"
        console.decided("--positives", positives, reason)
    if negatives is not None:
        negatives = _settle_negatives(negatives, None if numbers is None else training_patients(found, numbers))
    keys = {pack.key_id for pack, _ in found if pack.patients_known}
    if len(keys) > 1 and (groups is not None or negatives == "mask"):
        console.say("  Patients of Packs with different keys can't be compared: someone in two of them counts as two.")
    return negatives


def _settle_negatives(wanted: str, patients: np.ndarray | None) -> str:
    option = "--same-patient-negatives"
    if patients is None:
        if wanted == "mask":
            raise UsageError(
                f"{option} mask needs to know whose image each is, but no Pack names its patients.",
                fix="Leave it out, or prepare the Packs again with a table of patients (--column patient=NAME).",
            )
        console.decided(option, "keep", "patients are not known, so nothing can be masked")
        return "keep"
    if wanted == "auto":
        share = f"{shared(patients):,} of {len(patients):,} images have another of their patient"
        console.decided(option, "mask", f"{share}, which is no honest negative")
        return "mask"
    return wanted


class Groups:
    """Images by group, laid out so that the partners of a batch are drawn at once.

    Args:
        numbers: (n,) the group of each position.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        _, self.numbers, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
        self._members = np.argsort(self.numbers, kind="stable")  # group after group
        self._sizes = sizes
        self._starts = np.cumsum(sizes) - sizes
        self._place = np.empty(len(self.numbers), np.int64)  # of each position within its group
        self._place[self._members] = np.arange(len(self.numbers)) - np.repeat(self._starts, sizes)

    def partners(self, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Another member of the group of each position, all equally likely; the position itself where it is alone."""
        group = self.numbers[index]
        others = self._sizes[group] - 1
        place = rng.integers(0, np.maximum(others, 1))
        place += (place >= self._place[index]) & (others > 0)  # skip the image itself
        return self._members[self._starts[group] + place]
