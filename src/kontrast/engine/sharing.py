"""The trainings of a study: one after the other, side by side on this machine, or on the workers of a cluster."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from kontrast.cluster import Cluster
from kontrast.errors import TrainingError
from kontrast.workers import WorkerDied, run

Each = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]
"""Calls a function once for each tuple of arguments; what comes back is counted, not used."""


@contextlib.contextmanager
def sharing(jobs: int, cluster: str | None) -> Iterator[Each]:
    """How calls are made: in turn, `jobs` at a time in processes of their own, or on a cluster.

    Args:
        jobs: calls at a time on this machine; each gets its share of the cores.
        cluster: address of a Dask scheduler; None: this machine.

    Raises:
        TrainingError: a process died, and with a cluster every one that took up its work.
    """
    try:
        if cluster is not None:
            with Cluster(cluster) as there:
                yield lambda work, calls: there.run(_alone, [(work, there.threads, call) for call in calls])
        elif jobs > 1:
            threads = max(1, (os.cpu_count() or 1) // jobs)
            yield lambda work, calls: run(_alone, [(work, threads, call) for call in calls], jobs)
        else:
            yield in_turn
    except WorkerDied:
        fewer = f"--jobs below {jobs}" if cluster is None else "more memory for each worker"
        raise TrainingError(
            "A process of the study died: too little memory for so many at a time?",
            fix=f"Run the same command again with {fewer}: it goes on where it stopped.",
        ) from None


def in_turn(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """One call after the other, here."""
    return (work(*call) for call in calls)


def _alone(work: Callable[..., Any], threads: int, call: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    work(*call)
