"""From planned rows to a Pack: shard after shard, in as many processes as wanted, always to the same bytes."""

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kontrast import console
from kontrast.artifacts.disk import write_json
from kontrast.artifacts.pack_writer import PARTS, PackWriter, Shard, shard_rows
from kontrast.artifacts.plan import PLAN, Plan, interrupted_plan
from kontrast.cluster import Cluster
from kontrast.data.masks import Masks
from kontrast.data.preparation import Prepared, Treatment, prepare_images
from kontrast.data.replaced import date, replaced
from kontrast.errors import OutputError, UsageError
from kontrast.types import counted
from kontrast.workers import WorkerDied, run

CHUNK = 32
"""Files that a worker takes at a time: enough to hide the cost of handing over, few enough to share out evenly."""
Read = Prepared | str
"""An image, or why there is none."""


def fill(plan: Plan, writer: PackWriter, *, workers: int, cluster: Cluster | None = None) -> None:
    """Write every shard that is not on disk yet: from images that processes here read, or on a cluster's workers.

    Raises:
        UsageError: a worker of the cluster does not see the images or the Pack.
        OutputError: the disk is full or cannot be written, or the source changed since an earlier, interrupted run.
    """
    sources = plan.table["source"].astype(str).tolist()
    per_shard = shard_rows(writer.size, writer.dtype)
    _settle(plan, writer, per_shard)
    _forget_replaced(plan, writer)
    started = time.time_ns()
    bounds = [(first, min(first + per_shard, len(sources))) for first in range(0, len(sources), per_shard)]
    todo = [(index, span) for index, span in enumerate(bounds, writer.first) if not writer.written(index)]
    done = len(sources) - sum(end - first for _, (first, end) in todo)
    if done:
        console.say(f"  resuming: {done:,} of {len(sources):,} images are packed already")
    chunks = [(at, min(at + CHUNK, end)) for _, (first, end) in todo for at in range(first, end, CHUNK)]
    with console.progress("prepare", len(sources), "images", done) as line:
        if cluster is not None:
            for (index, _), shard in zip(todo, _on_cluster(plan, writer, sources, todo, cluster), strict=True):
                writer.vouch(index, shard)
                date(writer.images(index), started)
                line.update(len(shard.rows) + len(shard.rejects))
            return
        results = _run(plan, [sources[a:b] for a, b in chunks], workers)
        try:
            for index, (first, end) in todo:
                images: list[Read] = []
                while len(images) < end - first:
                    images += (chunk := next(results))
                    line.update(len(chunk))
                writer.write(index, _shard(plan, sources, first, images))
                date(writer.images(index), started)
        finally:
            results.close()


def _settle(plan: Plan, writer: PackWriter, per_shard: int) -> None:
    """Write down what the shards on disk are shards of, or find that they are of something else."""
    folder = writer.folder / PARTS
    folder.mkdir(parents=True, exist_ok=True)
    settled = {
        "fingerprint": plan.fingerprint, "key_id": writer.key_id, "size": writer.size, "shard_rows": per_shard,
        "unreadable": False,
    }  # fmt: skip
    earlier = interrupted_plan(writer.folder)
    if earlier is not None and {**earlier, "unreadable": False} != settled:
        if not earlier["unreadable"] and writer.before is None:
            raise OutputError(
                f"{writer.folder} was begun with {_other(earlier, settled)}.",
                fix="Name another --out, or delete that folder and begin anew.",
            )
        # That run ended because files could not be read, of which some were mended or removed; or it added to a whole
        # Pack, which loses nothing: read all anew.
        for index in writer.rejected():
            writer.forget(index)
    write_json(folder / PLAN, settled)


def _forget_replaced(plan: Plan, writer: PackWriter) -> None:
    """Have shards written anew of whose files some hold other bytes than those that an interrupted run read."""
    of_id = {plan.key.hash(source): source for source in plan.table["source"].astype(str)}
    for index in writer.rejected():
        if (rows := writer.rows_of(index)) and writer.images(index).is_file():
            since = writer.images(index).stat().st_mtime_ns
            others, _ = replaced(plan.src, [(of_id[row["image_id"]], row["sha256"], since) for row in rows])
            if others:
                console.say(f"  {counted(len(others), 'file')} changed since that run: shard {index} is made anew")
                writer.forget(index)


