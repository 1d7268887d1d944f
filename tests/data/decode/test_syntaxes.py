"""Every transfer syntax, and every file in pydicom's wheel, against a decoder that is not the one in use."""

import shutil
import subprocess
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from data.decode.test_dicom import SHARED, dicom
from kontrast.data.decode import DecodeError, decode, read_header
from kontrast.data.decode.image import luma

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
"""What lies in the wheel itself: `get_testdata_files` would download others."""
FILES = sorted(path for path in WHEEL.rglob("*") if path.is_file() and path.suffix in (".dcm", ""))
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
J2K = (uid.JPEG2000Lossless, uid.JPEG2000)
CXR = "cxr_1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819"
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
SMOOTH = np.add.outer(np.arange(64) * 30, np.arange(64) * 30).astype(np.uint16)


def stored(path):
    """Stored values by other means: NumPy from the bytes, pydicom's slow RLE, Pillow's JPEG 2000, DCMTK for the rest.

    None where none of these reads the file.
    """
    ds = pydicom.dcmread(path, force=True)
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == uid.RLELossless or syntax in J2K:
        other = "pydicom" if syntax == uid.RLELossless else "pillow"
        try:
            return get_decoder(syntax).as_array(ds, index=0, decoding_plugin=other)[0]
        except RuntimeError:
            return None
    if syntax in JPEG + JPEG_LS:
        command = shutil.which("dcmdjpeg" if syntax in JPEG else "dcmdjpls")
        if command is None:
            pytest.skip("DCMTK is not installed")
        out = Path(f"{path}.plain")
        done = subprocess.run([command, path, out], capture_output=True, check=False)
        return raw(pydicom.dcmread(out)) if done.returncode == 0 else None
    return raw(ds)


def raw(ds):
    """Uncompressed values, each word whole."""
    order = ">" if ds.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian else "<"
    if ds.BitsAllocated == 1 or ds.PhotometricInterpretation == "YBR_FULL_422":
        return None
    kind = f"{order}{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}"
    data = ds.PixelData
    if order == ">" and ds.BitsAllocated == 8 and ds["PixelData"].VR == "OW":  # words, whose halves change places
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    values = np.frombuffer(data, kind, count=ds.Rows * ds.Columns * ds.SamplesPerPixel)
    if ds.SamplesPerPixel == 1:
        return values.reshape(ds.Rows, ds.Columns)
    planes = (3, ds.Rows, ds.Columns) if ds.PlanarConfiguration else (ds.Rows, ds.Columns, 3)
    pixels = values.reshape(planes)
    pixels = np.moveaxis(pixels, 0, -1) if ds.PlanarConfiguration else pixels
    return rgb(pixels) if ds.PhotometricInterpretation.startswith("YBR") else pixels


def rgb(ybr):
    """YBR_FULL to RGB, PS3.3 C.7.6.3.1.2."""
    y, b, r = (ybr[..., i].astype(float) for i in range(3))
    colours = (y + 1.402 * (r - 128), y - 0.344136 * (b - 128) - 0.714136 * (r - 128), y + 1.772 * (b - 128))
    return np.clip(np.rint(np.stack(colours, -1)), 0, 255).astype(np.uint8)


def affine(found, values):
    """The largest difference between grey levels and the best line through the values, in levels."""
    x, y = values.astype(float).ravel(), found.astype(float).ravel()
    if np.ptp(x) == 0:
        return float(np.ptp(y))
    slope, offset = np.polyfit(x, y, 1)
    return float(np.abs(y - (slope * x + offset)).max())


def read(path):
    """An image, or None for a file that is refused in few words."""
    try:
        return decode(path)
    except DecodeError as refused:
        reason = refused.reason
    assert 5 < len(reason) < 100
    return None


