"""From planned rows to a Pack: shard after shard, in as many processes as wanted, always to the same bytes."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import read_card
from kontrast.artifacts.disk import atomic, write_json
from kontrast.artifacts.files import write_csv
from kontrast.artifacts.pack_summary import top_reasons
from kontrast.artifacts.pack_writer import PARTS, REJECTS, PackWriter, Shard, shard_rows
from kontrast.cluster import Cluster
from kontrast.data.decode.arrays import parted
from kontrast.data.identity import Key
from kontrast.data.masks import Masks
from kontrast.data.preparation import Prepared, Treatment, prepare_images
from kontrast.data.sheet import before_and_after, png
from kontrast.errors import ArtifactError, DataError, OutputError, UsageError
from kontrast.types import CROP, EXTRA_COLUMNS
from kontrast.workers import WorkerDied, run

CHUNK = 32
"""Files that a worker takes at a time: enough to hide the cost of handing over, few enough to share out evenly."""
PLAN, PREVIEW = "plan.json", "preview.png"
Read = Prepared | str
"""An image, or why there is none."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be packed.

    Attributes:
        src: the source folder.
        table: one row per image in the Pack's order: `source, patient, study, split, view, sex, age` (raw ids)
            and the findings, then any of EXTRA_COLUMNS.
        findings: the label columns.
        treatment: what is done to each image.
        masks: where masks are, if anywhere.
        key: hashes the ids.
        fingerprint: of the source's listing; another one means that the source has changed.
        hash_paths: write hashes in place of the files' names.
    """

    src: Path
    table: pd.DataFrame
    findings: tuple[str, ...]
    treatment: Treatment
    masks: Masks | None
    key: Key
    fingerprint: str
    hash_paths: bool = False

    def name(self, source: str) -> str:
        """A file as the Pack's tables call it."""
        return self.key.hash(source) if self.hash_paths else source

    @property
    def extra(self) -> tuple[str, ...]:
        """The columns after the findings."""
        given = tuple(name for name in EXTRA_COLUMNS if name in self.table and name not in self.findings)
        return given if self.treatment.crop == "none" else (*given, CROP)

    def row(self, position: int, image: Prepared) -> dict[str, Any]:
        """A row of table.csv; here raw ids end."""
        record = self.table.iloc[position]
        patient, study, source = (str(record[name]) for name in ("patient", "study", "source"))
        return {
            "image_id": self.key.hash(source),
            "patient_id": self.key.hash(patient),
            "study_id": self.key.hash(f"{patient}/{study}") if study else "",
            "source": self.name(source),
            "sha256": image.sha256,
            "height": image.height,
            "width": image.width,
            CROP: "{}:{},{}:{}".format(*image.crop) if image.crop else "",
            **{
                name: record[name]
                for name in ("split", "view", "sex", "age", *self.findings, *self.extra)
                if name != CROP
            },
        }


def fingerprint(src: Path, table: pd.DataFrame, key: Key) -> str:
    """A name for what a source holds: every row as the tables give it, and every file's size (32 hexadecimal digits).

    Keyed, because a plain hash of a small table would let anyone test guesses at the patient ids in it.
    """
    sizes = [_size(src / str(source)) for source in table["source"]]
    # What a header says beside the rest is left out: earlier versions did not read it, and the sizes stand for it.
    lines = (
        table.drop(columns=list(EXTRA_COLUMNS), errors="ignore")
        .assign(bytes=sizes)
        .to_csv(index=False, lineterminator="\n", float_format="%.6g")
    )
    return key.hash(lines, 32)


def _size(path: Path) -> int:
    inside = parted(path)
    try:
        return (inside[0] if inside else path).stat().st_size
    except OSError:
        return -1


def interrupted_plan(folder: Path) -> dict[str, Any] | None:
    """What an interrupted run had settled (`fingerprint`, `key_id`, `size`), or None."""
    path = folder / PARTS / PLAN
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def fill(plan: Plan, writer: PackWriter, *, workers: int, cluster: Cluster | None = None) -> None:
    """Write every shard that is not on disk yet: from images that processes here read, or on a cluster's workers.

    Raises:
        UsageError: a worker of the cluster does not see the images or the Pack.
        OutputError: the disk is full or cannot be written, or the source changed since an earlier, interrupted run.
    """
    sources = plan.table["source"].astype(str).tolist()
    per_shard = shard_rows(writer.size, writer.dtype)
    _settle(plan, writer, per_shard)
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


def _other(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    if earlier["key_id"] != now["key_id"]:
        return f"another patient key ({earlier['key_id']}, now {now['key_id']})"
    return "another listing of the source"


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
        rows=[plan.row(at, image) for at, image in good],
        content=np.array([i.content for _, i in good], dtype=np.int64).reshape(-1, 4),
        masks=_planes(images),
        rejects=[
            (plan.name(sources[first + i]), reason) for i, reason in enumerate(results) if isinstance(reason, str)
        ],
    )


def generated(src: Path) -> bool:
    """Whether `kontrast phantom` drew the images: a page then need not say that they are of patients."""
    for place in (src, src.resolve().parent):
        try:
            read_card(place, "phantom")
        except ArtifactError:  # no card, or somebody else's card.json
            continue
        return True
    return False
