"""Which library unpacks which transfer syntax, and imagecodecs as a decoder for pydicom.

| transfer syntax | decoder |
|---|---|
| implicit and explicit little endian, explicit big endian, deflated | pydicom |
| RLE | pylibjpeg-rle |
| JPEG baseline and extended, colour of 8 bit | Pillow |
| the same in grey (8 and 12 bit), JPEG lossless, JPEG-LS | imagecodecs |
| JPEG 2000, HTJ2K | pylibjpeg-openjpeg |

The choice is made here and not left to what happens to be installed: GDCM, which pydicom would use, crashes on damaged
files. pydicom asks a decoder module for `is_available`, `DECODER_DEPENDENCIES` and a function that decodes one frame.
"""

import struct
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder

from kontrast.data.decode.raster import jpeg_frame

PLUGIN = "imagecodecs"
_JPEG_LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_BY_PYLIBJPEG = (
    uid.RLELossless, uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K
)  # fmt: skip
NATIVE = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian
)  # fmt: skip
DECODER_DEPENDENCIES = dict.fromkeys((*_JPEG_LOSSY, *_JPEG_LOSSLESS, *_JPEG_LS), ("imagecodecs>=2025.3",))


def is_available(syntax: str) -> bool:
    """Whether this module decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def _decode_frame(src: bytes, runner: Any) -> bytes:
    syntax, grey = runner.transfer_syntax, runner.samples_per_pixel == 1
    if syntax in _JPEG_LS:
        pixels = imagecodecs.jpegls_decode(src)
    elif grey:
        pixels = imagecodecs.jpeg_decode(src)
    else:  # lossless colour holds what the header calls it, whatever the codec would guess from the components' names
        pixels = imagecodecs.jpeg_decode(src, colorspace="RGB", outcolorspace="RGB")
    pixels = np.asarray(pixels)
    if pixels.shape != (runner.rows, runner.columns, *([] if grey else [runner.samples_per_pixel])):
        raise ValueError("the frame's size is not the header's")
    # pydicom must learn that a 12-bit codestream comes out in 16-bit words, and colours pixel by pixel.
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    if not grey:
        runner.set_option("planar_configuration", 0)
    return pixels.tobytes()


def frame_size(syntax: str, frame: bytes) -> tuple[int, int] | None:
    """(height, width) as a compressed frame itself says, or None where it does not; nothing is unpacked.

    Decoders take memory by what the frame claims, not by what the header does.

    Raises:
        DecodeError: a JPEG whose head is damaged or cut.
    """
    if syntax in DECODER_DEPENDENCIES:
        return jpeg_frame(frame)[2:4]
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:  # SIZ, ITU-T T.800 A.5.1
        width, height, left, top = struct.unpack_from(">IIII", frame, 8)
        return height - top, width - left
    return None


def plugin(syntax: str, samples: int) -> str:
    """The decoder for a transfer syntax, by pydicom's name for it; "" where pydicom unpacks by itself.

    Raises:
        KeyError: no decoder is known.
    """
    if syntax in NATIVE:
        return ""
    if syntax in _BY_PYLIBJPEG:
        return "pylibjpeg"
    if syntax in _JPEG_LOSSY and samples != 1:
        return "pillow"
    if syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "_decode_frame"))
        return PLUGIN
    raise KeyError(syntax)
