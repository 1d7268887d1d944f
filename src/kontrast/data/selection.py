"""Which rows of a source go into a Pack, and into which part."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.data.layouts.names import masked
from kontrast.data.splits import check_disjoint, complete, repair_overlap
from kontrast.errors import DataError
from kontrast.types import counted

FRONTAL = ("AP", "PA", "frontal")


def keep_views(table: pd.DataFrame, views: str) -> pd.DataFrame:
    """The rows of one kind of view (`all`, `frontal` or `lateral`); rows of unknown view go with `all` only.

    Raises:
        DataError: nothing is left.
    """
    if views == "all":
        return table
    wanted = table["view"].isin(FRONTAL if views == "frontal" else ("lateral",))
    unknown = int((table["view"] == "").sum())
    if not wanted.any():
        raise DataError(
            f"--views {views}: none of {len(table):,} images is known to be {views} ({unknown:,} of unknown view).",
            fix="Leave out --views, or name the column that says it with --column view=NAME.",
        )
    console.say(
        f"  {counted(len(table) - int(wanted.sum()), 'image')} left out by --views ({unknown:,} of unknown view)"
    )
    return table[wanted].reset_index(drop=True)


def keep_only(table: pd.DataFrame, patterns: Sequence[str]) -> pd.DataFrame:
    """The rows whose source matches any of the shell patterns (`bacteria/*`); `*` crosses folders.

    Raises:
        DataError: nothing is left.
    """
    if not patterns:
        return table
    wanted = table["source"].map(lambda source: any(fnmatchcase(source, pattern) for pattern in patterns)).astype(bool)
    if not wanted.any():
        raise DataError(
            f"--only {' '.join(patterns)}: none of {len(table):,} images matches.",
            fix=f"Patterns are matched against paths below the source, such as {masked(table['source'].iloc[0])!r}.",
        )
    console.say(f"  {counted(len(table) - int(wanted.sum()), 'image')} left out by --only")
    return table[wanted].reset_index(drop=True)


def choose_rows(
    table: pd.DataFrame, *, only: Sequence[str], views: str, limit: int | None, seed: int, patients_known: bool
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The rows to pack, and how many images and patients (None = unknown) there were and each choice left.

    Args:
        table: `Records.table`.
        only: as `keep_only` takes them.
        views: as `keep_views` takes it.
        limit: as `limit_patients` takes it; None for all.
        seed: of the draw of patients.
        patients_known: whether `patient` says whose images belong together.

    Raises:
        DataError: nothing is left.
    """

    def counts(step: str) -> dict[str, Any]:
        return {"step": step, "images": len(table), "patients": table["patient"].nunique() if patients_known else None}

    flow = [counts("listed")]
    if only:
        table = keep_only(table, only)
        flow.append(counts("only"))
    if views != "all":
        table = keep_views(table, views)
        flow.append(counts("views"))
    if limit is not None:
        table = limit_patients(table, limit, seed)
        flow.append(counts("limit"))
    return table, flow


def limit_patients(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """About `limit` rows: whole patients in an order drawn with the seed, until there are at least as many."""
    codes, patients = pd.factorize(table["patient"])
    order = np.random.default_rng(seed).permutation(len(patients))
    images = np.bincount(codes, minlength=len(patients))[order]
    take = order[: int(np.searchsorted(np.cumsum(images), limit)) + 1]
    return table[np.isin(codes, take)].reset_index(drop=True)


def split_rows(
    table: pd.DataFrame,
    findings: tuple[str, ...],
    seed: int,
    val_fraction: float,
    test_fraction: float,
    *,
    repair: bool = False,
    kin: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give every row its part: given ones stay, the others are drawn by patient; without labels all is `train`.

    Where a source gives train but no val, val is drawn from its train: thresholds must come from somewhere. So is test
    where it gives none.

    Args:
        table: `Records.table`, every row with a patient.
        findings: its label columns.
        seed: of the draw.
        val_fraction: share for val of the patients that are divided, unless a val is given.
        test_fraction: share of these for test, unless one is given.
        repair: move patients who stand in two given parts to train.
        kin: patients who are drawn as one (`copies.shared_files`).

    Returns:
        The table with `split` filled, and the moved images (`source, from, to`).

    Raises:
        LeakageError: given parts share patients and `repair` is off.
    """
    table, moved = repair_overlap(table, "move" if repair else "refuse")
    given = table["split"].to_numpy(dtype=object)
    if findings:
        # Repaired rows stay in train, and with them their patients: val is drawn from the others.
        repaired = table["patient"].isin(set(table["patient"][table["source"].isin(set(moved["source"]))])).to_numpy()
        free = (given == "train") & ~repaired
        if val_fraction and free.any() and not (given == "val").any():
            _say_taken(_shares(given, val_fraction, test_fraction))
            given = np.where(free, "", given)
        val, test = _shares(given, val_fraction, test_fraction).values()
        split = complete(table["patient"].tolist(), given.tolist(), seed, (1 - val - test, val, test), kin)
    else:
        if (given == "").any():
            console.decided("split", "train", "there are no labels to validate or test with")
        split = np.where(given == "", "train", given)
    table = table.assign(split=split)
    check_disjoint(table["patient"].tolist(), table["split"].tolist())
    return table, moved


def _shares(given: np.ndarray, val_fraction: float, test_fraction: float) -> dict[str, float]:
    """What is drawn for `val` and `test` of the patients that are divided: nothing for a part that is given."""
    asked = {"val": val_fraction, "test": test_fraction}
    return {part: 0.0 if (given == part).any() else share for part, share in asked.items()}


def _say_taken(shares: dict[str, float]) -> None:
    """Which parts are drawn from the train of a source, and how much of it each is to be."""
    drawn = {part: f"{100 * share:g} %" for part, share in shares.items() if share}
    parts = " and ".join(drawn)
    console.decided(
        parts, f"{' and '.join(drawn.values())} of train's patients", f"the source gives train without {parts}"
    )
