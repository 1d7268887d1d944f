"""Jobs in processes of their own, through joblib: results in order, Ctrl-C without noise, no process left behind.

A process that dies at work is `WorkerDied` here. Work on files that may bring it down belongs into `apart`.
"""

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any, Literal

from kontrast import console

AHEAD = 2
"""Jobs that each process may have been given before the result of the first is fetched (joblib's `pre_dispatch`)."""


class WorkerDied(Exception):
    """A process died at work; which job it was at is not known."""


def processes(asked: int | Literal["auto"], files: int) -> int:
    """How many processes read so many files: as asked, else one for each core, said with its reason."""
    if asked != "auto":
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    few = files < 400
    workers = 1 if few else cores
    console.decided("--workers", workers, "few images: starting more takes longer" if few else "one per core")
    return workers


def run(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    processes: int,
    *,
    threads: bool = False,
) -> Generator[Any, None, None]:
    """`function(*job)` for each job, in their order.

    Args:
        function: must be found by import, or be picklable by value.
        jobs: arguments of each call.
        processes: how many work at a time.
        threads: threads of this process do, since the jobs wait for processes of their own.

    Raises:
        WorkerDied: after the results of the jobs before; from then on nothing comes.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky import BrokenProcessPool

    where: dict[str, Any] = {"backend": "loky", "initializer": _begin, "initargs": (os.getpid(),)}
    pool = Parallel(
        n_jobs=processes, return_as="generator", batch_size=1, pre_dispatch=AHEAD * processes,
        **({"backend": "threading"} if threads else where),
    )  # fmt: skip
    results: Any = None
    try:
        with _deaf_to_ctrl_c():  # what was pressed meanwhile is heard at its end
            results = pool(delayed(function)(*job) for job in jobs)
        for result in results:  # noqa: UP028  (an end from outside must come to the `finally` here)
            yield result
    except BrokenProcessPool:
        raise WorkerDied from None
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # joblib counts the jobs that it gives up
            if results is not None:
                results.close()


def _begin(parent: int) -> None:
    """See to it that this process ends soon after the one it works for, which may be killed and tell nobody."""

    def watch() -> None:
        while os.getppid() == parent:  # asked of the system alone, it could be whoever inherits orphans
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started here never see Ctrl-C, which a terminal sends to all of them: this one ends them, quietly."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # a process of Python's own, whose start would take the block away
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
