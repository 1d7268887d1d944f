"""Reading a Pack: grey images of one size in memory-mapped shards, beside one table.

    images-00000.npy …         uint8 (or uint16) N×H×W, aspect kept, padding centred and 0
    masks-NAME-00000.npy …     uint8 0 or 1, N×H×W, for the shards in which any image has that mask
    table.csv                  one row per image, in the shards' order (sorted by source; images added later follow)
    rejects.csv                what could not be read, and why
    boxes.csv                  optional: image_id, finding, x, y, width, height in pixels of the packed image

Nothing in it executes code when opened. Writing is `PackWriter`, in pack_writer.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import CARD, Card, read_card, verify_files
from kontrast.artifacts.growth import NEXT
from kontrast.artifacts.pack_writer import BOXES, REJECTS, TABLE, PackWriter, Shard, shard_rows, slug
from kontrast.config import choose
from kontrast.errors import ArtifactError
from kontrast.types import SPLITS, TABLE_COLUMNS, PathLike

__all__ = ["Damage", "Pack", "PackWriter", "Shard", "damages", "shard_rows", "slug"]

VERIFY_BYTES = 2 * 2**30
"""Image shards up to this size in all are checksummed whenever a Pack is opened (about a second a GiB)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pack:
    """A Pack that was opened and checked.

    Attributes:
        path: its folder.
        card: its card.
        table: `table.csv`: text columns as str with "" for blank; `age` and the findings float, NaN for blank
            (findings: 1, 0, -1 uncertain, NaN not mentioned); `height` and `width` int, of the source image; last
            those of EXTRA_COLUMNS that the source gave, as text.
    """

    path: Path
    card: Card
    table: pd.DataFrame

    @classmethod
    def open(cls, path: PathLike, *, verify: bool = True) -> "Pack":
        """Open a Pack, checking card, table, row counts and every shard's header and size.

        Args:
            path: its folder.
            verify: also compare the image shards' checksums, up to 2 GiB of them. Those of the tables are always
                compared, a mask's when it is first used; `kontrast pack verify` checks everything at any size.

        Raises:
            ArtifactError: no Pack, or a damaged one; the message names the file.
        """
        folder = Path(path)
        card = read_card(folder, "pack")
        if (folder / NEXT / CARD).is_file():
            raise ArtifactError(
                f"{folder} was being added to when that command was stopped.",
                fix="Run the same `kontrast prepare` again: it finishes in a moment.",
            )
        shards = [shard["file"] for shard in card.content["shards"]]
        names = [name for name in (TABLE, REJECTS, BOXES) if name in card.files]
        if verify:
            if sum(card.files[name]["bytes"] for name in shards) <= VERIFY_BYTES:
                names += shards
            else:
                console.say(f"  {folder}: image checksums not compared (more than 2 GiB); `kontrast pack verify` does.")
        verify_files(folder, names)
        pack = cls(path=folder, card=card, table=_read_table(folder / TABLE, card.content))
        if len(pack) != card.content["rows"]:
            raise _damaged(folder / TABLE, f"{card.content['rows']:,} rows expected, {len(pack):,} found")
        _ = pack._shards  # maps every shard, which checks its header and size
        return pack

    def __len__(self) -> int:
        return len(self.table)

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the label columns, in order."""
        return tuple(self.card.content["findings"])

    @property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.card.content["size"])

    @property
    def dtype(self) -> np.dtype:
        """`uint8` or `uint16`."""
        return np.dtype(self.card.content["dtype"])

    @property
    def key_id(self) -> str:
        """Which key hashed the ids."""
        return str(self.card.content["key_id"])

    @property
    def patients_known(self) -> bool:
        """False where the source named no patients, so that each image counts as its own."""
        return bool(self.card.content["patients_known"])

    @property
    def mean(self) -> float:
        """Mean of the train pixels in [0,1], padding left out."""
        return float(self.card.content["mean"])

    @property
    def std(self) -> float:
        """Standard deviation of the train pixels in [0,1], padding left out."""
        return float(self.card.content["std"])

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names for `mask`."""
        return tuple(self.card.content["masks"])

    def rows(self, split: str | None = None) -> np.ndarray:
        """Row numbers (int64, ascending) of a split (`train`, `val`, `test`), or of all.

        Raises:
            UsageError: a split of another name.
        """
        if split is None:
            return np.arange(len(self), dtype=np.int64)
        choose(split, SPLITS, "--split")
        return np.flatnonzero(self.table["split"].to_numpy() == split).astype(np.int64)

    def images(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Copies of images: (n, size, size) of the Pack's dtype, in the order of `rows` (repeats allowed)."""
        return self._gather(self._shards, rows, self.dtype)

    def labels(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Labels as they were given: (n, F) float64 with 1, 0, -1 (uncertain) and NaN (not mentioned)."""
        return self._labels[np.asarray(rows, dtype=np.int64)]

    def mask(self, name: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Masks: (n, size, size) bool; all False where an image has none.

        Raises:
            UsageError: a name that is none of `mask_names`.
            ArtifactError: a mask file is damaged (checked when first used).
        """
        choose(name, self.mask_names, "mask")
        files = [shard["masks"].get(name) for shard in self.card.content["shards"]]
        if name not in self._mask_maps:
            verify_files(self.path, [file for file in files if file])
            self._mask_maps[name] = [
                self._map(file, shard["rows"], np.dtype(np.uint8)) if file else None
                for file, shard in zip(files, self.card.content["shards"], strict=True)
            ]
        return self._gather(self._mask_maps[name], rows, np.dtype(bool))

    @cached_property
    def boxes(self) -> pd.DataFrame | None:
        """Boxes around findings (`image_id, finding, x, y, width, height`, packed pixels), or None."""
        if BOXES not in self.card.files:
            return None
        return pd.read_csv(self.path / BOXES, dtype={"image_id": str, "finding": str})

    @cached_property
    def _labels(self) -> np.ndarray:
        return self.table[list(self.findings)].to_numpy(dtype=np.float64).reshape(len(self), len(self.findings))

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.array([shard["first"] for shard in self.card.content["shards"]], dtype=np.int64)

    @cached_property
    def _shards(self) -> list[np.ndarray]:
        return [self._map(shard["file"], shard["rows"], self.dtype) for shard in self.card.content["shards"]]

    @cached_property
    def _mask_maps(self) -> dict[str, list[np.ndarray | None]]:
        return {}

    def _map(self, file: str, rows: int, dtype: np.dtype) -> np.ndarray:
        path, shape = self.path / file, (rows, self.size, self.size)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise _damaged(path, "it is missing") from None
        except (ValueError, OSError, EOFError, SyntaxError):
            raise _damaged(path, "it is cut short or no NumPy file") from None
        if array.shape != shape or array.dtype != dtype:
            raise _damaged(path, f"expected {shape} {dtype}, found {array.shape} {array.dtype}")
        return array

    def _gather(
        self, maps: Sequence[np.ndarray | None], rows: Sequence[int] | np.ndarray, dtype: np.dtype
    ) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows must lie in 0 … {len(self) - 1}")
        out = np.zeros((len(rows), self.size, self.size), dtype=dtype)
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shard_of):
            array = maps[shard]
            if array is not None:
                at = np.flatnonzero(shard_of == shard)
                out[at] = array[rows[at] - self._starts[shard]]
        return out

    def __getstate__(self) -> dict[str, Any]:
        # Maps are opened again in another process rather than copied into it.
        return {"path": self.path, "card": self.card, "table": self.table}


def _read_table(path: Path, content: dict[str, Any]) -> pd.DataFrame:
    """`table.csv` with the types that Pack.table promises."""
    findings, extra = content["findings"], content.get("extra", [])  # protocol 1 has no `extra`
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding_errors="surrogateescape")
        for name in ("age", *findings):
            table[name] = pd.to_numeric(table[name].replace("", np.nan)).astype(np.float64)
        for name in ("height", "width"):
            table[name] = pd.to_numeric(table[name]).astype(np.int64)
    except (ValueError, KeyError):
        raise _damaged(path, "a column is missing, or holds what is no number") from None
    if tuple(table.columns) != (*TABLE_COLUMNS, *findings, *extra):
        raise _damaged(path, "its columns are not those of its card")
    return table


