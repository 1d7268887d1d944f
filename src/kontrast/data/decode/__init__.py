"""Files into grey images: what belongs here is formats (JPEG, PNG, TIFF, DICOM), and nothing about labels or sizes.

`decode` reads any of them; each failure is a `DecodeError` with a short reason. This package alone names DICOM's
library, which is loaded only when a DICOM file is met, or written (dicom_writer.py, for phantoms).
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from kontrast.apart import borrowed
from kontrast.data.decode.arrays import decode_member, image_shape, parted, read_bytes
from kontrast.data.decode.formats import DICOM, EXTENSIONS, RASTER, file_format, may_be_dicom
from kontrast.data.decode.image import MAX_PIXELS, DecodeError, Image, by_table, check_size, histogram
from kontrast.data.decode.listing import (
    find_images,
    listed_once,
    out_of_reach,
    own_folders,
    passed_over,
    written_by_kontrast,
)  # fmt: skip
from kontrast.data.decode.raster import decode_jpeg, decode_png, decode_tiff, size_in_header
from kontrast.types import PathLike

__all__ = [
    "DICOM", "EXTENSIONS", "MAX_BYTES", "MAX_PIXELS", "RASTER", "DecodeError", "Image", "by_table", "decode",
    "decode_and_hash", "file_format", "find_images", "histogram", "listed_once", "may_be_dicom", "measure",
    "out_of_reach", "own_folders", "passed_over", "read_header", "read_headers", "sha256_of", "written_by_kontrast",
]  # fmt: skip

MAX_BYTES = 2 * 2**30
"""Files larger than this are not read: the largest image that is allowed takes 0.8 GiB without compression."""


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
            if size > MAX_BYTES:
                raise DecodeError(f"file of more than {MAX_BYTES / 2**30:.3g} GiB")
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
    with path.open("rb") as stream:  # a block at a time: it may be as large as a disk
        return hashlib.file_digest(stream, "sha256").hexdigest()


def measure(path: PathLike) -> tuple[int, int]:
    """(height, width) in pixels as a file's header says, before any turn: quick, and no codec is met.

    Raises:
        DecodeError: the file is missing, no image, or its header damaged.
    """
    path = Path(path)
    if inside := parted(path):
        return image_shape(*inside[:2])
    data = _contents(path)
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
