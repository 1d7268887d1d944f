"""Files into grey images: what belongs here is formats (JPEG, PNG, TIFF, DICOM), and nothing about labels or sizes.

`decode` reads any of them; each failure is a `DecodeError` with a short reason. This package alone names DICOM's
library, which is loaded only when a DICOM file is met, or written (dicom_writer.py, for phantoms).
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from kontrast.apart import borrowed
from kontrast.data.decode.arrays import decode_member, image_shape, parted, read_bytes
from kontrast.data.decode.image import MAX_PIXELS, DecodeError, Image, by_table, check_size, histogram
from kontrast.data.decode.raster import decode_jpeg, decode_png, decode_tiff, size_in_header
from kontrast.types import PathLike

__all__ = [
    "EXTENSIONS", "MAX_PIXELS", "DecodeError", "Image", "by_table", "decode", "decode_and_hash", "file_format",
    "find_images", "histogram", "listed_once", "measure", "read_header", "read_headers", "sha256_of",
]  # fmt: skip

RASTER = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff"})
DICOM = frozenset({".dcm", ".dicom", ".dic"})
EXTENSIONS = RASTER | DICOM
"""Suffixes that count as images, lower case. DICOM without a suffix is found by its `DICM` mark."""

SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir"})


def file_format(data: bytes) -> str:
    """`JPEG`, `PNG`, `TIFF`, `DICOM` or `` (none of them), from the first 132 bytes; suffixes often lie."""
    if data[128:132] == b"DICM":  # first: the preamble may be made to look like TIFF (dual-personality files)
        return "DICOM"
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    return "DICOM" if _is_bare_dataset(data) else ""


def _is_bare_dataset(head: bytes) -> bool:
    """Whether DICOM begins without its preamble, as old exports do: an element of group 0002 or 0008 (PS3.5 7.1)."""
    explicit = head[4:6] in (b"UL", b"OB", b"CS", b"UI", b"DA", b"TM", b"LO", b"SH", b"AE", b"PN", b"ST", b"LT")
    if head[:2] in (b"\x00\x02", b"\x00\x08"):
        return head[2:3] == b"\x00" and explicit
    short = 0 < int.from_bytes(head[4:8], "little") <= 64 and len(head) > 8
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00" and (explicit or short)


def decode(path: PathLike) -> Image:
    """Read one image file as grey, bone bright (MONOCHROME1 and MinIsWhite are inverted).

    Colour becomes luma, transparency becomes black, palettes are looked up. 16 bit stays 16 bit.

    Raises:
        DecodeError: the file is missing, empty, truncated, no image, too large, or of an unsupported kind.
    """
    path = Path(path)
    if inside := parted(path):
        return decode_member(*inside)
    return _decoded(_contents(path), path.suffix.lower())


def decode_and_hash(path: PathLike) -> tuple[Image, str]:
    """`decode` and `sha256_of` of the same bytes, which are read once.

    Raises:
        DecodeError: see `decode`.
    """
    path = Path(path)
    if inside := parted(path):
        return decode_member(*inside), hashlib.sha256(read_bytes(*inside)[0]).hexdigest()
    data = _contents(path)
    return _decoded(data, path.suffix.lower()), hashlib.sha256(data).hexdigest()


def _contents(path: Path) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY)  # `read_bytes` asks the system twice as often: 4 % of a small image's time
        try:
            size = os.fstat(file).st_size
            data = os.read(file, size + 1)
        finally:
            os.close(file)
        if len(data) != size:  # it comes in pieces, or grows
            data = path.read_bytes()
    except FileNotFoundError:
        raise DecodeError("file not found") from None
    except OSError as error:
        raise DecodeError(f"cannot be read ({error.strerror or 'I/O error'})") from None
    if not data:
        raise DecodeError("empty file")
    return data


def _decoded(data: bytes, suffix: str) -> Image:
    match file_format(data[:132]):
        case "JPEG":
            return decode_jpeg(data)
        case "PNG":
            return decode_png(data)
        case "TIFF":
            return decode_tiff(data)
        case "DICOM":
            from kontrast.data.decode.dicom import decode_dicom

            return decode_dicom(data, force=data[128:132] != b"DICM")
    if suffix in DICOM:  # old exports lack the preamble; only the suffix makes that worth a try
        from kontrast.data.decode.dicom import decode_dicom

        return decode_dicom(data, force=True)
    raise DecodeError("not an image (JPEG, PNG, TIFF and DICOM are read)")


def sha256_of(path: PathLike) -> str:
    """SHA-256 of an image's file, in hexadecimal; of its grey values where it lies in an archive.

    Raises:
        DecodeError: the archive is damaged.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if inside := parted(path):
        return hashlib.sha256(read_bytes(*inside)[0]).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def measure(path: PathLike) -> tuple[int, int]:
    """(height, width) in pixels as a file's header says, before any turn: quick, and no codec is met.

    Raises:
        DecodeError: the file is missing, no image, or its header damaged.
    """
    path = Path(path)
    if inside := parted(path):
        return image_shape(*inside[:2])
    try:
        data = path.read_bytes()
    except OSError:
        raise DecodeError("cannot be read") from None
    kind = file_format(data[:132])
    if kind in ("JPEG", "PNG", "TIFF"):
        height, width = size_in_header(data, kind)
    elif kind == "DICOM" or path.suffix.lower() in DICOM:
        from kontrast.data.decode.dicom import size_of_file

        height, width = size_of_file(path)
    else:
        raise DecodeError("not an image")
    check_size(height, width)
    return height, width


