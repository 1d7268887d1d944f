"""Who is in which part: by patient, always, and without looking at the images.

Everything here depends on the raw patient ids alone (not on the secret key that hashes them in a Pack), so two sites
with different keys, or one that lost its key, get the same parts. (And on which patients have a file in common.)
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kontrast.errors import DataError, LeakageError, UsageError
from kontrast.types import SPLITS, counted


def _uniform(patient: str, seed: int) -> float:
    # The salt keeps this draw apart from any other use of a hash of the same id.
    # Where patients are unknown a file's name stands for one, and may be no UTF-8.
    digest = hashlib.sha256(f"kontrast split {seed} {patient}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(patients: Sequence[str], seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> np.ndarray:
    """Train, val or test for each row, drawn from a hash of its patient.

    A patient's part depends on nothing but the id, the seed and the fractions, so it stays when images are added;
    the price is that the parts' sizes are those of a draw, not exact.

    Args:
        patients: raw patient id of each row.
        seed: another seed is another draw.
        fractions: shares of train, val and test; they add up to 1.

    Returns:
        (N,) of `train`, `val`, `test`.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"The shares of train, val and test are {fractions}.", fix="Give three that add up to 1.")
    edges = np.cumsum(fractions)[:2]
    edges[np.isclose(edges, 1)] = 1.0  # 8/9 + 1/9 may fall short of 1, and must leave no test part
    part = {p: SPLITS[int(np.searchsorted(edges, _uniform(p, seed), side="right"))] for p in set(patients)}
    return np.array([part[p] for p in patients], dtype=object)


