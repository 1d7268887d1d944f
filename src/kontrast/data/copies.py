"""Files that hold the same bytes, among as many as there are: sizes first, then their ends, then all of them.

And whose they are: one image under two patients should not be learnt from as one and tested on as the other.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kontrast.data.decode import MAX_BYTES, sha256_of
from kontrast.data.decode.arrays import parted

END = 4096
"""Bytes compared at either end of files of one size, before whole files are read."""


def byte_copies(
    src: Path,
    sources: Sequence[str],
    seconds: float | None = None,
    tell: Callable[[int], Any] = lambda count: None,
) -> tuple[list[tuple[str, str]], int]:
    """Which files repeat an earlier one, byte for byte.

    Args:
        src: the source folder.
        sources: files below it.
        seconds: stop after so long; None for never.
        tell: called with the number of files, after some.

    Returns:
        (file, the earlier one) of each copy, and how many files were compared. Images in archives are not, and files
        too large to be read.
    """
    until = float("inf") if seconds is None else time.monotonic() + seconds
    by_size = defaultdict[int, list[str]](list)
    compared = 0
    for source in sources:
        if time.monotonic() > until or (".npz/" in source and parted(Path(source))):
            continue
        try:
            size = os.stat(f"{src}/{source}").st_size  # noqa: PTH116 a Path each takes thrice as long
        except OSError:
            size = 0
        if size <= MAX_BYTES:  # a larger one is no image that is read: it is rejected
            compared += 1
            by_size[size].append(source)
    groups = [group for size, group in by_size.items() if size and len(group) > 1]
    tell(len(sources) - sum(map(len, groups)))
    pairs: list[tuple[str, str]] = []
    for group in sorted(groups, key=len):  # so that one large group of uncompressed files does not eat all the time
        tell(len(group))
        for alike in _grouped(group, lambda source: _ends(f"{src}/{source}")):
            if time.monotonic() > until:
                compared -= len(group)
                break
            for same in _grouped(alike, lambda source: _whole(src / source)):
                pairs += [(source, same[0]) for source in same[1:]]
    return sorted(pairs), compared


def shared_files(pairs: Iterable[tuple[str, str]], patient: Mapping[str, str]) -> dict[str, str]:
    """Patients who have a file in common, directly or through others: patient → one of them, the same for all.

    Args:
        pairs: of `byte_copies`.
        patient: whose each file is.

    Returns:
        Those who share a file, and no others; the one who stands for them is the first of them in order.
    """
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := first.get(name, name)) != name:
            name = above
        return name

    for copy, original in pairs:
        a, b = sorted((root(patient[copy]), root(patient[original])))
        if a != b:
            first[b] = a
    found = {name: root(name) for name in first}
    return found | {name: name for name in found.values()}


def _grouped(sources: Iterable[str], key) -> list[list[str]]:  # type: ignore[no-untyped-def]
    """Those of one key, where there are several."""
    found = defaultdict[str, list[str]](list)
    for source in sources:
        if word := key(source):
            found[word].append(source)
    return [group for group in found.values() if len(group) > 1]


def _ends(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without Python's buffers: of 200,000 files
    except OSError:
        return ""
    try:
        size = os.fstat(descriptor).st_size
        first = os.pread(descriptor, END, 0)
        last = os.pread(descriptor, END, max(END, size - END)) if size > END else b""
        return hashlib.sha256(first + last).hexdigest()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _whole(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""
