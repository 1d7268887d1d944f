"""A process beside this one for work that may crash, hang or take all memory: such a job costs its result, no more.

Decoders are written in C, and files come from anywhere. `Apart` does jobs one after the other in a process of its own
with limits on time and memory; a job that ends that process, or passes a limit, gives `Ended` with the kind of failure
in words, and the next job gets a new process. Nothing that the process writes to its standard streams is shown:
decoders quote what they read.
"""

import atexit
import contextlib
import gc
import math
import mmap
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any

MEMORY = 4 * 2**30
"""Bytes of address space that a job may take beyond what the process has once its libraries are loaded."""
COMPUTING_S = 60
"""Seconds of computing for a job; a radiograph takes below one. Counted by the system, so a busy machine costs none."""
WAIT_S = 300.0
"""Seconds after which a job that neither computes nor answers (a network drive that is gone) is given up."""
START_S = 120.0
"""Seconds that a process may take to start and to load its libraries."""
BATCH = 32
"""Answers that are sent together: for small images, handing over one by one would cost as much as decoding. What comes
before a crash in such a batch is done once more."""
SHARED = 32 * 2**20
"""Bytes of memory that both processes see, through which arrays come back: a pipe copies them five times, each time
into pages that the system has to find first. What does not fit comes through the pipe."""
IDLE_S = 60.0
"""Seconds after which a process without a job ends."""
_SURROUNDINGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # glibc gives every array above 128 KiB back to the system and asks for it anew at the next file: up to half of the
    # time of a small image. 32 MiB is the most that it takes; what is larger goes back at once.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A job without a result. `how` says what became of it, and nothing of what it was at."""

    how: str


