"""DICOM files into grey images: one frame, any transfer syntax of radiographs (see codecs.py).

The order of operations is that of the standard (display.py). Colours and palettes become luma. Overlays are left out,
those in unused high bits too. Not done: presentation states, several frames.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from kontrast.data.decode import codecs
from kontrast.data.decode.display import by_word, number, render
from kontrast.data.decode.header import TAGS, header_of
from kontrast.data.decode.image import MAX_PIXELS, DecodeError, Image, check_size, luma

_DEFLATED = b"1.2.840.10008.1.2.1.99"
INFLATED_BYTES = 2 * MAX_PIXELS + 2**26
"""A deflated file may grow to the largest image of 16 bits and its header; a bomb of 400 kB grows to a gigabyte."""


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote header values
        yield


def _inflated(data: bytes) -> bytes:
    """A deflated file as an explicit little-endian one, within INFLATED_BYTES; any other as it is (PS3.5 A.5).

    Raises:
        DecodeError: damaged, or it grows beyond the limit.
    """
    at = data.find(_DEFLATED, 132, 2048)
    if at < 0 or data[128:132] != b"DICM" or data[132:138] != b"\x02\0\0\0UL" or len(data) < 144:
        return data
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    if at >= start:
        return data
    try:
        rest = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], INFLATED_BYTES + 1)
    except zlib.error:
        raise DecodeError("damaged or truncated DICOM") from None
    if len(rest) > INFLATED_BYTES:
        raise DecodeError(f"deflated DICOM that grows beyond {INFLATED_BYTES >> 20} MiB (a bomb?)")
    plain = str(ExplicitVRLittleEndian).encode().ljust(len(_DEFLATED), b"\0")
    return data[:start].replace(_DEFLATED, plain, 1) + rest


def _some(path: Path) -> Dataset:
    """What is used of a file's header; the rest of it, and the pixels, are not read."""
    with path.open("rb") as stream:
        deflated = _DEFLATED in stream.read(2048)
        stream.seek(0)
        source = io.BytesIO(_inflated(stream.read())) if deflated else stream
        return pydicom.dcmread(source, stop_before_pixels=True, force=True, specific_tags=list(TAGS))


def header_of_file(path: Path) -> dict[str, str | float | None]:
    """`Image.header` of a DICOM file without its pixels; {} where it cannot be read."""
    try:
        with _quiet():
            return header_of(_some(path))
    except Exception:
        return {}


def size_of_file(path: Path) -> tuple[int, int]:
    """(height, width) as a DICOM file's header says; 0 where it does not."""
    try:
        with _quiet():
            dataset = _some(path)
            return int(number(dataset, "Rows", 0)), int(number(dataset, "Columns", 0))
    except Exception:
        return 0, 0


def _syntax(dataset: Any) -> str:
    """The transfer syntax; files without meta information are read as what they look like."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if getattr(dataset, "file_meta", None) else None
    if syntax:
        return str(syntax)
    implicit, little = dataset.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _bits(dataset: Dataset, allocated: int) -> tuple[int, int]:
    """(BitsStored, HighBit), the usual ones where the header's cannot be."""
    stored = int(number(dataset, "BitsStored", allocated))
    stored = stored if 1 <= stored <= allocated else allocated
    high = int(number(dataset, "HighBit", stored - 1))
    return stored, high if stored - 1 <= high < allocated else stored - 1


def _stored(dataset: Any) -> np.ndarray:
    """Stored pixel values, (H, W) or (H, W, 3), as the file holds them: maybe read-only, unused bits included.

    Raises:
        DecodeError: no pixels, several frames, too many pixels, or a codec that fails.
    """
    frames = int(number(dataset, "NumberOfFrames", 1))
    if frames > 1:
        raise DecodeError(f"multi-frame DICOM ({frames} frames): one radiograph per file expected")
    if "PixelData" not in dataset:
        raise DecodeError("DICOM without pixels, or truncated")
    check_size(int(number(dataset, "Rows", 0)), int(number(dataset, "Columns", 0)))
    syntax = _syntax(dataset)
    try:
        plugin = codecs.plugin(syntax, int(number(dataset, "SamplesPerPixel", 1)))
    except KeyError:
        raise DecodeError("DICOM of a transfer syntax that is not supported") from None
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    native = syntax in codecs.NATIVE
    options: dict[str, Any] = {"decoding_plugin": plugin, "correct_unused_bits": not native, "view_only": native}
    try:
        if not native:
            _check_frame(dataset, syntax)
        pixels, _ = get_decoder(syntax).as_array(dataset, index=0, **options)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # a codec written in Rust panics past `except Exception`
        raise DecodeError("DICOM whose pixels are damaged, truncated or of an unsupported kind") from None
    return pixels


