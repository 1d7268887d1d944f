"""What a folder would hold had the process been killed, or the power been cut, at any moment of some work."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHANGES = {"open", "write", "flush", "close", "fsync", "rename", "replace", "unlink", "remove", "mkdir", "truncate"}
Files = dict[str, bytes]


@dataclass
class Watch:
    """Looks at a folder before and after every call that may change it, and keeps each state once.

    A kill leaves what is seen. Of a power cut the system promises less: a file has what it was last synchronised with,
    or nothing; a name is there if the folder was synchronised since. Names may also have come to the disk before
    contents did. Both are kept, each state with what `note` held when it was first seen.

    Attributes:
        killed: states after a kill.
        cut: states after a power cut.
        note: what the test wants to know of a moment.
    """

    folder: Path
    killed: list[tuple[Files, Any]] = field(default_factory=list)
    cut: list[tuple[Files, Any]] = field(default_factory=list)
    note: Any = None
    _contents: dict[int, bytes] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _held: list[int] = field(default_factory=list)
    _known: set[Any] = field(default_factory=set)

    def look(self) -> None:
        """Keep the states that this moment may leave, if they are new."""
        here = self.folder.is_dir()
        found = {p.name: (p.stat().st_ino, p.read_bytes()) for p in self.folder.iterdir()} if here else {}
        self._keep(self.killed, {name: content for name, (_, content) in found.items()})
        self._keep(self.cut, {name: self._contents.get(inode, b"") for name, inode in self._names.items()})
        self._keep(self.cut, {name: self._contents.get(inode, b"") for name, (inode, _) in found.items()})

    def _keep(self, states: list[tuple[Files, Any]], files: Files) -> None:
        key = (states is self.cut, frozenset(files.items()))
        if key not in self._known:
            self._known.add(key)
            states.append((files, self.note))

    def synchronised(self, descriptor: int) -> None:
        """A file's contents, or a folder's names, are on the disk from now on."""
        about = os.fstat(descriptor)
        if not stat.S_ISDIR(about.st_mode):
            self._held.append(os.dup(descriptor))  # so that no other file gets its number
            self._contents[about.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        elif self.folder.is_dir() and os.path.samestat(about, self.folder.stat()):
            self._names = {p.name: p.stat().st_ino for p in self.folder.iterdir()}


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Watch a folder while the block runs; it may not be there yet."""
    watch, plain, inside = Watch(folder), os.fsync, False

    def synchronise(descriptor: int) -> None:
        plain(descriptor)
        watch.synchronised(descriptor)

    def called(_: Any, event: str, what: Any) -> None:
        nonlocal inside
        if not inside and event in ("c_call", "c_return") and what.__name__ in CHANGES:
            inside = True
            watch.look()
            inside = False

    os.fsync = synchronise
    sys.setprofile(called)
    try:
        yield watch
    finally:
        sys.setprofile(None)
        os.fsync = plain
        for descriptor in watch._held:
            os.close(descriptor)


def put(files: Files, folder: Path) -> Path:
    """A folder with these files, as a crash left them."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
