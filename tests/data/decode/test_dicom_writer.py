"""A written file holds what it was given, read back by pydicom itself and by `decode`."""

import io

import numpy as np
import pydicom
import pytest

from kontrast.data.decode import decode
from kontrast.data.decode.dicom_writer import encode_radiograph

GREY = np.arange(4096, dtype=np.uint16).reshape(64, 64)
UIDS = {"SOPInstanceUID": ["image", "1"], "StudyInstanceUID": ["study", "1"]}


@pytest.mark.parametrize("inverted", [False, True])
def test_grey_comes_back_as_it_went_in(tmp_path, inverted):
    data = encode_radiograph(GREY, bits=12, inverted=inverted, uids=UIDS, elements={"PatientID": "P1"})
    file = pydicom.dcmread(io.BytesIO(data))
    np.testing.assert_array_equal(file.pixel_array, 4095 - GREY if inverted else GREY)
    assert (file.PatientID, file.Modality, file.BitsStored) == ("P1", "DX", 12)
    assert file.PhotometricInterpretation == f"MONOCHROME{1 if inverted else 2}"
    (tmp_path / "a.dcm").write_bytes(data)
    image = decode(tmp_path / "a.dcm")
    assert image.bits == 12 and np.abs(image.pixels.astype(int) - GREY).max() <= 1  # the window rounds


def test_the_same_texts_give_the_same_uids_and_bytes():
    one, two = (encode_radiograph(GREY, bits=12, inverted=False, uids=UIDS, elements={}) for _ in range(2))
    other = encode_radiograph(
        GREY, bits=12, inverted=False, uids=UIDS | {"StudyInstanceUID": ["study", "2"]}, elements={}
    )
    assert one == two
    read = [pydicom.dcmread(io.BytesIO(data)) for data in (one, other)]
    assert read[0].SOPInstanceUID == read[1].SOPInstanceUID and read[0].StudyInstanceUID != read[1].StudyInstanceUID
