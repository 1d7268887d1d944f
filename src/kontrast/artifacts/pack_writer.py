"""Writing a Pack shard by shard, so that work stopped at any moment goes on and ends in the same bytes.

While it is made, a Pack holds `.parts/part-00000.json` … beside its shards: the table rows, rejects and pixel sums of
each. A part is written after its shards, so a part means that its shard is whole. `finish` joins the parts into
`table.csv` and `rejects.csv`, writes the card and then drops the parts.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kontrast.artifacts.card import CLAIM, Card, Parent, described, read_card, write_card
from kontrast.artifacts.disk import write_json
from kontrast.artifacts.files import cell, write_csv, write_npy, write_planes
from kontrast.artifacts.growth import NEXT, Before, commit, unlisted
from kontrast.artifacts.pixels import pixel_sums, statistics
from kontrast.errors import LeakageError
from kontrast.types import SPLITS, TABLE_COLUMNS, counted

PARTS, TABLE, REJECTS, BOXES = ".parts", "table.csv", "rejects.csv", "boxes.csv"
SHARD_IMAGES, SHARD_BYTES = 4096, 64 * 2**20


def shard_rows(size: int, dtype: str = "uint8") -> int:
    """Images in a full shard: at most 4096, and at most 64 MiB of pixels."""
    return max(1, min(SHARD_IMAGES, SHARD_BYTES // (size * size * np.dtype(dtype).itemsize)))


def slug(name: str) -> str:
    """A finding's or organ's name as it stands in a file name: `Pleural Effusion` is `pleural_effusion`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


