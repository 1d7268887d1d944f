"""A Pack made from others: joined, or a part of one. Images are copied as they are packed, nothing is decoded."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import Card, parent
from kontrast.artifacts.duplicates import CONTRADICTIONS, Settled, boxes_of_copies, masks_of_copies, settle
from kontrast.artifacts.pack import Pack, PackWriter, Shard, shard_rows
from kontrast.artifacts.pack_writer import BOXES, REJECTS
from kontrast.artifacts.pixels import contents
from kontrast.data.boxes import COLUMNS
from kontrast.errors import LeakageError, UsageError
from kontrast.types import CROP, EXTRA_COLUMNS, counted

AS_TEXT: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding_errors": "surrogateescape"}
CLASHES = "contradictions.csv"
COPY, OTHERS_COPY = "a copy of another image", "a copy of an image in another Pack"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which images of which Packs a new Pack holds.

    Attributes:
        packs: the Packs, opened.
        settled: one row per image, in order: `pack` and `row` (where it is), then the columns of its table.csv; and
            what its copies, which are left out, say of it.
        findings: the label columns, of all Packs; blank where a Pack lacks one.
        moved: images whose patient stood in two splits, brought to train.
    """

    packs: tuple[Pack, ...]
    settled: Settled
    findings: tuple[str, ...]
    moved: int = 0

    @property
    def table(self) -> pd.DataFrame:
        """The rows that are kept."""
        return self.settled.table


_KNOWN = {True: "names them", False: "does not"}


def refuse_unlike(packs: Sequence[Pack]) -> None:
    """Packs to be joined have one size, type and key.

    Raises:
        UsageError: they have not.
    """
    for what, option, values in (
        ("size", "--size", [pack.size for pack in packs]),
        ("dtype", "--dtype", [str(pack.dtype) for pack in packs]),
        ("patient key", "--key", [pack.key_id for pack in packs]),
        ("knowledge of patients", "--column patient=NAME", [_KNOWN[pack.patients_known] for pack in packs]),
    ):
        if len(set(values)) > 1:
            each = ", ".join(f"{pack.path.name} {value}" for pack, value in zip(packs, values, strict=True))
            raise UsageError(
                f"These Packs differ in their {what}: {each}.",
                fix=f"Prepare them alike ({option}); with other keys it would be unknown who is in two of them.",
            )


def together(packs: Sequence[Pack], *, repair: bool = False, once: bool = False) -> Chosen:
    """All images of several Packs, each once, no patient in two splits.

    An image that an earlier Pack holds too (the same bytes) is left out and listed; what it says and the one that is
    kept does not, stays (see duplicates.py). Different images of one name get another id.

    Args:
        packs: the Packs.
        repair: move patients who would stand in two splits to train.
        once: leave out copies within one Pack too, and keep a held-out one (test, else val) where there is.

    Raises:
        UsageError: Packs that cannot be joined.
        LeakageError: a patient is in different splits of them, and `repair` is off.
    """
    refuse_unlike(packs)
    findings = tuple(dict.fromkeys(name for pack in packs for name in pack.findings))
    table = pd.concat([rows_of(pack, i) for i, pack in enumerate(packs)], ignore_index=True)
    known = all(pack.patients_known for pack in packs)
    others = (table["pack"] != table.groupby("sha256")["pack"].transform("min")) & table["sha256"].ne("")
    again, reason = (_copies(table), COPY) if once else (others, OTHERS_COPY)
    settled = settle(table, again, findings, reason, patients_known=known)
    table, moved = _one_split_each(_with_own_ids(settled.table), repair=repair)
    return Chosen(packs=tuple(packs), settled=replace(settled, table=table), findings=findings, moved=moved)


def rows_of(pack: Pack, number: int = 0) -> pd.DataFrame:
    """A Pack's table, with where each row is: `pack` (its number) and `row`."""
    return pack.table.assign(pack=number, row=np.arange(len(pack)))


def part(pack: Pack, table: pd.DataFrame, findings: tuple[str, ...], *, once: bool = False) -> Chosen:
    """Some rows of one Pack (of `rows_of`); with `once` each image once, as in `together`."""
    again = _copies(table) if once else pd.Series(False, index=table.index)
    settled = settle(table, again, findings, COPY, patients_known=pack.patients_known)
    return Chosen(packs=(pack,), settled=settled, findings=findings)


def _copies(table: pd.DataFrame) -> pd.Series:
    """Of rows with the same bytes all but one, which is a held-out one (test, else val), else the first."""
    order = table["split"].map({"test": 0, "val": 1, "train": 2}).sort_values(kind="stable").index
    again: pd.Series = table.loc[order].duplicated("sha256").reindex(table.index) & table["sha256"].ne("")
    return again


def _with_own_ids(table: pd.DataFrame) -> pd.DataFrame:
    """Images of one name in two Packs get another id, which follows from their names and bytes."""
    ids, taken = table["image_id"].tolist(), set[str]()
    for at, sha256 in enumerate(table["sha256"]):
        while ids[at] in taken:
            ids[at] = hashlib.sha256(f"{ids[at]}{sha256}".encode()).hexdigest()[:16]
        taken.add(ids[at])
    return table.assign(image_id=ids)


