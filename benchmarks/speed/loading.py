"""Case 5: batches from a Pack, in the system's file cache and out of it.

`cold` asks the system before each slice to drop the shards from its cache (posix_fadvise), which is what a Pack larger
than memory meets: every image comes from the disk. With a GPU, a Pack that fits lives there.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.speed.measure import alternate, figure, pictures, ratio, wall

from kontrast.engine.batches import Batches

SHARD, SHARDS, BATCH, STEPS = 512, 4, 256, 8


class Shards:
    """Shards on the disk, read as `artifacts.pack.Pack` reads them."""

    def __init__(self, folder: Path, size: int) -> None:
        import pandas as pd

        from kontrast.artifacts.pack import Pack

        self.size, self.paths = size, [folder / f"images-{i:05d}.npy" for i in range(SHARDS)]
        for i, path in enumerate(self.paths):
            np.save(path, pictures(SHARD, size, size, seed=i))
        os.sync()
        self._maps = [np.load(path, mmap_mode="r") for path in self.paths]
        self._starts = np.arange(SHARDS) * SHARD
        self._gather = Pack._gather
        self.table = pd.DataFrame({"image_id": [f"{i:08d}" for i in range(len(self))]})

    def __len__(self) -> int:
        return SHARD * SHARDS

    def images(self, rows: np.ndarray) -> np.ndarray:
        """(n, size, size) uint8."""
        return self._gather(self, self._maps, rows, np.dtype(np.uint8))  # type: ignore[arg-type]

    def forget(self) -> None:
        """Drop the pages of every shard."""
        self._maps = [np.load(path, mmap_mode="r") for path in self.paths]  # unmaps: mapped pages are not dropped
        for path in self.paths:
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading(batches: Batches, before: Callable[[], object] | None) -> Callable[[], float]:
    """Some batches of one epoch after another, in random order."""
    steps = iter(range(0, 10**6, STEPS))

    def work() -> None:
        first = next(steps)
        for step in range(first, first + STEPS):
            batches.at(step)

    timed = wall(work)

    def whole() -> float:
        if before is not None:
            before()
        return timed()

    return whole


def run() -> list[dict[str, Any]]:
    """Both sizes."""
    found = []
    for size in (64, 224):
        with tempfile.TemporaryDirectory() as name:
            shards: Any = Shards(Path(name), size)
            batches = Batches([(shards, np.arange(len(shards)))], BATCH, 0, "cpu")
            memory = pictures(BATCH, size, size)
            copies = np.empty_like(memory)
            order = np.random.default_rng(0).permutation(BATCH)
            seconds = alternate(
                {
                    "warm": reading(batches, None),
                    "cold": reading(batches, shards.forget),
                    "copy": wall(lambda m=memory, o=order, c=copies: [np.take(m, o, 0, c) for _ in range(STEPS)]),
                }
            )
        for name in ("warm", "cold"):
            rate = STEPS / sorted(seconds[name])[len(seconds[name]) // 2]
            what = f"{size} px, batches of {BATCH}, {name}"
            found.append(figure("loading", what, rate, "batches/s", images_per_second=round(rate * BATCH)))
        what = f"{size} px, warm against a copy within memory"
        found.append(figure("loading", what, ratio(seconds["copy"], seconds["warm"]), "×", rounds=seconds))
    if not torch.cuda.is_available():
        found.append(
            {"case": "loading", "what": "a Pack on the GPU", "value": None, "note": "not measured: no GPU here"}
        )
    return found
