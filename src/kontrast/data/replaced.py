"""Which files hold other bytes than they did when they were read, though their names and sizes are the same.

Nothing is written down for that but checksums, so that one source gives one Pack to the last byte wherever it is
copied. A file that was written, moved or copied since (`mtime` or `ctime`) is compared by its checksum; the others
are not opened.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from kontrast import console
from kontrast.apart import borrowed
from kontrast.data.decode import sha256_of
from kontrast.data.decode.arrays import parted

SLACK_NS = 10 * 10**9
"""Nanoseconds by which the clock of a file server may be behind this machine's."""
AT_A_TIME = 256


def replaced(src: Path, files: Sequence[tuple[str, str, int]]) -> tuple[list[str], int]:
    """Which files have another checksum now.

    Args:
        src: the source folder.
        files: (path below it, SHA-256 as it was read, when that was: nanoseconds since 1970) of each.

    Returns:
        The paths of those that are others now, or cannot be read; and how many were compared.
    """
    suspects = [(source, sha256) for source, sha256, since in files if _touched(src / source) > since - SLACK_NS]
    found: list[str] = []
    with borrowed() as apart, console.progress("compare", len(suspects), "files") as line:
        for first in range(0, len(suspects), AT_A_TIME):
            some = suspects[first : first + AT_A_TIME]
            hashes = apart.map(sha256_of, [(src / source,) for source, _ in some])
            found += [source for (source, sha256), now in zip(some, hashes, strict=True) if now != sha256]
            line.update(len(some))
    return found, len(suspects)


def _touched(path: Path) -> int:
    inside = parted(path)
    try:
        state = (inside[0] if inside else path).stat()
    except OSError:
        return 0  # it is gone, which its size says
    return max(state.st_mtime_ns, state.st_ctime_ns)


def date(path: Path, ns: int) -> None:
    """Have a file that was made from others say since when these are to be compared: by its own time."""
    try:
        os.utime(path, ns=(ns, ns))
    except OSError:  # of another user, or on read-only storage: more is compared than need be
        return
