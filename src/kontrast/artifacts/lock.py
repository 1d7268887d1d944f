"""One process at a time in an output folder."""

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

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
    with disk_errors(path):
        stream = path.open("a")
    with stream:
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
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