def _other(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    if earlier["key_id"] != now["key_id"]:
        return f"another patient key ({earlier['key_id']}, now {now['key_id']})"
    return "another listing of the source"


def _run(plan: Plan, chunks: Sequence[list[str]], workers: int) -> Generator[list[Read], None, None]:
    """What becomes of each chunk, in order. Threads suffice here: the work is done in processes apart, one for each."""
    yield from run(
        prepare_images, [(plan.src, chunk, plan.treatment, plan.masks) for chunk in chunks], workers, threads=True
    )


def _on_cluster(
    plan: Plan, writer: PackWriter, sources: Sequence[str], todo: Sequence[tuple[int, Any]], cluster: Cluster
) -> Generator[Shard, None, None]:
    """Each shard, once a worker has written its arrays. Raw ids and the key stay here: only paths travel."""
    arrays = replace(writer, before=None)  # a worker needs nothing of a Pack that grows
    jobs = [
        (arrays, index, plan.fingerprint, plan.src, sources[first:end], plan.treatment, plan.masks)
        for index, (first, end) in todo
    ]
    try:
        for (index, (first, _)), results in zip(todo, cluster.run(write_arrays, jobs), strict=True):
            # Read back, so that the part vouches for what is seen from here.
            file = writer.folder / f"images-{index:05d}.npy"
            some = any(isinstance(image, Prepared) for image in results)
            yield _shard(plan, sources, first, results, np.load(file, mmap_mode="r") if some else None)
    except WorkerDied:
        raise OutputError(
            "Four workers of the cluster died, one after the other, at the same images: too little memory?",
            fix="Run the same command again with more memory for each worker, or without --cluster: it resumes.",
        ) from None


def write_arrays(
    writer: PackWriter,
    index: int,
    wanted: str,
    src: Path,
    sources: Sequence[str],
    treatment: Treatment,
    masks: Masks | None,
) -> list[Read]:
    """On a worker: read the images of a shard and write its arrays; what there is to say about each comes back.

    Args:
        writer: of the Pack.
        index: of the shard.
        wanted: the plan's fingerprint, by which a worker knows that it sees the same folder.
        src: the source folder.
        sources: the shard's images, relative to it.
        treatment: what is done to each.
        masks: where their masks are, if anywhere.

    Raises:
        UsageError: the source or the Pack is not seen from here.
        OutputError: the disk is full or cannot be written.
    """
    if not src.is_dir() or (interrupted_plan(writer.folder) or {}).get("fingerprint") != wanted:
        unseen = writer.folder if src.is_dir() else src
        raise UsageError(
            f"A worker of the cluster does not see {unseen}.",
            fix="Keep images and --out where every machine has them at the same path.",
        )
    results: list[Read] = []
    for at in range(0, len(sources), CHUNK):
        results += prepare_images(src, sources[at : at + CHUNK], treatment, masks)
    good = [image for image in results if isinstance(image, Prepared)]
    writer.write_arrays(index, _stacked(good, treatment), _planes(good))
    return [image if isinstance(image, str) else _without_arrays(image) for image in results]


def _without_arrays(image: Prepared) -> Prepared:
    nothing = np.empty((0, 0), bool)
    return replace(image, pixels=nothing, masks=dict.fromkeys(image.masks, nothing))


def _stacked(images: Sequence[Prepared], treatment: Treatment) -> np.ndarray:
    if not images:
        return np.empty((0, treatment.size, treatment.size), treatment.dtype)
    return np.stack([image.pixels for image in images])


def _planes(images: Sequence[Prepared]) -> dict[str, dict[int, np.ndarray]]:
    masks: dict[str, dict[int, np.ndarray]] = {}
    for position, image in enumerate(images):
        for name, mask in image.masks.items():
            masks.setdefault(name, {})[position] = mask
    return masks


def _shard(
    plan: Plan, sources: Sequence[str], first: int, results: Sequence[Read], arrays: np.ndarray | None = None
) -> Shard:
    """A shard of what was read; `arrays` are its images where they are on disk already."""
    good = [(first + i, image) for i, image in enumerate(results) if isinstance(image, Prepared)]
    images = [image for _, image in good]
    return Shard(
        images=_stacked(images, plan.treatment) if arrays is None else arrays,
        rows=plan.rows(good),
        content=np.array([i.content for _, i in good], dtype=np.int64).reshape(-1, 4),
        masks=_planes(images),
        rejects=[
            (plan.name(sources[first + i]), reason) for i, reason in enumerate(results) if isinstance(reason, str)
        ],
    )