def _one_split_each(table: pd.DataFrame, *, repair: bool) -> tuple[pd.DataFrame, int]:
    parts = table.groupby("patient_id")["split"].nunique()
    shared = table["patient_id"].isin(parts.index[parts > 1])
    if not shared.any():
        return table, 0
    if not repair:
        raise LeakageError(
            f"{counted(int((parts > 1).sum()), 'patient')} would be in two splits, with {int(shared.sum()):,} images.",
            fix="Add --repair-splits to move all their images into train.",
        )
    moving = shared & (table["split"] != "train")
    return table.assign(split=table["split"].where(~shared, "train")), int(moving.sum())


def write(chosen: Chosen, out: Path, *, config: dict[str, Any], layout: str) -> Card:
    """Write the new Pack into a claimed folder; interrupted, it goes on where it was.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    first = chosen.packs[0]
    extra = tuple(name for name in (*EXTRA_COLUMNS, CROP) if any(name in pack.table for pack in chosen.packs))
    extra = tuple(name for name in extra if name not in chosen.findings)
    writer = PackWriter(
        folder=out, findings=chosen.findings, size=first.size, dtype=str(first.dtype), key_id=first.key_id, extra=extra
    )
    per_shard, total = shard_rows(first.size, str(first.dtype)), len(chosen.table)
    settled = chosen.settled
    more = masks_of_copies(chosen.packs, chosen.table, settled.copies)
    with console.progress(layout, total, "images") as line:
        for index, start in enumerate(range(0, total, per_shard)):
            rows = chosen.table.iloc[start : start + per_shard]
            if not writer.written(index):
                writer.write(index, _shard(chosen.packs, rows, writer.columns, more))
            line.update(len(rows))
    boxes, added = _boxes(chosen)
    known = all(pack.patients_known for pack in chosen.packs)
    return writer.finish(
        config=config,
        parents=[parent("pack", pack.path) for pack in chosen.packs],
        mask_names=tuple(dict.fromkeys(name for pack in chosen.packs for name in pack.mask_names)),
        rejects=_rejects(chosen),
        extra={
            **({BOXES: (COLUMNS, boxes.to_numpy().tolist())} if boxes is not None else {}),
            **({CLASHES: (CONTRADICTIONS, settled.contradictions)} if settled.contradictions else {}),
        },
        content={
            "patients_known": known,
            "layout": layout,
            "notes": list(dict.fromkeys(note for pack in chosen.packs for note in pack.card.content.get("notes", []))),
            "moved": chosen.moved,
            "source_rows": total,
            "from_copies": {
                "cells": settled.filled,
                "masks": sum(map(len, more.values())),
                "boxes": added,
                "contradictions": settled.contradicted,
                "differ": settled.differ,
                "strangers": settled.strangers,
            },
            **({"generated": True} if all(p.card.content.get("generated") for p in chosen.packs) else {}),
        },
    )


def _rejects(chosen: Chosen) -> list[tuple[str, str]]:
    """What is left out here, and what the Packs had left out; a Pack and its part name a file once."""
    earlier = [pd.read_csv(pack.path / REJECTS, **AS_TEXT) for pack in chosen.packs]
    lines = [(file, reason) for table in earlier for file, reason in table.itertuples(index=False)]
    return list(dict.fromkeys([*lines, *chosen.settled.left_out]))


def _shard(
    packs: Sequence[Pack],
    rows: pd.DataFrame,
    columns: Sequence[str],
    more: Mapping[str, Mapping[int, tuple[int, int]]],
) -> Shard:
    """Rows as they are packed; `more` masks of copies by the rows' index."""
    size = packs[0].size
    images = np.empty((len(rows), size, size), packs[0].dtype)
    masks: dict[str, dict[int, np.ndarray]] = {}
    numbers = rows["pack"].to_numpy()
    for i in np.unique(numbers):
        pack, at = packs[i], np.flatnonzero(numbers == i)
        own = rows["row"].to_numpy()[at]
        images[at] = pack.images(own)
        for name in pack.mask_names:
            planes = pack.mask(name, own)
            for position, plane in zip(at[planes.any(axis=(1, 2))], planes[planes.any(axis=(1, 2))], strict=True):
                masks.setdefault(name, {})[int(position)] = plane
    for name, places in more.items():
        for position, index in enumerate(rows.index):
            if index in places:
                i, row = places[index]
                masks.setdefault(name, {})[position] = packs[i].mask(name, [row])[0]
    cells: list[dict[str, Any]] = rows.reindex(columns=list(columns)).to_dict("records")  # type: ignore[assignment]
    return Shard(images=images, rows=cells, content=contents(rows, size), masks=masks)


def _boxes(chosen: Chosen) -> tuple[pd.DataFrame | None, int]:
    """Boxes of the images that were chosen, under the ids that they have now; and how many of them are of copies."""
    found = []
    for i, pack in enumerate(chosen.packs):
        if pack.boxes is None:
            continue
        mine = chosen.table[chosen.table["pack"] == i]
        old = pack.table["image_id"].to_numpy()[mine["row"].to_numpy()]
        to = dict(zip(old, mine["image_id"], strict=True))
        boxes = pack.boxes[pack.boxes["image_id"].isin(to)]
        found.append(boxes.assign(image_id=boxes["image_id"].map(to)))
    if not found:
        return None, 0
    own = pd.concat(found, ignore_index=True)
    more = boxes_of_copies(chosen.packs, chosen.table, chosen.settled.copies, own)
    return pd.concat([own, more], ignore_index=True), len(more)
