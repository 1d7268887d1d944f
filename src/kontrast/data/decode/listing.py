"""Which files below a folder are images, and how many are none."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from kontrast.data.decode.formats import EXTENSIONS, file_format
from kontrast.types import PathLike

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


def _walk(folder: str, below: str, seen: set[tuple[int, int]], found: list[str], passed: Counter[str]) -> None:
    """Add the image files below a folder, as words that begin with `below`: a Path of each would take seconds.

    Files that are none are counted in `passed`, by their suffix.
    """
    # Linked folders are followed (people link data disks), but no folder twice: links can form loops.
    try:
        state = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError:
        return
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    folders: list[str] = []
    for entry in entries:
        if entry.name.startswith(".") or entry.name in SKIPPED_FOLDERS:
            continue
        try:
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 a Path for each of 223,000 is slow
                if suffix in EXTENSIONS or (suffix not in BESIDE and _is_dicom(entry)):
                    found.append(below + entry.name)
                elif suffix not in BESIDE and entry.name.upper() != "DICOMDIR":
                    passed[_shown(suffix)] += 1
        except OSError:  # a link to itself
            continue
    for name in sorted(folders):
        _walk(f"{folder}/{name}", f"{below}{name}/", seen, found, passed)


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


@dataclass(frozen=True)
class _Listing:
    """The images below a folder, and how many other files of each suffix there are."""

    images: list[Path]
    passed: Counter[str]


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

    By its suffix, or else as DICOM by its content, whatever its name; but files with a suffix of BESIDE are not opened.
    """
    return list(_listing(os.fspath(root)).images)


def passed_over(root: PathLike) -> Counter[str]:
    """How many files below `root` are no images, hidden files and those with a suffix of BESIDE left out, by suffix.

    Within `listed_once` those of the folders that were listed already, where there are any: listing takes time.
    """
    folder, known = os.fspath(root), _listed.get() or {}
    if folder not in known:
        below = [name for name in known if Path(folder) in Path(name).parents]
        tops = [name for name in below if not any(other in map(str, Path(name).parents) for other in below)]
        if tops:
            return sum((known[name].passed for name in tops), Counter())
    return Counter(_listing(folder).passed)


def _listing(folder: str) -> _Listing:
    known = _listed.get()
    if known is not None and folder in known:
        return known[folder]
    names, passed = list[str](), Counter[str]()
    _walk(folder, "", set(), names, passed)
    made = _Listing([Path(name) for name in sorted(names)], passed)
    if known is not None:
        known[folder] = made
    return made
