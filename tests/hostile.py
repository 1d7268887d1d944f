"""Files that are bad in many ways, and mutations of good ones."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from kontrast.data.decode.dicom_writer import encode_radiograph

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"


def picture(seed=0, size=(24, 20)):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def encoded(suffix, pixels):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def dicom(syntax=None, frame=None, **elements):
    """A small DICOM file; with a syntax its pixels are `frame`, whatever the header says."""
    grey = np.linspace(0, 4095, 1200).reshape(40, 30).astype(np.uint16)
    data = encode_radiograph(grey, bits=12, inverted=False, uids={"SOPInstanceUID": ["x"]}, elements={})
    file = pydicom.dcmread(io.BytesIO(data))
    for name, value in elements.items():
        setattr(file, name, value)
    if syntax is not None:
        file.file_meta.TransferSyntaxUID = syntax
        file.PixelData = encapsulate([frame])
        file["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def png_of(height, width):
    """A PNG that claims a size and holds little."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


def deflate_bomb(size):
    plain = dicom()
    at = plain.index(b"1.2.840.10008.1.2.1")
    meta = plain[: 144 + struct.unpack_from("<I", plain, 140)[0]]
    name = str(DeflatedExplicitVRLittleEndian).encode()
    longer = meta[: at - 2] + struct.pack("<H", len(name)) + name + meta[at + 20 :]
    longer = longer[:140] + struct.pack("<I", len(longer) - 144) + longer[144:]
    squeeze = zlib.compressobj(1, wbits=-15)
    return longer + b"".join(squeeze.compress(bytes(2**20)) for _ in range(size >> 20)) + squeeze.flush()


def bad_files(*, bomb=True):
    """Two dozen kinds of bad file: name → (bytes, words that their reason holds)."""
    jpeg, png, tiff = (encoded(suffix, picture(size=(64, 64))) for suffix in (".jpg", ".png", ".tif"))
    huge = encoded(".jpg", picture())
    at = huge.index(b"\xff\xc0") + 5
    huge = huge[:at] + struct.pack(">HH", 60000, 60000) + huge[at + 4 :]
    wrong = bytearray(png)
    wrong[len(png) // 2] ^= 0xFF
    cut = dicom()
    return {
        "empty.png": (b"", "empty file"),
        "text.jpg": (b"not an image at all", "not an image"),
        "zeros.png": (bytes(500), "not an image"),
        "gif.png": (b"GIF89a" + bytes(100), "not an image"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated JPEG"),
        "head.jpg": (jpeg[:30], "truncated JPEG"),
        "cut.png": (png[: len(png) // 2], "truncated PNG"),
        "flipped.png": (bytes(wrong), "PNG"),
        "cut.tif": (tiff[: len(tiff) // 2], "TIFF"),
        "huge.jpg": (huge, "too many pixels"),
        "huge.png": (png_of(60000, 60000), "too many pixels"),
        "wide.png": (png_of(14000, 14000), "PNG"),
        "cmyk.jpg": (
            imagecodecs.jpeg_encode(np.zeros((16, 16, 4), np.uint8), colorspace="CMYK", outcolorspace="CMYK"),
            "CMYK",
        ),
        "float.tif": (encoded(".tiff", picture().astype(np.float32)), "TIFF of floating point"),
        "cut.dcm": (cut[: len(cut) - 500], "DICOM"),
        "head.dcm": (cut[:300], "DICOM"),
        "frames.dcm": (dicom(NumberOfFrames=9), "multi-frame"),
        "lies.dcm": (dicom(Rows=65535, Columns=65535), "too many pixels"),
        "short.dcm": (dicom(Rows=9000, Columns=9000), "damaged"),
        "film.dcm": (dicom(MPEG2MPML, b"1234"), "transfer syntax"),
        "frame.dcm": (dicom(JPEGBaseline8Bit, huge, Rows=24, Columns=20), "DICOM"),
        "ls.dcm": (dicom(JPEGLSLossless, b"\xff\xd8 no"), "DICOM"),
        "rle.dcm": (dicom(RLELossless, bytes(64)), "DICOM"),
        "bomb.dcm": (deflate_bomb(2**29) if bomb else b"", "bomb"),
    }


def seeds():
    """Good files of every format, small ones, to be mutated."""
    found = [path.read_bytes() for path in sorted(WHEEL.glob("*.dcm")) if path.stat().st_size < 40_000]
    for suffix in (".jpg", ".png", ".tif"):
        found += [encoded(suffix, picture()), encoded(suffix, np.dstack([picture()] * 3))]
    found.append(imagecodecs.jpeg_encode(picture().astype(np.uint16) * 16, bitspersample=12, lossless=True))
    return found


def mutated(data, rng):
    """One of: flipped bytes, a cut, a piece twice, a piece of zeros or of 255, a number of four bytes put anywhere."""
    data, kind = bytearray(data), rng.integers(6)
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    if kind == 0:
        for place in rng.integers(0, len(data), rng.integers(1, 20)):
            data[place] = rng.integers(256)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = data[at : at + length]
    elif kind == 5:
        data[at : at + 4] = rng.integers(0, 256, 4, dtype=np.uint8).tobytes()
    else:
        data[at : at + length] = bytes([0 if kind == 3 else 255]) * length
    return bytes(data)