def _check_frame(dataset: Any, syntax: str) -> None:
    """Refuse a compressed frame of another size than the header's.

    Raises:
        ValueError: it is.
    """
    size = codecs.frame_size(syntax, get_frame(dataset.PixelData, 0, number_of_frames=1))
    if size is not None and size != (dataset.Rows, dataset.Columns):
        raise ValueError("the frame's size is not the header's")


def _used_bits(dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """BitsStored bits below HighBit of each word, sign extended (PS3.5 8.1.1); overlays may lie in the others.

    Decoders of compressed pixels have seen to that.
    """
    allocated = 8 * pixels.dtype.itemsize
    if _syntax(dataset) not in codecs.NATIVE:
        return pixels
    stored, high = _bits(dataset, allocated)
    if stored == allocated or number(dataset, "BitsAllocated", allocated) != allocated or pixels.dtype.kind not in "iu":
        return pixels
    return (pixels << (allocated - 1 - high)) >> (allocated - stored)


def _padding(dataset: Dataset, bits: int, signed: bool) -> tuple[int, int] | None:
    """The first and the last stored value that is padding (PS3.3 C.7.5.1.1.2), or None."""
    if "PixelPaddingValue" not in dataset:
        return None

    def value(name: str, default: float) -> int:
        # The value may be written as signed or unsigned, and with bits that are not stored.
        found = int(number(dataset, name, default)) & ((1 << bits) - 1)
        return found - (1 << bits) if signed and found >= 1 << bits - 1 else found

    first = value("PixelPaddingValue", 0)
    last = value("PixelPaddingRangeLimit", first)
    return min(first, last), max(first, last)


def _read(data: bytes, force: bool) -> Dataset:
    try:
        dataset = pydicom.dcmread(io.BytesIO(_inflated(data)), force=force)
    except DecodeError:
        raise
    except MemoryError:
        raise
    except Exception:
        raise DecodeError("damaged or truncated DICOM" if not force else "not an image") from None
    if force and "Rows" not in dataset:
        raise DecodeError("not an image")
    return dataset


def decode_dicom(data: bytes, *, force: bool = False) -> Image:
    """One DICOM file as a grey image, bone bright.

    A VOI table or window gives 0 … 2**bits - 1 as the display range. Without one the stored range is kept (`display`
    False above 8 bits).

    Args:
        data: the file's bytes.
        force: read without the preamble and `DICM` mark.

    Raises:
        DecodeError: see the reasons; header text is never quoted.
    """
    with _quiet():
        try:
            return _to_image(_read(data, force))
        except (DecodeError, MemoryError):
            raise
        except Exception:  # a header whose elements are not what they should be
            raise DecodeError("damaged or truncated DICOM") from None


def _to_image(dataset: Any) -> Image:
    colour = str(dataset.get("PhotometricInterpretation", "")).upper().strip()
    pixels = _stored(dataset)
    header = header_of(dataset)
    if colour == "PALETTE COLOR":
        pixels = apply_color_lut(_used_bits(dataset, pixels), dataset)[..., :3]
    if pixels.ndim == 3:
        return _from_colour(pixels, header, palette=colour == "PALETTE COLOR")
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise DecodeError("DICOM whose pixels are not one grey image of whole numbers")
    signed = int(number(dataset, "PixelRepresentation", 0)) == 1
    bits = min(16, _bits(dataset, 8 * pixels.dtype.itemsize)[0])
    padding = _padding(dataset, bits, signed)
    words = by_word(pixels, partial(_used_bits, dataset), by_span=padding is None)
    table, display = render(dataset, words, bits=bits, signed=signed, padding=padding)
    polarity = (
        colour if colour in ("MONOCHROME1", "MONOCHROME2") else ""
    )  # other words of a header are nobody's business
    return Image(
        *(words.words, max(8, bits), header), table=table, display=display, doubts=_doubts(dataset, colour),
        polarity=polarity,
    )  # fmt: skip


def _from_colour(pixels: np.ndarray, header: dict[str, Any], *, palette: bool) -> Image:
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.shape[2] != 3:
        raise DecodeError("colour DICOM of more than 16 bits, or of other than three colours, is not supported")
    grey = luma(pixels)
    if palette and grey.dtype == np.uint16 and grey.max() < 256:  # tables of 16-bit words that hold 8-bit values
        grey = grey.astype(np.uint8)
    return Image(grey, 8 * grey.dtype.itemsize, header, polarity="colour")


def _doubts(dataset: Dataset, colour: str) -> tuple[str, ...]:
    """Where a grey image's polarity is not what its header says twice: PS3.3 C.8.11.3.1.2 ties the two together."""
    if colour not in ("MONOCHROME1", "MONOCHROME2"):
        return ("DICOM that does not say whether its low values are dark: taken as dark",)
    shape = str(dataset.get("PresentationLUTShape") or "").upper().strip()
    if shape == ("IDENTITY" if colour == "MONOCHROME1" else "INVERSE"):
        return ("DICOM whose two elements on polarity contradict each other: MONOCHROME1 and 2 are believed",)
    return ()
