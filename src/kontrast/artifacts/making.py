"""A Pack made from a plan, or one that grows by it: its shards filled, its tables and preview beside them, its card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from kontrast.artifacts.card import read_card
from kontrast.artifacts.disk import atomic, write_json
from kontrast.artifacts.files import write_csv
from kontrast.artifacts.growth import Before
from kontrast.artifacts.pack_summary import DOUBTS, top_reasons
from kontrast.artifacts.pack_writer import BOXES, PARTS, REJECTS, PackWriter
from kontrast.artifacts.packing import fill
from kontrast.artifacts.plan import PLAN, Plan, interrupted_plan
from kontrast.cluster import Cluster
from kontrast.data.boxes import COLUMNS, find_boxes, place_boxes
from kontrast.data.counts import repeated
from kontrast.data.polarity import INVERTED_BELOW, likeness
from kontrast.data.preparation import LUNGS
from kontrast.data.sheet import before_and_after, png
from kontrast.data.source import Source
from kontrast.errors import ArtifactError, DataError
from kontrast.types import CROP
from kontrast.workers import processes

MOVED, PREVIEW = "moved.csv", "preview.png"
LOOKED_AT = 512
"""Images whose polarity is looked at together."""
Table = tuple[Sequence[str], Sequence[Sequence[Any]]]


def make(
    plan: Plan,
    out: Path,
    source: Source,
    *,
    config: Mapping[str, Any],
    workers: int | Literal["auto"],
    cluster: str | None,
    before: Before | None = None,
) -> None:
    """Make a Pack, or add to one what it lacks.

    Args:
        plan: what to pack.
        out: the folder, claimed and locked.
        source: all that the Pack is made from; more than the plan where one grows.
        config: what was asked for, for the card.
        workers: processes that read images.
        cluster: address of a scheduler whose workers read them instead.
        before: the Pack that grows.

    Raises:
        DataError: more than half of the images cannot be read, or a table of boxes that cannot be used.
        UsageError: a worker of the cluster does not see the images or the Pack.
        OutputError: the disk is full or cannot be written, or the source changed since an earlier, interrupted run.
    """
    writer = PackWriter(
        folder=out,
        findings=plan.findings,
        size=plan.treatment.size,
        dtype=plan.treatment.dtype,
        key_id=plan.key.id,
        extra=plan.extra if before is None else tuple(before.card.content.get("extra", ())),
        before=before,
    )
    if cluster:
        with Cluster(cluster) as there:
            fill(plan, writer, workers=1, cluster=there)
    else:
        fill(plan, writer, workers=processes(workers, len(plan.table)))
    if before is None:
        refuse_mostly_unread(plan, writer)
    rows = writer.rows()
    crop = (LUNGS,) if plan.treatment.crop == "lungs" else ()
    writer.finish(
        config=config,
        content=_content(plan, source, rows),
        mask_names=(*(plan.masks.names if plan.masks else ()), *crop),
        rejects=[(plan.name(file), reason) for file, reason in source.records.problems],
        extra=_tables(plan, source, rows) | _doubts(writer, rows),
        written=write_preview(plan, writer) if before is None else (),
    )


def _content(plan: Plan, source: Source, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What the Pack's card says of the source, and of what became of it."""
    records = source.records
    return {
        "patients_known": records.patients_known,
        "layout": records.layout,
        "notes": list(records.notes),
        "moved": len(source.moved),
        "flow": list(records.flow),
        "fingerprint": source.fingerprint,
        "packed": source.fingerprint_of({row["image_id"] for row in rows}),
        "source_rows": len(source.table),
        "copies": repeated((row["sha256"], row["split"]) for row in rows),
        **({"generated": True} if generated(plan.src) else {}),
    }


def _tables(plan: Plan, source: Source, rows: Sequence[Mapping[str, str]]) -> dict[str, Table]:
    """The tables beside `table.csv` that the source gives: where boxes are, and which images changed their split."""
    tables: dict[str, Table] = {}
    boxes = find_boxes(plan.src, plan.boxes) if source.records.boxes is None or plan.boxes else source.records.boxes
    if boxes is not None:
        of_id = {plan.key.hash(name): name for name in source.table["source"]}
        images = {
            of_id[row["image_id"]]: (row["image_id"], int(row["height"]), int(row["width"]), row.get(CROP, ""))
            for row in rows
        }
        tables[BOXES] = (COLUMNS, list(place_boxes(boxes, images, plan.findings, plan.treatment.size)))
    if len(source.moved):
        moved = source.moved.assign(source=source.moved["source"].map(plan.name))
        tables[MOVED] = (tuple(moved.columns), moved.to_numpy().tolist())
    return tables


def _doubts(writer: PackWriter, rows: Sequence[Mapping[str, str]]) -> dict[str, Table]:
    """Which images seem inverted by their content, all of them looked at but lateral ones; no table where none does."""
    found: list[tuple[str, str, str]] = []
    at = 0
    for images in writer.arrays():
        frontal = [i for i in range(len(images)) if rows[at + i]["view"] != "lateral"]
        for first in range(0, len(frontal), LOOKED_AT):
            some = frontal[first : first + LOOKED_AT]
            for i, like in zip(some, likeness(images[some]), strict=True):
                if like < INVERTED_BELOW:
                    found.append((rows[at + i]["image_id"], rows[at + i]["source"], f"{like:.3f}"))
        at += len(images)
    return {DOUBTS: (("image_id", "source", "likeness"), found)} if found else {}


def refuse_mostly_unread(plan: Plan, writer: PackWriter) -> None:
    """Stop before a Pack that has lost more than half of its source; the shards that are whole stay for the next run.

    Raises:
        DataError: with the commonest reasons; `rejects.csv` has all.
    """
    rejected = writer.rejected()
    lost = [pair for pairs in rejected.values() for pair in pairs]
    if 2 * len(lost) <= len(plan.table):
        return
    write_csv(writer.folder / REJECTS, ("file", "reason"), sorted(lost))
    write_json(writer.folder / PARTS / PLAN, {**(interrupted_plan(writer.folder) or {}), "unreadable": True})
    for index, pairs in rejected.items():
        if pairs:
            writer.forget(index)
    raise DataError(
        f"{len(lost):,} of {len(plan.table):,} images cannot be read: {top_reasons(reason for _, reason in lost)}.",
        fix=f"See {writer.folder / REJECTS}; mend or remove those files (or see `kontrast doctor`), then run again.",
    )


def write_preview(plan: Plan, writer: PackWriter) -> list[str]:
    """Some training images before and after preparation, as `preview.png`; the names of the files written."""
    of_id = {plan.key.hash(source): source for source in plan.table["source"]}
    train = [of_id[row["image_id"]] for row in writer.rows() if row["split"] == "train"]
    picture = before_and_after(plan.src, train, plan.treatment)
    if picture is None:
        return []
    with atomic(writer.folder / PREVIEW) as stream:
        stream.write(png(picture))
    return [PREVIEW]


def generated(src: Path) -> bool:
    """Whether `kontrast phantom` drew the images: a page then need not say that they are of patients."""
    for place in (src, src.resolve().parent):
        try:
            read_card(place, "phantom")
        except ArtifactError:  # no card, or somebody else's card.json
            continue
        return True
    return False
