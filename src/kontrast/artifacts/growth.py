"""A Pack that grows: what it held before, and how the larger one takes its place without a moment of neither.

New shards are written beside the old ones, which stay as they are. The new tables and the new card are then put
together in `.parts/next`, and moved into place once all are there, the card last. Killed before that, the Pack is the
old one; killed within, the next `prepare` finishes the move.
"""

import csv
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kontrast.artifacts.card import CARD, Card, card_hash, read_card, verify_files
from kontrast.artifacts.disk import disk_errors

NEXT = Path(".parts", "next")
TABLE = "table.csv"


@dataclass(frozen=True, kw_only=True)
class Before:
    """A finished Pack to which images are added.

    Attributes:
        card: as it is.
        sha256: of that card, which the new one keeps.
        rows: the lines of its table, as text.
    """

    card: Card
    sha256: str
    rows: list[list[str]]

    @classmethod
    def of(cls, folder: Path) -> "Before":
        """What a Pack holds.

        Raises:
            ArtifactError: its table is damaged.
        """
        verify_files(folder, [TABLE])
        with (folder / TABLE).open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = list(csv.reader(stream))[1:]
        return cls(card=read_card(folder, "pack"), sha256=card_hash(folder), rows=rows)

    @property
    def first_shard(self) -> int:
        """The number of the first new shard."""
        numbers = [re.fullmatch(r"images-(\d+)\.npy", shard["file"]) for shard in self.card.content["shards"]]
        return 1 + max((int(found[1]) for found in numbers if found), default=-1)

    def history(self, added: int) -> list[dict[str, Any]]:
        """The earlier cards, this one the last: SHA-256, images, and how many were added to them."""
        rows = self.card.content["rows"]
        return [*self.card.content["history"], {"sha256": self.sha256, "rows": rows, "added": added}]


def commit(folder: Path) -> None:
    """Move what stands ready in `.parts/next` into place, the card last; nothing where nothing is ready.

    Raises:
        OutputError: the disk cannot be written.
    """
    ready = folder / NEXT
    if not (ready / CARD).is_file():
        return
    with disk_errors(folder):
        for path in sorted(ready.iterdir()):
            if path.name != CARD:
                path.replace(folder / path.name)
        _synced(folder)
        (ready / CARD).replace(folder / CARD)
        _synced(folder)
        shutil.rmtree(ready)


def _synced(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unlisted(folder: Path) -> list[Path]:
    """Arrays that an interrupted growth left beside the Pack's own."""
    files = read_card(folder, "pack").files
    found = [path for kind in ("images", "masks") for path in folder.glob(f"{kind}-*.npy")]
    return [path for path in found if path.name not in files]
