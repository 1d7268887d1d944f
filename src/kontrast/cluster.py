"""Jobs on a Dask cluster: the same functions as in `workers`, run by processes on other machines.

joblib has a backend for Dask, but it never returns once a job has brought down its worker as often as the scheduler
allows, and on a cluster of one worker it runs the jobs here (joblib 1.6). So jobs are given to Dask directly.
"""

import contextlib
import os
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kontrast import __version__, console
from kontrast.errors import MissingExtra, UsageError
from kontrast.types import counted
from kontrast.workers import AHEAD, WorkerDied

PATIENCE = 30
"""Seconds to wait for the scheduler to answer, and for a first worker."""


class Cluster:
    """A connection to a scheduler, closed at the end of the block.

    Attributes:
        threads: cores that each worker may use: those of its machine, shared among the workers there.
        workers: how many there were at the start; others may come and go.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> "Cluster":
        """Connect.

        Raises:
            MissingExtra: Dask is not installed.
            UsageError: no scheduler at the address, no workers, or workers that would not give the same results.
        """
        try:
            import distributed
        except ImportError:
            raise MissingExtra(
                "--cluster needs dask.distributed, which is not installed.", fix="pip install 'kontrast[cluster]'"
            ) from None
        try:
            self._client = distributed.Client(self._address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError):
            raise UsageError(
                f"--cluster {self._address}: no Dask scheduler answers there.",
                fix="Start one (`dask scheduler`) and give the address that it prints: tcp://HOST:8786.",
            ) from None
        try:
            self._check()
        except BaseException:
            self._client.close()
            raise
        console.decided("--cluster", self._address, counted(self.workers, "worker"))
        return self

    def _check(self) -> None:
        import distributed

        with contextlib.suppress(distributed.TimeoutError, TimeoutError):
            self._client.wait_for_workers(1, timeout=PATIENCE)
        states = self._client.scheduler_info(n_workers=-1)["workers"]
        self.workers = len(states)
        if not states:
            raise UsageError(
                f"--cluster {self._address} has no workers.",
                fix=f"Start some: `dask worker {self._address} --nworkers auto --nthreads 1`.",
            )
        if any(state["nthreads"] != 1 for state in states.values()):
            # Two jobs in one process would share its working folder, its random state and its number of threads.
            raise UsageError(
                f"--cluster {self._address} has workers of several threads.",
                fix=f"Start them with one each: `dask worker {self._address} --nworkers auto --nthreads 1`.",
            )
        facts = self._client.run(_facts)
        versions = sorted({str(one["version"]) for one in facts.values()} - {__version__})
        if versions:
            raise UsageError(
                f"--cluster {self._address} runs kontrast {', '.join(versions)}, this machine {__version__}.",
                fix="Install the same version on every machine.",
            )
        hosts = [state["host"] for state in states.values()]
        self.threads = min(max(1, one["cores"] // hosts.count(states[worker]["host"])) for worker, one in facts.items())

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def run(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Generator[Any, None, None]:
        """`function(*job)` for each job, in their order, in this process's working folder on each machine.

        A job whose worker dies is given to another one, by Dask, three times.

        Raises:
            WorkerDied: after the results of the jobs before; this job has brought down every worker that it met.
            UsageError: a worker that does not see the working folder.
        """
        import distributed

        here = str(Path.cwd())
        waiting: deque[Any] = deque()
        rest = iter(jobs)
        try:
            while True:
                while len(waiting) < AHEAD * max(1, len(self._client.nthreads())):
                    job = next(rest, None)
                    if job is None:
                        break
                    name = f"kontrast-{uuid.uuid4().hex}"
                    waiting.append(self._client.submit(_Job(here, function, job), key=name, pure=False))
                if not waiting:
                    return
                first = waiting.popleft()
                try:
                    result = first.result()
                except distributed.KilledWorker:
                    raise WorkerDied from None
                yield result
        finally:
            self._client.cancel(list(waiting))


def _facts() -> dict[str, Any]:
    """What a worker's process knows about itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"version": __version__, "cores": cores}


@contextlib.contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    before = Path.cwd()
    try:
        os.chdir(folder)
    except OSError:
        raise UsageError(
            f"A worker of the cluster does not see {folder}.",
            fix="Start the command in a folder that every machine has at the same path, with the images and --out too.",
        ) from None
    try:
        yield
    finally:
        os.chdir(before)


@dataclass(frozen=True, repr=False)
class _Job:
    """A call, made on a worker in the command's folder, so that relative paths mean what they mean here.

    Without a repr: Dask writes that of a job that fails into its logs, and paths can hold names.
    """

    folder: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self) -> Any:
        with _in_folder(self.folder):
            return self.function(*self.arguments)
