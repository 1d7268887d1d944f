"""What will be packed, settled before the first image is read; and what an interrupted run had settled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kontrast import console
from kontrast.artifacts.pack_writer import PARTS
from kontrast.data.identity import Key
from kontrast.data.masks import Masks, find_masks
from kontrast.data.preparation import Prepared, Treatment, suggest_size
from kontrast.data.source import Source
from kontrast.types import CROP, EXTRA_COLUMNS

PLAN = "plan.json"


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
        boxes: tables of boxes that the user named.
        key: hashes the ids.
        fingerprint: of the source's listing; another one means that the source has changed.
        hash_paths: write hashes in place of the files' names.
    """

    src: Path
    table: pd.DataFrame
    findings: tuple[str, ...]
    treatment: Treatment
    masks: Masks | None
    boxes: tuple[Path, ...]
    key: Key
    fingerprint: str
    hash_paths: bool = False

    @classmethod
    def of(cls, source: Source, treatment: Treatment, places: Sequence[Path], *, hash_paths: bool) -> "Plan":
        """A plan for all rows of a source; `places` are files that say where findings are: masks (JSON) and boxes.

        Raises:
            DataError: a file of masks that cannot be read.
        """
        return cls(
            src=source.src,
            table=source.table,
            findings=source.records.findings,
            treatment=treatment,
            masks=find_masks(source.src, [path for path in places if path.suffix == ".json"]),
            boxes=tuple(path for path in places if path.suffix != ".json"),
            key=source.key,
            fingerprint=source.fingerprint,
            hash_paths=hash_paths,
        )

    def name(self, source: str) -> str:
        """A file as the Pack's tables call it."""
        return self.key.hash(source) if self.hash_paths else source

    @property
    def extra(self) -> tuple[str, ...]:
        """The columns after the findings."""
        given = tuple(name for name in EXTRA_COLUMNS if name in self.table and name not in self.findings)
        return given if self.treatment.crop == "none" else (*given, CROP)

    def rows(self, images: Sequence[tuple[int, Prepared]]) -> list[dict[str, Any]]:
        """Rows of table.csv, of images by their positions in `table`; here raw ids end."""
        records: list[Any] = self.table.iloc[[position for position, _ in images]].to_dict("records")
        given = [name for name in ("split", "view", "sex", "age", *self.findings, *self.extra) if name != CROP]
        return [self._row(record, image, given) for record, (_, image) in zip(records, images, strict=True)]

    def _row(self, record: Mapping[str, Any], image: Prepared, given: Sequence[str]) -> dict[str, Any]:
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
            **{name: record[name] for name in given},
        }


def interrupted_plan(folder: Path) -> dict[str, Any] | None:
    """What an interrupted run had settled (`fingerprint`, `key_id`, `size`), or None."""
    path = folder / PARTS / PLAN
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def settled_size(folder: Path, source: Source) -> int:
    """Side in pixels that an interrupted run had settled on, or that suits the images; says which, and why."""
    earlier = interrupted_plan(folder)
    if earlier is not None and not earlier["unreadable"]:
        side, why = int(earlier["size"]), "as begun"
    else:
        side, why = suggest_size(source.src, source.table["source"].tolist())
    console.decided("--size", side, why)
    return side
