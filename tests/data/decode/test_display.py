"""What a display shows: against pydicom's own functions, and against DCMTK's whole chain where that is installed."""

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from data.decode.test_dicom import dicom
from kontrast.data.decode import decode, find_images, read_header

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SIGNED = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)


def table(entries, first, bits, vr="US"):
    """An item of a LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "US", [int(value) for value in entries])
    return item


def curve(count, top, power=2.0):
    return np.rint(np.linspace(0, 1, count) ** power * top).astype(int)


VOI = {"VOILUTSequence": [table(curve(3000, 4095), 500, 12)]}
MODALITY = {"ModalityLUTSequence": [table(curve(4096, 65535, 0.5), 0, 16)]}
CASES = {
    "plain": (RAMP, {}),
    "signed": (SIGNED, {}),
    "rescale": (RAMP, {"RescaleSlope": -2.5, "RescaleIntercept": 100}),
    "window": (RAMP, {"WindowCenter": 2000, "WindowWidth": 1500}),
    "window of signed values": (SIGNED, {"WindowCenter": -40, "WindowWidth": 400}),
    "window after rescale": (
        SIGNED, {"WindowCenter": 40, "WindowWidth": 900, "RescaleSlope": 2, "RescaleIntercept": -1024}
    ),
    "voi table": (RAMP, VOI),
    "voi table of 16 bits": (RAMP, {"VOILUTSequence": [table(curve(4096, 65535), 0, 16)]}),
    "voi table of 8 bits": (RAMP, {"VOILUTSequence": [table(curve(4096, 255), 0, 8)]}),
    "voi table of signed values": (SIGNED, {"VOILUTSequence": [table(curve(2000, 4095), -1000, 12, "SS")]}),
    "modality table": (RAMP, MODALITY),
    "both tables": (RAMP, {**MODALITY, "VOILUTSequence": [table(curve(30000, 1023), 20000, 10)]}),
    "a table before a window": (RAMP, {**VOI, "WindowCenter": 1, "WindowWidth": 3}),
}  # fmt: skip


def by_pydicom(path, bits):
    """The chain by pydicom's functions for each step, in [0, 1]."""
    ds = pydicom.dcmread(path)
    values = apply_modality_lut(ds.pixel_array, ds)
    if "VOILUTSequence" in ds:
        top = 2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1
        shown = apply_voi_lut(values.astype(int), ds, prefer_lut=True) / top
    elif "WindowWidth" in ds:
        span = abs(float(ds.get("RescaleSlope", 1))) * (2**bits - 1)
        shown = apply_voi_lut(values, ds)
        low = shown.min()
        shown = (shown - low) / span
    elif "ModalityLUTSequence" in ds:
        shown = values / (2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1)
    else:  # the ramps hold every stored value
        shown = (values - values.min()) / (values.max() - values.min())
    return 1 - shown if ds.PhotometricInterpretation == "MONOCHROME1" else shown


@pytest.mark.parametrize("mono", [1, 2])
@pytest.mark.parametrize("case", [case for case in CASES if "8 bits" not in case])  # pydicom takes two words for one
def test_each_step_is_pydicom_s(tmp_path, case, mono):
    pixels, elements = CASES[case]
    path = dicom(tmp_path / "x.dcm", pixels, mono=mono, **elements)
    found = decode(path)
    assert np.abs(found.pixels / 4095 - by_pydicom(path, 12)).max() <= 0.51 / 4095
    assert found.display == (case not in ("plain", "signed", "rescale", "modality table"))


DCMTK = shutil.which("dcm2pnm")
with_dcmtk = pytest.mark.skipif(DCMTK is None, reason="DCMTK (dcm2pnm) is not installed")


def by_dcmtk(path, *options):
    """The image as DCMTK shows it without overlays, 16 bits."""
    out = path.with_suffix(".png")
    subprocess.run([DCMTK, "-O", *options, "+on2", path, out], check=True, capture_output=True)
    return cv2.imread(str(out), cv2.IMREAD_UNCHANGED)