def read_header(path: PathLike) -> dict[str, str | float | None]:
    """`Image.header` without its pixels; {} for files that are not DICOM or cannot be read."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            is_dicom = file_format(stream.read(132)) == "DICOM" or path.suffix.lower() in DICOM
    except OSError:
        return {}
    if not is_dicom:
        return {}
    from kontrast.data.decode.dicom import header_of_file

    return header_of_file(path)


def read_headers(root: PathLike, sources: Sequence[str]) -> list[dict[str, str | float | None]]:
    """`read_header` of each of some files below `root`, in their order, in a process apart: a bomb costs its header."""
    jobs = [(Path(root) / source,) for source in sources]
    with borrowed() as apart:
        return [found if isinstance(found, dict) else {} for found in apart.map(read_header, jobs)]


def _walk(folder: str, below: str, seen: set[tuple[int, int]], found: list[str]) -> None:
    """Add the image files below a folder, as words that begin with `below`: a Path of each would take seconds."""
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
            elif entry.is_file() and _is_image(entry):
                found.append(below + entry.name)
        except OSError:  # a link to itself
            continue
    for name in sorted(folders):
        _walk(f"{folder}/{name}", f"{below}{name}/", seen, found)


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.upper() == "DICOMDIR":  # a list of files, with the mark of one
        return False
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 a Path for each of 223,000 entries is slow
    if suffix in EXTENSIONS:
        return True
    if suffix and not suffix[1:].isdigit():
        return False
    # Archives name DICOM files `IM000001` or by a UID (`1.2.840.10008…`): look inside.
    try:
        with open(entry.path, "rb") as stream:  # noqa: PTH123 the same
            return file_format(stream.read(132)) == "DICOM"
    except OSError:
        return False


_listed: ContextVar[dict[str, list[Path]] | None] = ContextVar("listed", default=None)


@contextlib.contextmanager
def listed_once() -> Iterator[None]:
    """For this block a folder is walked when it is first asked for, and not again: 200,000 files take seconds."""
    before = _listed.set({})
    try:
        yield
    finally:
        _listed.reset(before)


def find_images(root: PathLike) -> list[Path]:
    """Every image file below `root`, relative to it, sorted by its posix path; hidden files are left out."""
    known, folder = _listed.get(), os.fspath(root)
    if known is None:
        return _found(folder)
    if folder not in known:
        known[folder] = _found(folder)
    return list(known[folder])


def _found(folder: str) -> list[Path]:
    found: list[str] = []
    _walk(folder, "", set(), found)
    return [Path(name) for name in sorted(found)]
