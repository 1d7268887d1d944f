"""Signals that ask a run to stop, taken note of, so that the step in hand is finished and saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from kontrast import console
from kontrast.errors import Interrupted

REQUEUE = 75
"""EX_TEMPFAIL: a scheduler that is told so starts the command again, which resumes."""

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Signals:
    """The last signal received, as its number; 0 for none."""

    def __init__(self) -> None:
        self.received = 0

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.received == signal.SIGINT:
                raise KeyboardInterrupt
            console.warn("finishing the step and saving; Ctrl-C again stops at once.")
        self.received = number


@contextlib.contextmanager
def noted() -> Iterator[Signals]:
    """Note SIGINT, SIGTERM and SIGUSR1 while the block runs; only a program's main thread can."""
    signals = Signals()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, signals._note) for number in STOP_SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(number: int, step: int) -> Interrupted:
    """The error for a run that stopped on a signal after saving."""
    name = signal.Signals(number).name
    return Interrupted(
        f"Stopped by {'Ctrl-C' if number == signal.SIGINT else name} after step {step:,}; everything is saved.",
        fix="Run the same command again: it resumes.",
        exit_code=130 if number == signal.SIGINT else REQUEUE,
    )