@with_dcmtk
@pytest.mark.parametrize("mono", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_the_whole_chain_is_dcmtk_s(tmp_path, case, mono):
    pixels, elements = CASES[case]
    path = dicom(tmp_path / "x.dcm", pixels, mono=mono, **elements)
    options = ["+Wl", "1"] if "VOILUTSequence" in elements else ["+Wi", "1"] if "WindowWidth" in elements else []
    # DCMTK rounds values of 8-bit tables to whole numbers before it spreads them over 16 bits.
    slack = 1.1 / 255 if "8 bits" in case else 1.1 / 1023 if "both" in case else 1.1 / 4095
    assert np.abs(decode(path).pixels / 4095 - by_dcmtk(path, *options) / 65535).max() <= slack


@pytest.mark.parametrize("bits_first", [0, 3])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_anywhere_in_the_word_and_overlays_in_the_others(tmp_path, signed, bits_first):
    """12 bits from bit `bits_first` on; what lies beside them (an overlay, or rubbish) never shows."""
    values = (SIGNED if signed else RAMP).astype(np.int64)
    rubbish = np.random.default_rng(0).integers(0, 1 << 16, values.shape)
    field = ((1 << 12) - 1) << bits_first
    word = ((values << bits_first) & field) | (rubbish & ~field & 0xFFFF)
    path = dicom(
        *(tmp_path / "x.dcm", word.astype(np.uint16)), HighBit=11 + bits_first, PixelRepresentation=int(signed)
    )
    found = decode(path)
    assert np.array_equal(found.pixels, values - values.min()) and found.bits == 12
    if DCMTK:
        assert np.abs(found.pixels / 4095 - by_dcmtk(path) / 65535).max() <= 1.1 / 4095


def test_wrong_bits_in_a_table_s_descriptor_do_not_darken_the_image(tmp_path):
    for said in (16, 8):
        path = dicom(tmp_path / "x.dcm", RAMP, VOILUTSequence=[table(curve(4096, 4095, 1.0), 0, said)])
        assert np.array_equal(decode(path).pixels, RAMP)


@pytest.mark.parametrize(
    "broken", [{"LUTDescriptor": None}, {"LUTData": None}, {"LUTDescriptor": [0, 0, 16], "LUTData": [5, 5]}]
)
def test_a_table_that_says_nothing_is_left_out(tmp_path, broken):
    item = table(curve(10, 100), 0, 8)
    for name, value in broken.items():
        if value is None:
            delattr(item, name)
        else:
            item.add_new(name, "US", value)
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        assert np.array_equal(decode(dicom(tmp_path / "x.dcm", RAMP, **{name: [item]})).pixels, RAMP)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_becomes_luma(tmp_path, bits):
    rng = np.random.default_rng(1)
    index = rng.integers(0, 256, (20, 30)).astype(np.uint8)
    path = dicom(tmp_path / "x.dcm", index, bits=8, PhotometricInterpretation="PALETTE COLOR")
    ds = pydicom.dcmread(path)
    for colour in ("Red", "Green", "Blue"):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        entries = rng.integers(0, 1 << bits, 256).astype("<u2" if bits == 16 else np.uint8)
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", entries.tobytes())
    ds.save_as(path)
    found = decode(path)
    expected = apply_color_lut(index, ds).astype(float) @ [0.299, 0.587, 0.114]
    assert found.bits == bits and np.abs(found.pixels - expected).max() <= 0.51


def test_colour_of_16_bits_becomes_luma(tmp_path):
    rgb = np.random.default_rng(2).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    path = dicom(tmp_path / "x.dcm", rgb, bits=16, PhotometricInterpretation="RGB", SamplesPerPixel=3)
    ds = pydicom.dcmread(path)
    ds.PlanarConfiguration = 0
    ds.save_as(path)
    assert np.abs(decode(path).pixels - rgb @ [0.299, 0.587, 0.114]).max() <= 0.51


@pytest.mark.parametrize("written", [-2000, 65536 - 2000])
def test_padding_written_as_unsigned_is_found_and_stretches_nothing(tmp_path, written):
    pixels = np.tile(np.arange(0, 1000, 25, dtype=np.int16), (40, 1))
    pixels[:, :4] = -2000
    path = dicom(tmp_path / "x.dcm", pixels, bits=16)
    ds = pydicom.dcmread(path)
    ds.add_new("PixelPaddingValue", "SS" if written < 0 else "US", written)
    ds.save_as(path)
    found = decode(path).pixels.astype(int)
    assert (found[:, :4] == found[:, 4:].min()).all() and np.array_equal(found[:, 4:] - 32768, pixels[:, 4:])


def test_a_range_of_padding(tmp_path):
    pixels = np.tile(np.arange(40, dtype=np.uint16) * 100, (40, 1))
    path = dicom(tmp_path / "x.dcm", pixels)
    ds = pydicom.dcmread(path)
    ds.add_new("PixelPaddingValue", "US", 3500)
    ds.add_new("PixelPaddingRangeLimit", "US", 3900)
    ds.save_as(path)
    found = decode(path).pixels
    assert np.array_equal(found[:, :35], pixels[:, :35]) and (found[:, 35:] == 0).all()


@pytest.mark.parametrize(
    ("mono", "shape", "doubts"), [(1, "INVERSE", 0), (2, "IDENTITY", 0), (1, "IDENTITY", 1), (2, "INVERSE", 1)]
)
def test_polarity_said_twice_is_not_inverted_twice_and_contradictions_are_told(tmp_path, mono, shape, doubts):
    """PS3.3 C.8.11.3.1.2: MONOCHROME1 goes with INVERSE, MONOCHROME2 with IDENTITY."""
    found = decode(dicom(tmp_path / "x.dcm", RAMP, mono=mono, PresentationLUTShape=shape))
    assert np.array_equal(found.pixels, 4095 - RAMP if mono == 1 else RAMP)
    assert len(found.doubts) == doubts and all("MONOCHROME" in text for text in found.doubts)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("meta", [True, False])
def test_files_of_old_with_and_without_meta_information(tmp_path, syntax, meta):
    ds = pydicom.dcmread(dicom(tmp_path / "x.dcm", RAMP, WindowCenter=2048, WindowWidth=4096))
    ds.file_meta.TransferSyntaxUID = syntax
    big = syntax == ExplicitVRBigEndian
    if big:
        ds.PixelData = RAMP.astype(">u2").tobytes()
    path = tmp_path / ("y.dcm" if meta else "OLD")  # found by what it begins with
    pydicom.dcmwrite(path, ds, implicit_vr=not big, little_endian=not big, overwrite=True)
    if not meta:
        data = path.read_bytes()
        path.write_bytes(data[144 + int.from_bytes(data[140:144], "little") :])
    assert np.abs(decode(path).pixels.astype(int) - RAMP).max() <= 1
    assert read_header(path)["patient"] == "SECRET" and Path(path.name) in find_images(tmp_path)


SPREADS = {"near": 100_000 + np.arange(4096), "apart": np.arange(4096) * 20, "far apart": np.arange(4096) * 997}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
def test_values_of_32_bits(tmp_path, spread, padded):
    """However far apart they lie: by a table of their range, or of those that occur."""
    values = SPREADS[spread]
    center, width = float(values[1500]), float(values[3000] - values[0])
    path = dicom(tmp_path / "x.dcm", values.astype(np.uint32).reshape(64, 64), bits=24)
    ds = pydicom.dcmread(path)
    ds.WindowCenter, ds.WindowWidth = center, width
    if padded:
        ds.add_new("PixelPaddingValue", "US", int(values[100]) & 0xFFFF)
        ds.add_new("PixelPaddingRangeLimit", "US", int(values[100]) & 0xFFFF)
    ds.save_as(path)
    expected = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 65535
    if padded:
        expected[values == int(values[100]) & 0xFFFF] = 0
    assert np.abs(decode(path).pixels.ravel() - expected).max() <= 0.51


def test_a_window_beside_all_that_is_meant_is_passed_over_whatever_lies_in_other_bits(tmp_path):
    """An overlay in bit 14 makes the words large, and not the values: the first window would show them all black."""
    values = np.tile(np.arange(50, dtype=np.uint16), (50, 1))
    overlay = (np.arange(2500).reshape(50, 50) % 3 == 0).astype(np.uint16) << 14
    path = dicom(tmp_path / "x.dcm", values | overlay, WindowCenter=[3000, 25], WindowWidth=[100, 50])
    found = decode(path).pixels
    assert np.array_equal(found, np.tile(found[0], (50, 1))) and found[0, 0] < 200 and found[0, -1] > 3900
