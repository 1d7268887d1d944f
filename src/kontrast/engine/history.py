"""`metrics.jsonl`: one line per logged step, none twice and none missing, however often a run was interrupted."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kontrast import distributed
from kontrast.artifacts.disk import atomic, disk_errors

HISTORY = "metrics.jsonl"


class History:
    """Appends lines to a run's `metrics.jsonl`, after dropping those that a resumed run will write again.

    Args:
        folder: the run's.
        step: steps done by the checkpoint that is resumed; later lines and torn ones are dropped. 0 for a new run.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / HISTORY
        self.last: dict[str, Any] = {}
        kept = [line for line in read_history(self.path) if line["step"] <= step]
        with atomic(self.path) as stream:
            stream.write("".join(_dump(line) for line in kept).encode())
        if kept:
            self.last = kept[-1]
        with disk_errors(self.path):
            self._stream = self.path.open("a", encoding="utf-8")

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line; what is not finite becomes null."""
        self.last = {k: _plain(v) for k, v in line.items()}
        with disk_errors(self.path):
            self._stream.write(_dump(self.last))
            self._stream.flush()

    def sync(self) -> None:
        """Have the lines on the disk before the checkpoint that counts on them."""
        with disk_errors(self.path):
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a `metrics.jsonl`, in order; [] where there is none."""
    lines: list[dict[str, Any]] = []
    if not path.is_file():
        return lines
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # torn by a kill: a resumed run writes it again
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


class Window:
    """Means of logged values since the last logged line. Sums stay on the device: nothing waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor | float], device: torch.device) -> None:
        """Take in one step's values (numbers or tensors of one element)."""
        self.count += 1
        for name, value in values.items():
            number = torch.as_tensor(value, dtype=torch.float64, device=device).detach().reshape(())
            self._sums[name] = self._sums[name] + number if name in self._sums else number

    def means(self) -> dict[str, float]:
        """The means over the steps taken in, averaged over processes; starts anew."""
        names = list(self._sums)
        if not names:
            return {}
        stacked = distributed.all_reduce_mean(torch.stack([self._sums[n] for n in names]) / max(self.count, 1))
        self._sums, self.count = {}, 0
        return dict(zip(names, stacked.tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What each process has summed so far, for a checkpoint between two lines; every process takes part."""
        sums = {name: distributed.gather(value[None]).cpu() for name, value in self._sums.items()}  # (W,) each
        return {"sums": sums, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from a checkpoint; where the number of processes is another, each takes their mean."""
        rank, world = distributed.rank(), distributed.world_size()
        self._sums = {k: (v[rank] if len(v) == world else v.mean()).to(device) for k, v in state["sums"].items()}
        self.count = state["count"]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dump(line: Mapping[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"
