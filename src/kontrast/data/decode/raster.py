"""JPEG, PNG and TIFF into grey images.

Sizes are read from the headers first, so that a small file that claims gigapixels is refused before it is unpacked.
"""

import struct

import cv2
import imagecodecs
import numpy as np

from kontrast.data.decode.image import DecodeError, Image, check_size, luma

# Reasons go into rejects.csv; the codecs' own lines on standard error would only break the progress line.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _grey(pixels: np.ndarray, bits: int) -> Image:
    """Any of grey, grey + alpha, RGB, RGBA (channels last) as an Image."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DecodeError(f"pixels of type {pixels.dtype} are not supported (8 or 16 bit unsigned)")
    if pixels.ndim == 3:
        channels = pixels.shape[2]
        alpha = pixels[..., -1] if channels in (2, 4) else None
        grey = pixels[..., 0] if channels <= 2 else luma(pixels[..., :3])
        if alpha is not None:
            full = np.iinfo(pixels.dtype).max
            # What is transparent holds no image: shown on black, as the padding is.
            grey = (grey.astype(np.uint32) * alpha // full).astype(pixels.dtype)
        pixels = grey
    if pixels.dtype == np.uint16:
        bits = max(8, int(pixels.max()).bit_length())
    return Image(np.ascontiguousarray(pixels), bits, display=pixels.dtype == np.uint8)


def jpeg_frame(data: bytes) -> tuple[int, int, int, int, int, int]:
    """(kind, precision, height, width, components, offset of the first scan) from a JPEG's markers (ITU-T T.81 B).

    Raises:
        DecodeError: truncated or damaged.
    """
    at, frame = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise DecodeError("damaged JPEG")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:  # the last: JPEG-LS
            if at + 10 > len(data):
                break
            precision, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            frame = (marker - 0xC0, precision, height, width, components)
        if marker == 0xDA:
            if frame is None:
                raise DecodeError("damaged JPEG")
            return *frame, at
        at += 2 + length
    raise DecodeError("truncated JPEG")


def decode_jpeg(data: bytes) -> Image:
    """A JPEG as grey; EXIF orientation applied, 12 bit and lossless kinds included.

    Decoders fill what is missing of a cut file with grey and say nothing, so the end-of-image marker is required:
    in the coded data FF is always followed by 00 or a restart marker, so FF D9 after the first scan is the end.

    Raises:
        DecodeError: truncated, damaged, CMYK, or too large.
    """
    kind, precision, height, width, components, scan = jpeg_frame(data)
    check_size(height, width)
    if components == 4:
        raise DecodeError("CMYK JPEG: its four inks do not say what is grey; convert it first")
    if data.rfind(b"\xff\xd9") < scan:  # from behind, where it is
        raise DecodeError("truncated JPEG")
    if precision == 8 and kind in (0, 1, 2):
        # The luma channel as stored: for grey kept as colour, that is the grey.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise DecodeError("damaged JPEG")
        return Image(pixels, 8)
    try:
        pixels = np.asarray(imagecodecs.jpeg_decode(data))
    except Exception:
        raise DecodeError("damaged JPEG, or a kind that is not supported") from None
    image = _grey(pixels, precision)
    return Image(image.pixels, max(8, precision), display=precision == 8)


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise DecodeError("truncated PNG")
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def decode_png(data: bytes) -> Image:
    """A PNG as grey: 1 to 16 bit, grey, palette, RGB, with or without alpha.

    Raises:
        DecodeError: truncated, damaged (checksums are verified), or too large.
    """
    check_size(*_png_size(data))
    try:
        pixels = imagecodecs.png_decode(data)
    except Exception:
        raise DecodeError("damaged PNG" if b"IEND" in data[-16:] else "truncated PNG") from None
    return _grey(pixels, 8)


def _tiff_tags(data: bytes, offset: int, order: str) -> tuple[dict[int, int], int]:
    """The first value of each numeric tag of one directory, and the next directory's offset (TIFF 6.0, section 2)."""
    (count,) = struct.unpack_from(order + "H", data, offset)
    tags = {}
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
        if kind in (3, 4):
            letter, size = ("H", 2) if kind == 3 else ("I", 4)
            place = entry + 8 if number * size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
            (tags[tag],) = struct.unpack_from(order + letter, data, place)
    return tags, struct.unpack_from(order + "I", data, offset + 2 + 12 * count)[0]


def _tiff_page(data: bytes, order: str) -> tuple[dict[int, int], int]:
    """`_tiff_tags` of the first page."""
    if data[2:4] in (b"+\0", b"\0+"):
        raise DecodeError("BigTIFF is not supported")
    return _tiff_tags(data, struct.unpack_from(order + "I", data, 4)[0], order)


def size_in_header(data: bytes, kind: str) -> tuple[int, int]:
    """(height, width) as the header of a `JPEG`, `PNG` or `TIFF` says, without unpacking anything.

    Raises:
        DecodeError: a header that is damaged or cut.
    """
    if kind == "JPEG":
        return jpeg_frame(data)[2:4]
    if kind == "PNG":
        return _png_size(data)
    try:
        tags, _ = _tiff_page(data, "<" if data[:2] == b"II" else ">")
    except struct.error:
        raise DecodeError("truncated TIFF") from None
    return tags.get(257, 0), tags.get(256, 0)


def decode_tiff(data: bytes) -> Image:
    """A TIFF of one page as grey, 8 or 16 bit; MinIsWhite is inverted over its bits.

    Raises:
        DecodeError: several pages, BigTIFF, floating point, CMYK, truncated, damaged, or too large.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        tags, following = _tiff_page(data, order)
        # 254 is NewSubfileType: bit 0 marks a smaller copy of the page, a thumbnail.
        if following and not _tiff_tags(data, following, order)[0].get(254, 0) & 1:
            raise DecodeError("TIFF of several pages: one radiograph per file expected")
    except struct.error:
        raise DecodeError("truncated TIFF") from None
    width, height = tags.get(256, 0), tags.get(257, 0)
    bits, photometric, sample_format = tags.get(258, 1), tags.get(262, 1), tags.get(339, 1)
    check_size(height, width)
    if sample_format != 1 or bits > 16:
        raise DecodeError("TIFF of floating point, signed or 32 bit numbers is not supported")
    if photometric == 5:
        raise DecodeError("CMYK TIFF: its four inks do not say what is grey; convert it first")
    if photometric in (0, 1) and bits in (8, 16):
        try:
            pixels = imagecodecs.tiff_decode(data)
        except Exception:
            raise DecodeError("damaged or truncated TIFF") from None
        image = _grey(pixels, bits)
        if photometric == 0:
            turned = np.iinfo(pixels.dtype).max - image.pixels
            image = Image(turned, bits, display=bits == 8, polarity="MinIsWhite")
        return image
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise DecodeError("damaged TIFF, or a kind that is not supported")
    pixels = np.asarray(decoded)
    if pixels.ndim == 3 and pixels.shape[2] >= 3:  # OpenCV gives BGR
        pixels = np.concatenate([pixels[..., 2::-1], pixels[..., 3:]], axis=2)
    return _grey(pixels, bits)
