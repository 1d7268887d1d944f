"""Files that are written whole or not at all, and the system's refusals in words."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from kontrast.errors import OutputError

UNWRITABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP,
    errno.EIO, errno.ENXIO, errno.ESTALE,
)  # fmt: skip
"""What a place says that cannot be written, or no longer: a folder that was deleted, a drive that went away."""


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically: sorted nowhere, two spaces, no NaN."""
    with atomic(path) as stream:
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        stream.write(text.encode(errors="surrogateescape"))  # file names may be no UTF-8


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream whose content appears at `path` whole or not at all: temporary file, fsync, rename, fsync.

    Raises:
        OutputError: the disk is full or the place cannot be written; what was at `path` stays as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with disk_errors(path):
            with partial.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into words.

    Raises:
        OutputError: no space, no permission, a read-only place, or a path that cannot be.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            free = shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free
            raise OutputError(
                f"The disk that holds {path} is full ({free / 2**20:,.0f} MiB free).",
                fix="Free some space and run the same command again: it resumes.",
            ) from error
        if error.errno in UNWRITABLE:
            raise OutputError(f"{path} cannot be written: {error.strerror}.", fix="Name a writable --out.") from error
        raise
