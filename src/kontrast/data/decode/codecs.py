"""imagecodecs as a pixel decoder for pydicom: grey JPEG (8 and 12 bit, lossless) and JPEG-LS.

pydicom asks a decoder module for `is_available`, `DECODER_DEPENDENCIES` and a function that decodes one frame.
Colour is left out: pydicom would have to know whether YBR was turned into RGB on the way.
"""

from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder

PLUGIN = "imagecodecs"
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
DECODER_DEPENDENCIES = dict.fromkeys((*_JPEG, *_JPEG_LS), ("imagecodecs>=2025.3",))


def is_available(syntax: str) -> bool:
    """Whether this module decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def _decode_frame(src: bytes, runner: Any) -> bytes:
    if runner.samples_per_pixel != 1:
        raise NotImplementedError("grey only")
    decode = imagecodecs.jpegls_decode if runner.transfer_syntax in _JPEG_LS else imagecodecs.jpeg_decode
    pixels = np.asarray(decode(src))
    if pixels.shape != (runner.rows, runner.columns):
        raise ValueError("the frame's size is not the header's")
    # pydicom must learn that a 12-bit codestream comes out in 16-bit words.
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    return pixels.tobytes()


def register() -> None:
    """Add the decoder to pydicom, once a process."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "_decode_frame"))
