"""Plain DICOM into grey images: one frame, any transfer syntax of grey radiographs.

The order of operations is that of the standard (PS3.3 C.11): padding is set apart, the modality rescale makes
stored values into output units, the first linear (or sigmoid) VOI window chooses what is shown, and MONOCHROME1
is inverted last, over the range that those steps gave. Not done here: VOI and modality LUT *sequences*,
presentation states, several frames.
"""

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from kontrast.data.decode import codecs
from kontrast.data.decode.image import DecodeError, Image, check_size, luma

_HEADER = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "view": "ViewPosition",
    "sex": "PatientSex",
    "age": "PatientAge",
}
_STORAGE = {
    "1": "CR", "1.1": "DX", "1.2": "MG", "2": "CT", "2.1": "CT", "4": "MR", "4.1": "MR", "6.1": "US", "12.1": "XA",
    "20": "NM", "128": "PT",
}  # fmt: skip
"""Modality by the end of an image's storage class, 1.2.840.10008.5.1.4.1.1.… (PS3.4 B.5)."""


def _header(dataset: Dataset) -> dict[str, str | float | None]:
    texts = {name: str(value).strip() or None if (value := dataset.get(tag)) else None for name, tag in _HEADER.items()}
    return {**texts, "modality": _modality(dataset)}


def _modality(dataset: Dataset) -> str | None:
    """A code such as `DX` or `CT`, from the storage class where the element is empty or holds no code."""
    code = str(dataset.get("Modality") or "").strip()
    if re.fullmatch("[A-Z]{2,6}", code):
        return code
    return _STORAGE.get(str(dataset.get("SOPClassUID") or "").removeprefix("1.2.840.10008.5.1.4.1.1."))


def header_of_file(path: Path) -> dict[str, str | float | None]:
    """`Image.header` of a DICOM file without its pixels; {} where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote header values
            return _header(pydicom.dcmread(path, stop_before_pixels=True, force=True))
    except Exception:
        return {}


def size_of_file(path: Path) -> tuple[int, int]:
    """(height, width) as a DICOM file's header says; 0 where it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote header values
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception:
        return 0, 0
    return int(_number(dataset, "Rows", 0)), int(_number(dataset, "Columns", 0))


def _number(dataset: Dataset, name: str, default: float) -> float:
    """The first value of a numeric element; `default` where it is absent, empty or no number."""
    value = dataset.get(name)
    try:
        if value is not None and not isinstance(value, (str, bytes)) and hasattr(value, "__len__"):
            value = value[0] if len(value) else None
        number = float(value) if value is not None else default
    except (TypeError, ValueError):
        return default
    return number if np.isfinite(number) else default


def _stored(dataset: Dataset) -> np.ndarray:
    """Stored pixel values, (H, W) or (H, W, 3), as the file holds them.

    Raises:
        DecodeError: no pixels, several frames, too many pixels, or a codec that fails.
    """
    frames = int(_number(dataset, "NumberOfFrames", 1))
    if frames > 1:
        raise DecodeError(f"multi-frame DICOM ({frames} frames): one radiograph per file expected")
    check_size(int(_number(dataset, "Rows", 0)), int(_number(dataset, "Columns", 0)))
    if "PixelData" not in dataset:
        raise DecodeError("DICOM without pixels, or truncated")
    codecs.register()
    try:
        return dataset.pixel_array
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # a codec written in Rust panics past `except Exception`
        raise DecodeError("DICOM whose pixels are damaged, truncated or of an unsupported kind") from None


def _window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """VOI window to [0, 1]: PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT)."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -80, 80)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:  # a step
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Where the stored values are padding (PS3.3 C.7.5.1.1.2), or None."""
    if "PixelPaddingValue" not in dataset:
        return None
    first = _number(dataset, "PixelPaddingValue", np.nan)
    last = _number(dataset, "PixelPaddingRangeLimit", first)
    mask = (stored >= min(first, last)) & (stored <= max(first, last))
    return mask if mask.any() and not mask.all() else None


def _shown(dataset: Dataset, stored: np.ndarray, bits: int) -> tuple[np.ndarray, bool]:
    """Values in [0, 1] before inversion, and whether a window made them (else: the stored range)."""
    slope, intercept = _number(dataset, "RescaleSlope", 1) or 1.0, _number(dataset, "RescaleIntercept", 0)
    values = stored * slope + intercept
    width = _number(dataset, "WindowWidth", 0)
    if width > 0 and "WindowCenter" in dataset:
        function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
        shown = _window(values, _number(dataset, "WindowCenter", 0), width, function)
        if shown.min() < shown.max():  # a window that misses the image is a wrong header, not a black image
            return shown, True
    signed = int(_number(dataset, "PixelRepresentation", 0)) == 1
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    # Some files hold more than BitsStored says: then the data are right.
    low, high = min(low, stored.min()), max(high, stored.max())
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return (values - ends[0]) / (ends[1] - ends[0]), False


def decode_dicom(data: bytes, *, force: bool = False) -> Image:
    """One DICOM file as a grey image, bone bright.

    A window gives 0 … 2**bits - 1 as the display range. Without one the stored range is kept (`display` False
    above 8 bits). Padding gets the darkest value of the rest, so that it neither shows nor stretches anything.

    Args:
        data: the file's bytes.
        force: read without the preamble and `DICM` mark.

    Raises:
        DecodeError: see the reasons; header text is never quoted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote header values
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=force)
        except Exception:
            raise DecodeError("damaged or truncated DICOM" if not force else "not an image") from None
        if force and "Rows" not in dataset:
            raise DecodeError("not an image")
        return _to_image(dataset)


def _to_image(dataset: Any) -> Image:
    colour = str(dataset.get("PhotometricInterpretation", "")).upper()
    if colour.startswith("PALETTE"):
        raise DecodeError("DICOM with a colour palette is not supported")
    pixels = _stored(dataset)
    header = _header(dataset)
    if pixels.ndim == 3:
        if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
            raise DecodeError("colour DICOM of more than 8 bits is not supported")
        return Image(luma(pixels), 8, header)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise DecodeError("DICOM whose pixels are not one grey image of whole numbers")
    bits = min(16, max(1, int(_number(dataset, "BitsStored", 8 * pixels.dtype.itemsize))))
    padding = _padding(dataset, pixels)
    shown, windowed = _shown(dataset, pixels.astype(np.float64), bits)
    if colour == "MONOCHROME1":
        shown = 1 - shown
    if padding is not None:
        shown[padding] = shown[~padding].min()
    bits = max(8, bits)
    grey = np.rint(shown * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return Image(grey, bits, header, display=windowed or bits == 8)
