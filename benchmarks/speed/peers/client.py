"""Peers as contestants: a worker in their environment, asked from here."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import Work

WORKER = Path(__file__).with_name("worker.py")
PYTHON = Path(os.environ.get("PEERS_PYTHON", ".venv-peers/bin/python"))
MISSING = "not measured: no peers here; `make bench-peers` installs them"


class Unable(Exception):
    """A peer that does not run, with its own words."""


class Peers:
    """One worker process."""

    def __init__(self) -> None:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self._worker = subprocess.Popen(
            [PYTHON.absolute(), WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=env | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"},
        )  # fmt: skip

    def ask(self, do: str, name: str, **more: Any) -> float:
        """CPU seconds that a request took.

        Raises:
            Unable: it failed.
        """
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(json.dumps({"do": do, "name": name, **more}) + "\n")
        self._worker.stdin.flush()
        line = self._worker.stdout.readline()
        if not line:
            raise Unable("its process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Unable(answer["error"])
        return float(answer["seconds"])

    def contestant(self, do: str, name: str, **more: Any) -> Work:
        """Prepare a piece of work there; what is returned runs it and gives its CPU seconds.

        Raises:
            Unable: it cannot be prepared, or not run once.
        """
        self.ask(do, name, **more)
        self.ask("run", name)
        return lambda: self.ask("run", name)

    def close(self) -> None:
        """End the worker."""
        self._worker.communicate()


def installed() -> bool:
    """Whether there is an environment of peers."""
    return PYTHON.exists()
