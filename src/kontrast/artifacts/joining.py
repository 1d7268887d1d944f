"""A Pack made from others: joined, or a part of one. Images are copied as they are packed, nothing is decoded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import Card, parent
from kontrast.artifacts.pack import Pack, PackWriter, Shard, shard_rows
from kontrast.artifacts.pack_writer import BOXES
from kontrast.data.boxes import COLUMNS
from kontrast.data.resize import placement
from kontrast.errors import LeakageError, UsageError
from kontrast.types import EXTRA_COLUMNS, counted


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which images of which Packs a new Pack holds.

    Attributes:
        packs: the Packs, opened.
        table: one row per image, in order: `pack` and `row` (where it is), then the columns of its table.csv.
        findings: the label columns, of all Packs; blank where a Pack lacks one.
        left_out: (source, reason) of images that are not taken.
        moved: images whose patient stood in two splits, brought to train.
    """

    packs: tuple[Pack, ...]
    table: pd.DataFrame
    findings: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    moved: int = 0


def refuse_unlike(packs: Sequence[Pack]) -> None:
    """Packs to be joined have one size, type and key.

    Raises:
        UsageError: they have not.
    """
    for what, option, values in (
        ("size", "--size", [pack.size for pack in packs]),
        ("dtype", "--dtype", [str(pack.dtype) for pack in packs]),
        ("patient key", "--key", [pack.key_id for pack in packs]),
        ("knowledge of patients", "--column patient=NAME", [pack.patients_known for pack in packs]),
    ):
        if len(set(values)) > 1:
            raise UsageError(
                f"These Packs differ in their {what}: {', '.join(str(value) for value in values)}.",
                fix=f"Prepare them alike ({option}); with other keys it would be unknown who is in two of them.",
            )


def together(packs: Sequence[Pack], *, repair: bool = False) -> Chosen:
    """All images of several Packs, each once, no patient in two splits.

    An image that an earlier Pack holds too (the same bytes) is left out and listed. Different images of one name get
    another id.

    Raises:
        UsageError: Packs that cannot be joined.
        LeakageError: a patient is in different splits of them, and `repair` (all to train) is off.
    """
    refuse_unlike(packs)
    tables = [pack.table.assign(pack=i, row=np.arange(len(pack))) for i, pack in enumerate(packs)]
    findings = tuple(dict.fromkeys(name for pack in packs for name in pack.findings))
    table = pd.concat(tables, ignore_index=True)
    again = table["pack"] != table.groupby("sha256")["pack"].transform("min")
    left_out = [(str(source), "a copy of an image in another Pack") for source in table["source"][again]]
    table = table[~again].reset_index(drop=True)
    same_name = table.duplicated("image_id", keep="first")
    for at in np.flatnonzero(same_name):
        both = str(table.at[at, "image_id"]) + str(table.at[at, "sha256"])
        table.at[at, "image_id"] = hashlib.sha256(both.encode()).hexdigest()[:16]
    table, moved = _one_split_each(table, repair=repair)
    return Chosen(packs=tuple(packs), table=table, findings=findings, left_out=tuple(left_out), moved=moved)


def without_copies(chosen: Chosen) -> Chosen:
    """Of images with the same bytes one: a held-out one (test, else val), else the first; the others are listed."""
    table = chosen.table
    rank = table["split"].map({"test": 0, "val": 1, "train": 2})
    order = rank.sort_values(kind="stable").index
    again = table.loc[order].duplicated("sha256").reindex(table.index) & table["sha256"].ne("")
    left_out = [(str(source), "a copy of another image") for source in table["source"][again]]
    kept = table[~again].reset_index(drop=True)
    return replace(chosen, table=kept, left_out=(*chosen.left_out, *left_out))


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
    extra = tuple(name for name in EXTRA_COLUMNS if any(name in pack.table for pack in chosen.packs))
    extra = tuple(name for name in extra if name not in chosen.findings)
    writer = PackWriter(
        folder=out, findings=chosen.findings, size=first.size, dtype=str(first.dtype), key_id=first.key_id, extra=extra
    )
    per_shard, total = shard_rows(first.size, str(first.dtype)), len(chosen.table)
    with console.progress(layout, total, "images") as line:
        for index, start in enumerate(range(0, total, per_shard)):
            rows = chosen.table.iloc[start : start + per_shard]
            if not writer.written(index):
                writer.write(index, _shard(chosen.packs, rows, writer.columns))
            line.update(len(rows))
    boxes = _boxes(chosen)
    known = all(pack.patients_known for pack in chosen.packs)
    return writer.finish(
        config=config,
        parents=[parent("pack", pack.path) for pack in chosen.packs],
        mask_names=tuple(dict.fromkeys(name for pack in chosen.packs for name in pack.mask_names)),
        rejects=chosen.left_out,
        extra={BOXES: (COLUMNS, boxes.to_numpy().tolist())} if boxes is not None else None,
        content={
            "patients_known": known,
            "layout": layout,
            "notes": list(dict.fromkeys(note for pack in chosen.packs for note in pack.card.content.get("notes", []))),
            "moved": chosen.moved,
            "source_rows": total,
            **({"generated": True} if all(p.card.content.get("generated") for p in chosen.packs) else {}),
        },
    )


def _shard(packs: Sequence[Pack], rows: pd.DataFrame, columns: Sequence[str]) -> Shard:
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
    placed = [placement(h, w, size) for h, w in zip(rows["height"], rows["width"], strict=True)]
    content = np.array([(top, top + h, left, left + w) for h, w, top, left in placed], dtype=np.int64).reshape(-1, 4)
    cells: list[dict[str, Any]] = rows.reindex(columns=list(columns)).to_dict("records")  # type: ignore[assignment]
    return Shard(images=images, rows=cells, content=content, masks=masks)


def _boxes(chosen: Chosen) -> pd.DataFrame | None:
    """Boxes of the images that were chosen, under the ids that they have now."""
    found = []
    for i, pack in enumerate(chosen.packs):
        if pack.boxes is None:
            continue
        mine = chosen.table[chosen.table["pack"] == i]
        old = pack.table["image_id"].to_numpy()[mine["row"].to_numpy()]
        to = dict(zip(old, mine["image_id"], strict=True))
        boxes = pack.boxes[pack.boxes["image_id"].isin(to)]
        found.append(boxes.assign(image_id=boxes["image_id"].map(to)))
    return pd.concat(found, ignore_index=True) if found else None