NOT_COMPARED = {
    "GDCMJ2K_TextGBR.dcm", "SC_rgb_jpeg.dcm", "SC_ybr_full_422_uncompressed.dcm", "liver_1frame.dcm",
    "liver_expb_1frame.dcm",
}  # fmt: skip
"""Single bits, halved colours, and two files that no second decoder here reads."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WHEEL)))
def test_every_file_of_pydicom(path, tmp_path):
    """Read like another decoder reads it, or refused in words; a header is read or nothing is."""
    copy = Path(shutil.copy(path, tmp_path / "x.dcm"))
    read_header(copy)
    found = read(copy)
    if found is None:
        return
    assert found.pixels.dtype == (np.uint8 if found.bits == 8 else np.uint16)
    ds = pydicom.dcmread(copy, force=True)
    if "WindowWidth" in ds:  # the window is tested elsewhere
        del ds.WindowWidth
        ds.save_as(copy)
        found = read(copy)
    values = stored(copy)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        return
    assert (values is None) == (path.name in NOT_COMPARED)
    if values is None:
        return
    lossy = ds.file_meta.TransferSyntaxUID in LOSSY
    if values.ndim == 3:
        # Decoders differ in how they widen halved colours; luma hardly depends on it.
        assert np.abs(found.pixels.astype(int) - luma(values)).max() <= (6 if lossy else 1)
        return
    shown = values != ds.get("PixelPaddingValue")
    assert affine(found.pixels[shown], values[shown]) <= (1.6 if lossy else 0.6)


@pytest.mark.skipif(not (SHARED / "dicom").is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize("name", ["ct_0", "ct_1", "cxr_Fake_MONOHR1", CXR])
def test_real_files(name, tmp_path):
    copy = Path(shutil.copyfile(SHARED / "dicom" / f"{name}.dcm", tmp_path / "x.dcm"))
    ds = pydicom.dcmread(copy)
    for element in ("WindowWidth", "WindowCenter"):
        if element in ds:
            del ds[element]
    ds.save_as(copy)
    found, values = decode(copy).pixels, stored(copy)
    assert affine(found, values) <= (1.6 if "cxr" in name else 0.6)
    falling = np.corrcoef(found.ravel(), values.ravel())[0, 1] < 0
    assert falling == (ds.PhotometricInterpretation == "MONOCHROME1")


def encapsulated(path, syntax, frame, **tags):
    ds = pydicom.dcmread(dicom(path, SMOOTH, **tags))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds.save_as(path, enforce_file_format=True)
    return path


HT = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)


@pytest.mark.parametrize("syntax", [*J2K, *HT])
def test_jpeg_2000_and_its_fast_kind(tmp_path, syntax):
    if syntax in HT:
        frame = imagecodecs.htj2k_encode(SMOOTH, reversible=True)
    else:
        frame = imagecodecs.jpeg2k_encode(SMOOTH, level=0, codecformat="j2k", reversible=True, bitspersample=12)
    path = encapsulated(tmp_path / "x.dcm", syntax, frame)
    assert np.array_equal(decode(path).pixels, SMOOTH)


def test_near_lossless_jpeg_ls(tmp_path):
    path = encapsulated(tmp_path / "x.dcm", uid.JPEGLSNearLossless, imagecodecs.jpegls_encode(SMOOTH, level=2))
    assert 0 < np.abs(decode(path).pixels.astype(int) - SMOOTH).max() <= 2


def test_a_syntax_without_decoder_is_refused_by_name_of_its_kind(tmp_path):
    ds = pydicom.dcmread(dicom(tmp_path / "x.dcm", SMOOTH))
    ds.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    ds.PixelData = encapsulate([b"1234"])
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(DecodeError, match="transfer syntax"):
        decode(tmp_path / "x.dcm")


def test_a_deflated_bomb_is_refused_before_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr("kontrast.data.decode.dicom.INFLATED_BYTES", 2**24)
    ds = pydicom.dcmread(dicom(tmp_path / "x.dcm", SMOOTH))
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "x.dcm", ds, enforce_file_format=True, overwrite=True)
    assert np.array_equal(decode(tmp_path / "x.dcm").pixels, SMOOTH)
    assert read_header(tmp_path / "x.dcm")["patient"] == "SECRET"
    data = (tmp_path / "x.dcm").read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    squeeze = zlib.compressobj(1, wbits=-15)
    deflated = squeeze.compress(bytes(2**25)) + squeeze.flush()
    (tmp_path / "bomb.dcm").write_bytes(data[:start] + deflated)
    with pytest.raises(DecodeError, match="grows beyond 16 MiB"):
        decode(tmp_path / "bomb.dcm")
    assert read_header(tmp_path / "bomb.dcm") == {}