def _damaged(path: Path, what: str) -> ArtifactError:
    return ArtifactError(f"{path} is damaged: {what}.", fix="Restore it from a copy, or prepare the Pack again.")


@dataclass(frozen=True)
class Damage:
    """A file of a Pack that is not what its card says, and the rows (first … last, inclusive) that it holds, if any."""

    file: str
    problem: str
    first: int | None = None
    last: int | None = None

    @property
    def rows(self) -> range:
        """The rows that it holds."""
        return range(0) if self.first is None or self.last is None else range(self.first, self.last + 1)


def damages(path: PathLike) -> list[Damage]:
    """Compare every file of a Pack with its card, whatever its size, and go on after the first fault.

    Raises:
        ArtifactError: no Pack there, or its card itself is unreadable.
    """
    folder = Path(path)
    card = read_card(folder, "pack")
    holds = {
        file: (shard["first"], shard["first"] + shard["rows"] - 1)
        for shard in card.content["shards"]
        for file in (shard["file"], *shard["masks"].values())
    }
    found = []
    with console.progress("verify", len(card.files), "files") as line:
        for file in card.files:
            try:
                verify_files(folder, [file])
            except ArtifactError as error:
                found.append(Damage(file, error.problem, *holds.get(file, (None, None))))
            line.update()
    return found
