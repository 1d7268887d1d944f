"""Sources that lie behind an address (`s3://bucket/xrays`): fetched to a folder here, then read like any other.

Everything that reads a source knows files alone, so that a local one loses neither speed nor features (links, Unicode,
checksums of files), and a Pack made from an address is the Pack made from a copy of it. The price is room for that copy
while the work goes on.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from kontrast import console
from kontrast.config import nearest
from kontrast.errors import DataError, MissingExtra, OutputError, UsageError
from kontrast.types import PathLike, counted
from kontrast.workers import run

AT_A_TIME = 16
"""Files fetched side by side: object stores answer slowly and bear many questions."""
_ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+(.*)", re.DOTALL)


def address(path: PathLike) -> str | None:
    """The address that a path stands for (`s3://b/x`, which a `Path` writes `s3:/b/x`); None for local ones."""
    found = _ADDRESS.fullmatch(str(path))
    if found is None or Path(path).exists():
        return None
    protocol, rest = found.groups()
    return f"{protocol}:///{rest}" if protocol in ("file", "local") else f"{protocol}://{rest}"


def shown(url: str) -> str:
    """An address without the user and password that it may hold."""
    return re.sub(r"://[^/@]*@", "://", url)


def brought(src: Path, labels: Sequence[Path], copy: Path) -> tuple[Path, tuple[Path, ...]]:
    """A source and its tables as paths here: what lies behind an address is fetched to `copy`, and that is said."""
    if url := address(src):
        console.note(f"{shown(url)} is copied to {copy} while the work goes on")
        src = fetched(url, copy / "images")
    return src, tuple(fetched_table(url, copy / "tables") if (url := address(path)) else path for path in labels)


def fetched(url: str, folder: Path) -> Path:
    """All files below an address, in a folder here; those that are there already with the same size are not fetched.

    Args:
        url: of a folder.
        folder: becomes its copy; what was deleted there meanwhile is deleted here too.

    Returns:
        The folder; of `file://`, the place itself.

    Raises:
        UsageError: an address of no known kind.
        MissingExtra: what its kind needs is not installed.
        DataError: it cannot be listed, holds no file, or a file cannot be fetched.
        OutputError: the disk has no room for it.
    """
    files, root = _opened(url)
    if type(files).__name__ == "LocalFileSystem":
        return Path(root)
    listing = {name: facts for name, facts in _listing(files, root, url).items() if _fits(name)}
    if not listing:
        raise DataError(f"{shown(url)} holds no file.", fix="Name the folder that holds the images.")
    copy(files, listing, folder, shown(url))
    return folder


def fetched_table(url: str, folder: Path) -> Path:
    """One file behind an address, in a folder here; see `fetched`."""
    files, path = _opened(url)
    if type(files).__name__ == "LocalFileSystem":
        return Path(path)
    name = PurePosixPath(path).name
    try:
        size = files.info(path)["size"]
    except Exception as error:
        raise DataError(f"{shown(url)} cannot be read ({type(error).__name__}).", fix="Check the address.") from None
    copy(files, {name: {"name": path, "size": size}}, folder, shown(url), delete=False)
    return folder / name


def copy(
    files: Any, listing: Mapping[str, Mapping[str, Any]], folder: Path, where: str, *, delete: bool = True
) -> None:
    """Bring a folder to a listing: name below it → `name` (in the file system) and `size` in bytes.

    Args:
        files: an fsspec file system.
        listing: what shall be there.
        folder: here.
        where: for messages.
        delete: remove files that are not in the listing.
    """
    if delete and folder.is_dir():
        for path in folder.rglob("*"):
            if path.is_file() and path.relative_to(folder).as_posix() not in listing:
                path.unlink()
    todo = [
        (files, facts["name"], folder / name)
        for name, facts in sorted(listing.items())
        if not (folder / name).is_file() or (folder / name).stat().st_size != facts["size"]
    ]
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(facts["size"] or 0 for facts in listing.values())
    free = shutil.disk_usage(folder).free
    if todo and needed > free:
        raise OutputError(
            f"{where} needs {needed / 2**20:,.0f} MiB here while it is read; the disk that holds {folder.parent} has "
            f"{free / 2**20:,.0f} MiB.",
            fix="Free some space, or name a larger disk: with --out for prepare, with $TMPDIR for scan.",
        )
    failed = []
    with console.progress("fetch", len(listing), "files", len(listing) - len(todo)) as line:
        for problem in run(_fetch, todo, AT_A_TIME, threads=True):
            line.update()
            failed += [problem] if problem else []
    if failed:
        raise DataError(
            f"{counted(len(failed), 'file')} of {where} cannot be fetched ({', '.join(sorted(set(failed)))}).",
            fix="Run the same command again: what has been fetched is kept.",
        )


def _fetch(files: Any, name: str, to: Path) -> str:
    """Fetch one file, whole or not at all; the kind of failure, or "". One that has vanished since is left out."""
    partial = to.with_name(f".{to.name}.partial")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(name, str(partial))
        partial.replace(to)
    except FileNotFoundError:
        return ""
    except Exception as error:
        return type(error).__name__
    finally:
        partial.unlink(missing_ok=True)
    return ""


def _opened(url: str) -> tuple[Any, str]:
    """The file system behind an address, and the path in it."""
    import fsspec

    protocol = url.partition(":")[0]
    known = fsspec.available_protocols()
    if protocol not in known:
        guess = nearest(protocol, known)
        raise UsageError(
            f"{shown(url)}: {protocol}:// is no known kind of address.",
            fix=(f"Did you mean {guess}://? " if guess else "") + "Name a folder here, or s3://BUCKET/FOLDER.",
        )
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError:
        extra = "kontrast[s3]" if protocol in ("s3", "s3a") else "the package that fsspec's documentation names"
        raise MissingExtra(
            f"{protocol}:// needs a package that is not installed.", fix=f"pip install '{extra}'"
        ) from None
    return files, str(path)


def _listing(files: Any, root: str, url: str) -> dict[str, dict[str, Any]]:
    try:
        found = files.find(root, detail=True)
    except Exception as error:  # each file system has its own; their words may hold keys
        raise DataError(
            f"{shown(url)} cannot be listed ({type(error).__name__}).",
            fix="Check the address, the network and your credentials.",
        ) from None
    base = root.strip("/")
    return {path.strip("/").removeprefix(base).strip("/"): facts for path, facts in found.items()}


def _fits(name: str) -> bool:
    """Whether a name may be a file below a folder here; hidden ones, and any that would climb out of it, may not."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not any(part.startswith(".") for part in parts) and not name.startswith("/")
