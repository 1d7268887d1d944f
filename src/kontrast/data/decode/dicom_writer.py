"""Plain DICOM out of grey values, so that reading can be tried on files whose every value is known."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

_DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def encode_radiograph(
    grey: np.ndarray, *, bits: int, inverted: bool, uids: Mapping[str, Sequence[str]], elements: Mapping[str, Any]
) -> bytes:
    """A Digital X-Ray Image (for presentation), stored in 16 bits a pixel, uncompressed little endian.

    Args:
        grey: (H, W) uint16 in 0 … 2**bits - 1, bone bright.
        bits: significant bits, 9 to 16.
        inverted: store it as MONOCHROME1 (bone dark in the stored values), as some detectors do.
        uids: element → texts that its UID is made of; the same texts give the same UID. SOPInstanceUID is needed.
        elements: further elements by their keywords.
    """
    top = (1 << bits) - 1
    stored = (top - grey if inverted else grey).astype("<u2")
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    file.file_meta.MediaStorageSOPClassUID = UID(_DX_FOR_PRESENTATION)
    file.SOPClassUID = UID(_DX_FOR_PRESENTATION)
    for name, texts in uids.items():
        setattr(file, name, generate_uid(entropy_srcs=list(texts)))
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    for name, value in elements.items():
        setattr(file, name, value)
    file.Modality = "DX"
    file.PresentationIntentType = "FOR PRESENTATION"
    file.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    file.LossyImageCompression = "00"
    file.WindowCenter, file.WindowWidth = str(1 << bits - 1), str(1 << bits)
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    file.Rows, file.Columns = stored.shape
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, bits, bits - 1, 0
    file.PixelData = stored.tobytes()
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
