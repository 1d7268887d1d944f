"""Images inside a `.npz` archive of arrays, one at a time as it streams: no pickle is opened, no array held whole.

A member is named as if the archive were a folder: `chestmnist.npz/train/000123` is image 123 of `train_images`.
"""

import re
import threading
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from kontrast.data.decode.image import DecodeError, Image, check_size
from kontrast.errors import DataError

_MEMBER = re.compile(r"(.+\.npz)/(train|val|test)/(\d+)", re.I)
LABELS_AT_MOST = 2**28
_open = threading.local()


def member(archive: str, part: str, index: int) -> str:
    """The name of an image in an archive."""
    return f"{archive}/{part}/{index:06d}"


def parted(path: Path) -> tuple[Path, str, int] | None:
    """(archive, part, number) of such a name, or None for any other."""
    found = _MEMBER.fullmatch(path.as_posix())
    return (Path(found[1]), found[2], int(found[3])) if found else None


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array that a stream begins with; it then stands at the first number."""
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError):
        raise DataError(f"{name} is no NumPy array.", fix="Download the archive again.") from None
    if dtype.hasobject or fortran:
        raise DataError(f"{name} is an array of objects or of another order.", fix="It is not opened: not MedMNIST's.")
    return shape, dtype


def _stream(archive: Path, name: str) -> IO[bytes]:
    try:
        return zipfile.ZipFile(archive).open(f"{name}.npy")
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        raise DataError(f"{archive.name} holds no array {name}, or is damaged.", fix="Download it again.") from None


def shape_of(archive: Path, name: str) -> tuple[int, ...]:
    """The shape of an array in an archive.

    Raises:
        DataError: no archive, no such array, or one that could hold code.
    """
    with _stream(archive, name) as stream:
        return _header(stream, name)[0]


def array_of(archive: Path, name: str) -> np.ndarray:
    """A whole array of at most 256 MiB: labels, not images.

    Raises:
        DataError: as in `shape_of`, or one that is larger or cut short.
    """
    with _stream(archive, name) as stream:
        shape, dtype = _header(stream, name)
        wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if not 0 <= wanted <= LABELS_AT_MOST:
            raise DataError(f"{archive.name}: {name} claims {wanted:,} bytes.", fix="Download it again.")
        try:
            data = stream.read(wanted)
        except (zlib.error, zipfile.BadZipFile, EOFError, OSError):
            data = b""
    if len(data) != wanted:
        raise DataError(f"{archive.name}: {name} is cut short or damaged.", fix="Download it again.")
    return np.frombuffer(data, dtype).reshape(shape)


def image_shape(archive: Path, part: str) -> tuple[int, int]:
    """(height, width) of the images of a part.

    Raises:
        DecodeError: the archive cannot be read.
    """
    try:
        return shape_of(archive, f"{part}_images")[1:3]  # type: ignore[return-value]
    except DataError:
        raise DecodeError("its archive is damaged") from None


def read_bytes(archive: Path, part: str, index: int) -> tuple[bytes, tuple[int, int]]:
    """The grey values of one image and its (height, width).

    The archive's stream is kept open between calls, with the last image, so that images in order cost one reading of
    it altogether; going further back opens it anew.

    Raises:
        DecodeError: no such image, not 8-bit grey, or the archive is damaged.
    """
    key = (str(archive), part, archive.stat().st_mtime_ns) if archive.exists() else None
    state = getattr(_open, "state", None)
    try:
        if state is not None and state[0] == key and state[3] == index + 1:
            return state[4], state[2][1:]
        if state is None or state[0] != key or state[3] > index:
            stream = _stream(archive, f"{part}_images")
            shape, dtype = _header(stream, part)
            if len(shape) != 3 or dtype != np.uint8:
                raise DecodeError("its archive holds no 8-bit grey images")
            check_size(*shape[1:])
            state = [key, stream, shape, 0, b""]
        _, stream, (count, height, width), at, _ = state
        if index >= count:
            raise DecodeError("file not found")
        size = height * width
        for _ in range(index - at):
            stream.read(size)
        data = stream.read(size)
    except DecodeError:
        raise
    except (DataError, zlib.error, zipfile.BadZipFile, EOFError, OSError):
        _open.state = None
        raise DecodeError("its archive is damaged or truncated") from None
    if len(data) != size:
        _open.state = None
        raise DecodeError("its archive is damaged or truncated")
    _open.state = [key, stream, (count, height, width), index + 1, data]
    return data, (height, width)


def decode_member(archive: Path, part: str, index: int) -> Image:
    """One image of an archive.

    Raises:
        DecodeError: see `read_bytes`.
    """
    data, shape = read_bytes(archive, part, index)
    return Image(np.frombuffer(data, np.uint8).reshape(shape), 8)