class Apart:
    """One process beside this one, started when first needed and replaced whenever it ends.

    Args:
        memory: bytes that a job may take.
        computing_s: seconds that a job may compute, whole.
        wait_s: seconds that a job may take in all.
    """

    def __init__(
        self, *, memory: int | None = None, computing_s: int | None = None, wait_s: float | None = None
    ) -> None:
        self._memory = MEMORY if memory is None else memory
        self._computing_s = COMPUTING_S if computing_s is None else computing_s
        self._wait_s = WAIT_S if wait_s is None else wait_s
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._shared: mmap.mmap | None = None

    def map(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """`function(*job)` for each job, in their order; `Ended` where there is none.

        A job whose process dies is tried once more, for memory may have ended for another's sake. `function` must be
        found by import.
        """
        at, tries, complete, one_by_one = 0, 0, False, False
        try:
            while at < len(jobs):
                one_by_one = one_by_one or at == len(jobs) - 1
                try:
                    self._send(function, jobs[at:], 1 if one_by_one else BATCH)
                    while at < len(jobs):
                        data, places = self._answer(self._wait_s)
                        for result in _unpacked(data, places, self._shared):
                            yield result
                            at, tries = at + 1, 0
                except (EOFError, OSError) as error:
                    how, final = self._post_mortem(error)
                    tries += 1
                    if one_by_one and (final or tries > 1):
                        yield Ended(how)
                        at, tries = at + 1, 0
                    one_by_one = True  # with several answers at a time it is not known which job it was
            complete = True
        finally:
            if not complete:  # given up midway: answers are still to come
                self.close()

    def _send(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], batch: int) -> None:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        assert self._line is not None
        self._line.send((function, list(jobs), batch))
        self._answer(max(self._wait_s, START_S))  # it has loaded what the function needs; the clock begins to run

    def _start(self) -> None:
        self._line, theirs = Pipe()
        memory = _nameless(SHARED)
        try:
            self._shared = mmap.mmap(memory, SHARED) if memory is not None else None
            limits = (self._memory, self._computing_s, IDLE_S)
            words = f"from kontrast.apart import _serve; _serve({theirs.fileno()}, {memory}, {limits})"
            passed = [theirs.fileno(), *([memory] if memory is not None else ())]
            # Of a session of its own, so that Ctrl-C in a terminal is this process's to answer.
            self._process = subprocess.Popen(
                [sys.executable, "-c", words], pass_fds=passed, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, **_SURROUNDINGS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        finally:
            theirs.close()
            if memory is not None:
                os.close(memory)

    def _answer(self, wait_s: float) -> Any:
        assert self._line is not None
        if not self._line.poll(wait_s):
            raise TimeoutError
        return self._line.recv()

    def _post_mortem(self, error: BaseException) -> tuple[str, bool]:
        """How the process ended, and whether another try would end likewise."""
        assert self._process is not None
        if isinstance(error, TimeoutError):
            self.close()
            return f"gives no result within {self._wait_s:g} s", True
        code = self._process.wait()  # its end of the line is closed, which only its end does
        self.close()
        if code == -signal.SIGXCPU:
            return f"takes more than {self._computing_s} s of computing to read", True
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        why = "too little memory?" if code == -signal.SIGKILL else "a fault in its decoder, or too little memory"
        return f"brings down the process that reads it ({name}: {why})", False

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for end in (self._line, self._shared):
            if end is not None:
                end.close()
        self._process = self._line = self._shared = None


_idle: list[Apart] = []
_guard = threading.Lock()


@contextlib.contextmanager
def borrowed() -> Iterator[Apart]:
    """An `Apart` with the usual limits for this block alone: one that is running already, where there is one."""
    with _guard:
        apart = _idle.pop() if _idle else Apart()
    try:
        yield apart
    finally:
        with _guard:
            _idle.append(apart)


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


os.register_at_fork(after_in_child=_idle.clear)


def _nameless(size: int) -> int | None:
    """The number of an open file in memory, without a name; None where the system has no such, or allows none."""
    if not hasattr(os, "memfd_create"):
        return None
    file = os.memfd_create("kontrast")
    try:
        os.ftruncate(file, size)
    except OSError:  # files are limited in size (ulimit -f)
        os.close(file)
        return None
    return file


def _packed(
    results: Sequence[Any], shared: mmap.mmap | None, free: int
) -> tuple[tuple[bytes, list[tuple[int, int]]], int]:
    """Results for the pipe, with their arrays in `shared` from `free` on as far as they fit; and what is free then.

    The arrays are taken out of the pickle (PEP 574) and replaced by their places: (first byte, end).
    """
    places: list[tuple[int, int]] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        nonlocal free
        with buffer.raw() as raw:
            end = free + raw.nbytes
            if shared is None or end > len(shared):
                return True
            shared[free:end] = raw  # type: ignore[assignment]
        places.append((free, end))
        free = end
        return False

    return (pickle.dumps(results, protocol=5, buffer_callback=stays), places), free


def _unpacked(data: bytes, places: Sequence[tuple[int, int]], shared: mmap.mmap | None) -> list[Any]:
    """What `_packed` packed, in memory of its own."""
    arrays = []
    if shared is not None:
        with memoryview(shared) as whole:
            arrays = [bytearray(whole[first:end]) for first, end in places]
    found: list[Any] = pickle.loads(data, buffers=arrays)  # noqa: S301  from a process of ours
    return found


def _serve(line: int, shared_file: int | None, limits: tuple[int, int, float]) -> None:
    """Do what comes through the pipe until it is closed; the other end of `Apart`."""
    memory, computing_s, idle_s = limits
    connection = Connection(line)
    shared = mmap.mmap(shared_file, SHARED) if shared_file is not None else None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of memory would hold the patient's image and header
    limited = seconds = 0
    with contextlib.suppress(EOFError, OSError):  # the other side has closed, or is gone
        while connection.poll(idle_s):
            function, jobs, batch = connection.recv()
            connection.send(None)
            if not limited:
                gc.freeze()  # libraries' objects stay: searching them for garbage takes 2 % of a small image's time
                limited = _address_space() + memory
                _limit(resource.RLIMIT_AS, limited)
            results, free = [], 0  # what was in the shared memory has been fetched: all of it, before jobs are sent
            for done, job in enumerate(jobs, 1):
                end = math.ceil(time.process_time()) + computing_s
                if end != seconds:
                    seconds = end
                    _limit(resource.RLIMIT_CPU, seconds)
                results.append(_result(function, job, memory))
                if len(results) == batch or done == len(jobs):
                    answer, free = _packed(results, shared, free)
                    connection.send(answer)
                    results = []


def _result(function: Callable[..., Any], job: tuple[Any, ...], memory: int) -> Any:
    try:
        return function(*job)
    except MemoryError:
        return Ended(f"needs more than {memory / 2**30:.3g} GiB of memory to read")
    except BaseException as error:  # a decoder written in Rust panics past `except Exception`
        # Its own words could quote a header: the kind only.
        return Ended(f"unexpected {type(error).__name__}")


def _limit(what: int, value: int) -> None:
    """Lower a soft limit; where the system, or a lower limit, does not allow that, what is there stays."""
    _, hard = resource.getrlimit(what)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _address_space() -> int:
    """Bytes of this process's address space."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123
            return int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux, where the limit is not kept either
        return 2**33
