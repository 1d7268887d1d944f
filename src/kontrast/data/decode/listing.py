"""Which files below a folder are images, how many are none, and what cannot be reached."""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kontrast.data.decode.formats import EXTENSIONS, file_format
from kontrast.types import CARD, CLAIM, PathLike

RAW = ("phantom", "export")
"""Kinds of artifact that hold images to prepare."""
SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir"})
BESIDE = frozenset((
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".md", ".rst", ".html", ".htm", ".pdf", ".yaml", ".yml", ".xls",
    ".xlsx", ".ods", ".doc", ".docx", ".py", ".log", ".sha256", ".md5",
))  # fmt: skip
"""Suffixes of what lies beside images (tables, reports): never opened here, and no matter when passed over."""
WELL_KNOWN = frozenset((
    ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".jls", ".jxl", ".heic", ".avif", ".svg", ".psd", ".pgm", ".ppm", ".tga",
    ".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".nii", ".nrrd", ".mha", ".mhd", ".hdr",
    ".img", ".ima", ".raw", ".dat", ".bin", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".tfrecord", ".parquet", ".db",
    ".sqlite", ".mp4", ".avi", ".mov", ".mpg", ".wmv", ".exe", ".dll", ".ini", ".inf", ".lnk", ".url", ".js", ".css",
    ".bak", ".tmp", ".part", ".crdownload", ".pt", ".pth", ".pkl",
))  # fmt: skip
"""Suffixes that are shown."""


NO_TARGET = "link to a file that is not there"


@dataclass(frozen=True)
class _Listing:
    """What is below a folder.

    Attributes:
        names: of images, relative to it, with `/`: a Path of each takes a while.
        passed: how many other files there are, by suffix.
        broken: (file or folder, reason) of what cannot be reached: it may hold images.
        own: folders that were left out since kontrast wrote them.
    """

    names: list[str] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)
    own: list[str] = field(default_factory=list)

    @cached_property
    def images(self) -> list[Path]:
        """Sorted by name, when all are found."""
        return [Path(name) for name in sorted(self.names)]


def _walk(folder: str, below: str, seen: set[tuple[int, int]], into: _Listing) -> None:
    """Add what is below a folder, as words that begin with `below`."""
    # Linked folders are followed (people link data disks), but no folder twice: links can form loops.
    try:
        state = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        into.broken.append((below.rstrip("/") or ".", f"folder that cannot be opened: {error.strerror}"))
        return
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    if below and written_by_kontrast(folder, {entry.name for entry in entries}):
        into.own.append(below)
        return
    folders: list[str] = []
    for entry in entries:
        if entry.name.startswith(".") or entry.name in SKIPPED_FOLDERS:
            continue
        try:
            if entry.is_dir():
                folders.append(entry.name)
            else:
                _add(entry, below, into, there=entry.is_file())
        except OSError:  # a link to itself
            _add(entry, below, into, there=False)
    for name in sorted(folders):
        _walk(f"{folder}/{name}", f"{below}{name}/", seen, into)


def _add(entry: os.DirEntry[str], below: str, into: _Listing, *, there: bool) -> None:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 a Path for each of 223,000 is slow
    if not there:
        if suffix in EXTENSIONS and entry.is_symlink():
            into.broken.append((below + entry.name, NO_TARGET))
    elif suffix in EXTENSIONS or (suffix not in BESIDE and _is_dicom(entry)):
        into.names.append(below + entry.name)
    elif suffix not in BESIDE and entry.name.upper() != "DICOMDIR":
        into.passed[_shown(suffix)] += 1


def written_by_kontrast(folder: PathLike, names: Collection[str] = (CARD, CLAIM)) -> str | None:
    """The kind of artifact that a folder holds, finished or not; None for other folders and for generated radiographs.

    A Pack's preview and heat maps are pictures too: `kontrast prepare . --out pack` would read its own the next time.

    Args:
        folder: it.
        names: what is in it, where that is known: most folders need no further look.
    """
    for name in (CARD, CLAIM):
        if name in names:
            try:
                found = json.loads(Path(folder, name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(found, dict) and {"kind", "config", "parents"} <= set(found):
                return None if found["kind"] in RAW else str(found["kind"])
    return None


def _is_dicom(entry: os.DirEntry[str]) -> bool:
    """Archives name DICOM files `IM000001`, by a UID (`1.2.840.10008…`) or as they please (`.IMA`, `.img`): look."""
    if entry.name.upper() == "DICOMDIR":  # a list of files, with the mark of one
        return False
    try:
        with open(entry.path, "rb") as stream:  # noqa: PTH123 a Path of each is slow
            return file_format(stream.read(132)) == "DICOM"
    except OSError:
        return False


def _shown(suffix: str) -> str:
    """A suffix as it is shown: what stands behind the last point of a name may be a person's."""
    return suffix if suffix in WELL_KNOWN else "another suffix" if suffix else "no suffix"


_listed: ContextVar[dict[str, _Listing] | None] = ContextVar("listed", default=None)


@contextlib.contextmanager
def listed_once() -> Iterator[None]:
    """For this block a folder is walked when it is first asked for, and not again: 200,000 files take seconds."""
    before = _listed.set({})
    try:
        yield
    finally:
        _listed.reset(before)


def find_images(root: PathLike) -> list[Path]:
    """Every image file below `root`, relative to it, sorted by its posix path; hidden files are left out.

    By its suffix, or else as DICOM by its content, whatever its name; but files with a suffix of BESIDE are not opened,
    and neither are folders that kontrast wrote.
    """
    return list(_listing(os.fspath(root)).images)


def passed_over(root: PathLike) -> Counter[str]:
    """How many files below `root` are no images, hidden files and those with a suffix of BESIDE left out, by suffix.

    Within `listed_once` those of the folders that were listed already, where there are any: listing takes time.
    """
    return sum((one.passed for _, one in _parts(root)), Counter())


def out_of_reach(root: PathLike) -> list[tuple[str, str]]:
    """(file or folder relative to `root`, reason) of links to nothing and folders that cannot be opened."""
    return [(os.path.normpath(below + name), why) for below, one in _parts(root) for name, why in one.broken]


def own_folders(root: PathLike) -> int:
    """How many folders below `root` were left out since kontrast wrote them."""
    return sum(len(one.own) for _, one in _parts(root))


def _parts(root: PathLike) -> list[tuple[str, _Listing]]:
    """What was listed of `root` (by `listed_once`), else all of it; each with its place below `root`."""
    folder, known = os.fspath(root), _listed.get() or {}
    if folder not in known:
        below = [name for name in known if Path(folder) in Path(name).parents]
        tops = [name for name in below if not any(other in map(str, Path(name).parents) for other in below)]
        if tops:
            return [(f"{Path(name).relative_to(folder).as_posix()}/", known[name]) for name in tops]
    return [("", _listing(folder))]


def _listing(folder: str) -> _Listing:
    known = _listed.get()
    if known is not None and folder in known:
        return known[folder]
    made = _Listing()
    _walk(folder, "", set(), made)
    if known is not None:
        known[folder] = made
    return made