def complete(
    patients: Sequence[str],
    given: Sequence[str],
    seed: int,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    kin: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Keep the parts that a source gives and assign the rows whose part is "".

    A patient with a given part elsewhere gets that part. The others are drawn; parts that the source gives already
    are not drawn again (an official test set stays as it is, the rest is divided into train and val).

    Args:
        patients: raw patient id of each row.
        given: its part, or "".
        seed: of the draw.
        fractions: shares of train, val and test.
        kin: patients who are drawn as one, each with the one who stands for them all (`copies.shared_files`).

    Returns:
        (N,) of `train`, `val`, `test`.
    """
    fixed = {patient: part for patient, part in zip(patients, given, strict=True) if part}
    shares = [
        0.0 if part in fixed.values() and part != "train" else f for part, f in zip(SPLITS, fractions, strict=True)
    ]
    total = sum(shares)
    drawn = assign(
        [(kin or {}).get(patient, patient) for patient in patients],
        seed,
        (shares[0] / total, shares[1] / total, shares[2] / total) if total else (1.0, 0.0, 0.0),
    )
    return np.array([part or fixed.get(p, d) for p, part, d in zip(patients, given, drawn, strict=True)], dtype=object)


def check_disjoint(patient: Sequence[str], split: Sequence[str]) -> None:
    """Refuse parts that share patients.

    Raises:
        LeakageError: with how many patients and images, never which.
    """
    table = pd.DataFrame({"patient": np.asarray(patient, object), "split": np.asarray(split, object)})
    parts = table.groupby("patient")["split"].nunique()
    shared = set(parts.index[parts > 1])
    if not shared:
        return
    rows = table[table["patient"].isin(shared)]
    counts = ", ".join(f"{(rows['split'] == name).sum():,} in {name or 'train'}" for name in rows["split"].unique())
    raise LeakageError(
        f"{counted(len(shared), 'patient')} in more than one split (their images: {counts}).",
        fix="Split by patient, or let --repair-splits move the images of such patients into train.",
    )


def repair_overlap(table: pd.DataFrame, mode: str = "refuse") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Deal with patients who stand in a given held-out part and outside it too.

    Args:
        table: `Records.table`; its `split` may be "" (still to be divided into train and val).
        mode: `refuse`, or `move`: every image of such a patient goes to train, so that val and test are clean.

    Returns:
        The table, and the images that left a held-out part: columns `source`, `from`, `to`.

    Raises:
        LeakageError: patients overlap and `mode` is `refuse`.
    """
    side = table["split"].replace("", "train")
    parts = side.groupby(table["patient"]).nunique()
    shared = table["patient"].isin(parts.index[parts > 1])
    moving = shared & side.isin(("val", "test"))
    moved = pd.DataFrame({"source": table["source"][moving], "from": side[moving], "to": "train"})
    if not shared.any():
        return table, moved.reset_index(drop=True)
    if mode != "move":
        each = ", ".join(
            f"{len(rows):,} of {(side == name).sum():,} {name} images ({100 * len(rows) / (side == name).sum():.1f} %)"
            for name, rows in moved.groupby("from")
        )
        raise LeakageError(
            f"The given splits share patients, {counted(int((parts > 1).sum()), 'patient')} in all, with {each}. "
            "Scores on such images measure memory, not skill.",
            fix="Add --repair-splits to move those images into train (listed in moved.csv), or give other splits.",
        )
    repaired = table.copy()
    repaired.loc[shared, "split"] = "train"
    return repaired, moved.reset_index(drop=True)


def draw_patients(
    patient_ids: Sequence[str], fraction: float, seed: int, positive: np.ndarray | None = None
) -> np.ndarray:
    """The rows of a share of the patients, nested: a smaller share with the same seed lies within a larger one.

    Patients are numbered by first appearance and permuted with the seed, so the draw does not depend on how ids are
    hashed, only on the order of the table.

    Args:
        patient_ids: one per row, in table order.
        fraction: in (0, 1]; at least one patient is drawn.
        seed: of the permutation.
        positive: (N, F) bool; given, the draw is stratified: see `stratified_order`.

    Returns:
        (N,) bool.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"--label-fraction {fraction} is not in (0, 1].", fix="Give a share such as 0.1.")
    codes, names = pd.factorize(np.asarray(patient_ids, dtype=object))
    # Rounding first: 0.07 * 100 is 7.000000000000001, and a ceiling would draw 8.
    count = max(1, round(fraction * len(names)))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(names))
    if positive is not None:
        order = stratified_order(_by_patient(codes, len(names), positive), generator)
    chosen = np.zeros(len(names), dtype=bool)
    chosen[order[:count]] = True
    return chosen[codes]


def _by_patient(codes: np.ndarray, count: int, positive: np.ndarray) -> np.ndarray:
    """Which findings a patient has in any image: (count, F) bool."""
    found = np.zeros((count, positive.shape[1]), dtype=bool)
    np.logical_or.at(found, codes, np.asarray(positive, dtype=bool))
    return found


def stratified_order(positive: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An order of patients of which every beginning holds each stratum in its share, to within two patients.

    A patient's stratum is the rarest finding that the patient has (or none): systematic sampling, each stratum in an
    order of its own and spread evenly from a start of its own. So a share q of the patients holds about q of each
    finding's positives, where a plain draw of few may hold none. A finding with fewer than 1/q positive patients can
    still be missing: nothing is drawn more often than its share, which would change the prevalences.

    Args:
        positive: (P, F) bool, by patient.
        generator: draws the orders and starts.

    Returns:
        (P,) a permutation; smaller beginnings lie within larger ones.
    """
    rarest = np.argsort(positive.sum(axis=0), kind="stable")
    ranked = positive[:, rarest]
    stratum = np.where(ranked.any(axis=1), ranked.argmax(axis=1), positive.shape[1])
    place = np.empty(len(positive))
    for number in np.unique(stratum):
        members = np.flatnonzero(stratum == number)
        place[generator.permutation(members)] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(place, kind="stable")


def folds(patient_ids: Sequence[str], k: int, seed: int) -> np.ndarray:
    """A fold for each row, 0 … k-1, each patient in one; folds hold nearly the same number of rows.

    Patients are dealt from many rows to few, each to the fold with the fewest rows so far; the seed orders equals.

    Returns:
        (N,) int64.

    Raises:
        DataError: fewer patients than folds.
    """
    codes, names = pd.factorize(np.asarray(patient_ids, dtype=object))
    if k < 2 or k > len(names):
        raise DataError(
            f"{k} folds of {len(names)} patients cannot be made.", fix="Use 2 folds or more, one patient each."
        )
    rows = np.bincount(codes, minlength=len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-rows[order], kind="stable")]
    fold, load = np.empty(len(names), dtype=np.int64), np.zeros(k, dtype=np.int64)
    for patient in order:
        fold[patient] = load.argmin()
        load[fold[patient]] += rows[patient]
    return fold[codes]
