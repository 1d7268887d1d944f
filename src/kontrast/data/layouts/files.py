"""From what a table calls a file to the file itself."""

import fnmatch
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kontrast.data.columns import stem
from kontrast.data.layouts.names import masked
from kontrast.errors import DataError
from kontrast.types import counted


@dataclass(frozen=True)
class Found:
    """Where a table's files are.

    Attributes:
        sources: posix path below the source for each row, None where there is no such file.
        problems: (name in the table, reason) of those.
        notes: what had to be decided, to be printed.
    """

    sources: list[str | None]
    problems: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without a look at each; [] where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []


def matching(folder: Path, *patterns: str) -> list[Path]:
    """What in a folder fits any of some shell patterns, sorted: one listing, where `Path.glob` makes one for each."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 a Path of each of 70,000 takes a second
    except OSError:
        return []
    return [folder / name for name in sorted({n for pattern in patterns for n in fnmatch.filter(names, pattern)})]


def _common_suffix(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    count = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        count += 1
    return count


class _Index:
    """Files below a folder by their stems."""

    def __init__(self, images: Sequence[Path]) -> None:
        self.by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in images:
            self.by_stem[stem(path.name)].append(path)

    def candidates(self, value: str, unique: bool) -> list[Path]:
        """Files that `value` may mean, the best matches only.

        Where the table uses a bare name more than once (`view1_frontal.jpg`), its folders must agree too.
        """
        wanted = PurePosixPath(value)
        files = self.by_stem.get(stem(value), [])
        same_suffix = [f for f in files if f.suffix.lower() == wanted.suffix.lower()]
        files = same_suffix or files
        folders = wanted.parts[:-1]
        scores = {f: _common_suffix(folders, f.parts[:-1]) for f in files}
        if not unique:
            scores = {f: s for f, s in scores.items() if s == min(len(folders), len(f.parts) - 1)}
        best = max(scores.values(), default=0)
        return [f for f, s in scores.items() if s == best]


def locate(src: Path, values: Sequence[str], images: Sequence[Path], table_name: str) -> Found:
    """Find each file of a table below `src`: as a path, else by its name in any folder, with or without suffix.

    Args:
        src: the source folder.
        values: what the table says, one for each row.
        images: all image files below `src`, relative (`find_images`).
        table_name: for messages.

    Raises:
        DataError: none of the files is there.
    """
    clean = [value.replace("\\", "/").removeprefix("./") for value in values]
    existing = {path.as_posix(): path for path in images}
    index = _Index(images)
    uses = Counter(stem(value) for value in clean)
    options: list[list[Path]] = []
    prefix = src.as_posix() + "/"
    for value in clean:
        inside = value.removeprefix(prefix)
        options.append([existing[inside]] if inside in existing else index.candidates(value, uses[stem(value)] == 1))
    chosen, notes = _prefer_folder(options)
    problems = tuple(
        (values[row], "no such file" if not options[row] else f"{len(options[row])} files have this name")
        for row, path in enumerate(chosen)
        if path is None
    )
    if all(path is None for path in chosen) and values:
        raise nothing_there(src, table_name, values[0], len(values))
    return Found([None if path is None else path.as_posix() for path in chosen], problems, notes)


def _prefer_folder(options: list[list[Path]]) -> tuple[list[Path | None], tuple[str, ...]]:
    """Names found in several folders (images and masks, say) are taken from the folder that holds the most of them."""
    several = [paths for paths in options if len(paths) > 1]
    if not several:
        return [paths[0] if paths else None for paths in options], ()
    held = Counter(path.parent for paths in options for path in paths)
    chosen: list[Path | None] = []
    taken: Counter[str] = Counter()
    for paths in options:
        ranked = sorted(paths, key=lambda path: -held[path.parent])
        if len(ranked) > 1 and held[ranked[0].parent] == held[ranked[1].parent]:
            chosen.append(None)
            continue
        chosen.append(ranked[0] if ranked else None)
        if len(ranked) > 1:
            taken[masked(ranked[0].parent.as_posix())] += 1
    notes = tuple(
        f"{counted(count, 'name')} found in several folders; taken from {folder}/, which holds the most"
        for folder, count in taken.items()
    )
    return chosen, notes


def nothing_there(src: Path, table_name: str, first: str, count: int) -> DataError:
    """The error for a table whose files are all missing: what was looked for, and what is there."""
    entries = sorted(entry for entry in src.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(masked(entry.name) + ("/" if entry.is_dir() else "") for entry in entries[:6])
    more = f" and {len(entries) - 6:,} more" if len(entries) > 6 else ""
    return DataError(
        f"None of the {count:,} files that {table_name} lists is below {src}. "
        f"Looked first for {masked(first)} (N: a number, X: a word); the folder holds {shown or 'nothing'}{more}.",
        fix="Name the folder that holds the images, or the right column: --column path=NAME.",
    )