@dataclass(kw_only=True)
class Shard:
    """What goes into a Pack at once.

    Attributes:
        images: (n, size, size) of the Pack's dtype; n may be 0 when no file could be read.
        rows: n mappings from each of the writer's `columns` to a value; None and NaN are written blank.
        content: (n, 4) first row, end row, first column, end column of the picture within its padding; None: all of it.
        masks: name → {position in the shard: (size, size) bool}; positions without a mask are left out.
        rejects: (file, reason) of what could not be read.
    """

    images: np.ndarray
    rows: Sequence[Mapping[str, Any]]
    content: np.ndarray | None = None
    masks: Mapping[str, Mapping[int, np.ndarray]] = field(default_factory=dict)
    rejects: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class PackWriter:
    """Writes a Pack into a claimed folder (or an empty one); also finds out what an earlier run has written there.

    Attributes:
        folder: the Pack.
        findings: names of the label columns, in order.
        size: side of the square images in pixels.
        dtype: `uint8` or `uint16`.
        key_id: name of the key that made the ids (`Key.id`).
        extra: columns after the findings.
        before: the finished Pack to which this adds; None for a new one.
    """

    folder: Path
    findings: tuple[str, ...]
    size: int
    dtype: str = "uint8"
    key_id: str
    extra: tuple[str, ...] = ()
    before: Before | None = None

    @property
    def first(self) -> int:
        """Number of the first shard."""
        return self.before.first_shard if self.before else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The header of `table.csv`."""
        return (*TABLE_COLUMNS, *self.findings, *self.extra)

    def part(self, index: int) -> Path:
        """The file whose presence says that shard `index` is whole."""
        return self.folder / PARTS / f"part-{index:05d}.json"

    def images(self, index: int) -> Path:
        """The file of the images of shard `index`."""
        return self.folder / f"images-{index:05d}.npy"

    def written(self, index: int) -> bool:
        """Whether shard `index` is on disk, whole."""
        return self.part(index).is_file()

    def rows_of(self, index: int) -> list[dict[str, str]]:
        """The rows of a shard on disk, as they will stand in table.csv."""
        part = json.loads(self.part(index).read_text("utf-8", "surrogateescape"))
        return [dict(zip(self.columns, row, strict=True)) for row in part["rows"]]

    def rejected(self) -> dict[int, list[tuple[str, str]]]:
        """The rejects of each shard on disk: (file, reason)."""
        return {index: [(file, reason) for file, reason in part["rejects"]] for index, part in self._parts().items()}

    def rows(self) -> list[dict[str, str]]:
        """The rows on disk, as they will stand in table.csv."""
        return [dict(zip(self.columns, row, strict=True)) for row in self._lines(self._parts())]

    def _lines(self, parts: Mapping[int, Any]) -> list[list[str]]:
        return [*(self.before.rows if self.before else ()), *(row for part in parts.values() for row in part["rows"])]

    def arrays(self) -> Iterator[np.ndarray]:
        """The images on disk, in the order of `rows`: (n, size, size) of each shard, mapped."""
        for shard in self._shards(self._parts())[0]:
            yield np.load(self.folder / shard["file"], mmap_mode="r", allow_pickle=False)

    def forget(self, index: int) -> None:
        """Have shard `index` written anew."""
        self.part(index).unlink(missing_ok=True)
        for file in self.folder.glob(f"*-{index:05d}.npy"):
            file.unlink()

    def _parts(self) -> dict[int, dict[str, Any]]:
        files = sorted((self.folder / PARTS).glob("part-*.json"))
        return {int(file.stem[5:]): json.loads(file.read_text("utf-8", "surrogateescape")) for file in files}

    def write(self, index: int, shard: Shard) -> None:
        """Write shard `index`: images, masks, then the part that vouches for them.

        Raises:
            OutputError: the disk is full or cannot be written; earlier shards stay.
        """
        self.write_arrays(index, shard.images, shard.masks)
        self.vouch(index, shard)

    def write_arrays(self, index: int, images: np.ndarray, masks: Mapping[str, Mapping[int, np.ndarray]]) -> None:
        """Write the images and masks of shard `index`, which count for nothing before `vouch`.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if len(images):
            write_npy(self.images(index), images)
        for name, planes in masks.items():
            if planes:
                write_planes(self.folder / f"masks-{slug(name)}-{index:05d}.npy", planes, len(images), self.size)

    def vouch(self, index: int, shard: Shard) -> None:
        """Write the part that says that the arrays of shard `index` are on disk, whole.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        images = shard.images
        if images.shape != (len(shard.rows), self.size, self.size) or images.dtype != np.dtype(self.dtype):
            raise ValueError(f"images {images.shape} {images.dtype} do not fit {len(shard.rows)} rows of this Pack")
        (self.folder / PARTS).mkdir(parents=True, exist_ok=True)
        write_json(
            self.part(index),
            {
                "rows": [[cell(row.get(c) if c in self.extra else row[c]) for c in self.columns] for row in shard.rows],
                "rejects": [list(pair) for pair in shard.rejects],
                "masks": sorted(name for name, planes in shard.masks.items() if planes),
                "pixels": pixel_sums(images, [row["split"] for row in shard.rows], shard.content),
            },
        )

    def finish(
        self,
        *,
        config: Mapping[str, Any],
        content: Mapping[str, Any],
        parents: Sequence[Parent] = (),
        mask_names: Sequence[str] = (),
        rejects: Sequence[tuple[str, str]] = (),
        extra: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] | None = None,
        written: Sequence[str] = (),
    ) -> Card:
        """Join the parts into the tables and write the card.

        Args:
            config: the configuration given to `claim`.
            content: what only the caller knows: `patients_known`, `layout`, `roles`, `notes` …
            parents: artifacts that this Pack was made from.
            mask_names: names of the masks, with their capitals; those that no image has are kept too.
            rejects: further (file, reason) pairs, of files that no shard saw.
            extra: further CSV files: name → (header, rows).
            written: further files that the caller has put there.

        Raises:
            LeakageError: a patient in two splits.
            OutputError: the disk is full or cannot be written.
        """
        parts = self._parts()
        rows, before = self._lines(parts), self.before
        splits = self._splits(rows)
        at = self.folder / NEXT if before else self.folder  # readers of what is there should not meet half of the new
        at.mkdir(parents=True, exist_ok=True)
        tables: dict[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = {
            TABLE: (self.columns, rows),
            REJECTS: (("file", "reason"), self._all_rejects(parts, rejects)),
        }
        for name, (header, lines) in (tables | dict(extra or {})).items():
            write_csv(at / name, header, lines)
        shards, files = self._shards(parts)
        found = [name for part in parts.values() for name in part["masks"]]
        earlier = before.card.content["masks"] if before else []
        masks = {slug(name): name for name in (*earlier, *mask_names, *found)}
        pixels = [part["pixels"] for part in parts.values()]
        card = write_card(
            at,
            "pack",
            config=config,
            parents=parents,
            files=[TABLE, REJECTS, *(extra or {}), *(() if before else (*written, *files))],
            known=self._known(before, [*written, *files], extra or {}) if before else None,
            content={
                "findings": list(self.findings),
                "extra": list(self.extra),
                "size": self.size,
                "rows": len(rows),
                "dtype": self.dtype,
                **statistics([*([before.card.content["pixels"]] if before else []), *pixels], self.dtype),
                "key_id": self.key_id,
                "splits": splits,
                "shards": shards,
                "masks": list(masks.values()),
                "history": before.history(len(rows) - len(before.rows)) if before else [],
                **content,
            },
        )
        commit(self.folder)
        tidy(self.folder)
        return card

    def _known(self, before: Before, new: Sequence[str], tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The files of a Pack that grows, beside its new tables: the old ones as they were, and the new arrays."""
        replaced = {TABLE, REJECTS, *tables}
        old = {name: known for name, known in before.card.files.items() if name not in replaced}
        return old | {name: described(self.folder / name) for name in new}

    def _shards(self, parts: Mapping[int, Any]) -> tuple[list[dict[str, Any]], list[str]]:
        """The shards as the card describes them, and their files; a shard of which nothing could be read is none."""
        shards: list[dict[str, Any]] = []
        first = len(self.before.rows) if self.before else 0
        for index, part in parts.items():
            if count := len(part["rows"]):
                masks = {name: f"masks-{slug(name)}-{index:05d}.npy" for name in part["masks"]}
                shards.append({"file": f"images-{index:05d}.npy", "first": first, "rows": count, "masks": masks})
                first += count
        files = [file for shard in shards for file in (shard["file"], *shard["masks"].values())]
        return [*(self.before.card.content["shards"] if self.before else ()), *shards], files

    def _all_rejects(self, parts: Mapping[int, Any], more: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        own = [(file, reason) for part in parts.values() for file, reason in part["rejects"]]
        return sorted([*own, *more])

    def _splits(self, rows: Sequence[Sequence[str]]) -> dict[str, dict[str, int]]:
        """Images and patients of each split; refuses a patient in two."""
        patient_at, split_at = TABLE_COLUMNS.index("patient_id"), TABLE_COLUMNS.index("split")
        patients: dict[str, set[str]] = {name: set() for name in SPLITS}
        images: dict[str, int] = dict.fromkeys(SPLITS, 0)
        for row in rows:
            patients[row[split_at]].add(row[patient_at])
            images[row[split_at]] += 1
        shared = len(set.union(*patients.values()))
        if shared != (apart := sum(len(p) for p in patients.values())):
            raise LeakageError(
                f"{counted(apart - shared, 'patient')} in more than one split.",
                fix="Give every patient one split; `kontrast prepare --repair-splits` does.",
            )
        return {name: {"images": images[name], "patients": len(patients[name])} for name in SPLITS}


def tidy(folder: Path) -> None:
    """Drop what a finished Pack no longer needs; also mends one that was killed just after its card was written."""
    read_card(folder, "pack")
    if (folder / PARTS).is_dir():
        for path in unlisted(folder):
            path.unlink()
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    for leftover in (folder / CLAIM, *folder.glob(".*.partial")):
        leftover.unlink(missing_ok=True)
