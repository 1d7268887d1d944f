"""One process at a time in an output folder."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kontrast import console
from kontrast.artifacts.disk import disk_errors
from kontrast.errors import OutputError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` while the block runs; the system lets go when the process ends, however it ends.

    Raises:
        OutputError: another process holds it, or the folder cannot be written.
    """
    path = folder / LOCK
    while True:
        with disk_errors(path):
            stream = path.open("a")
        with stream:
            _take(stream, folder)
            if not _is_at(stream, path):  # whoever held it has deleted it, and another may hold its successor
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _take(stream: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise OutputError(
                f"--out {folder} is in use: another kontrast command is writing it.",
                fix="Wait until that one has ended, or name another --out.",
            ) from None
        # Some network file systems know no locks; the atomic writes still keep every file whole.
        console.warn(f"{folder} cannot be locked here; do not start a second command in it.")


def _is_at(stream: IO[str], path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
