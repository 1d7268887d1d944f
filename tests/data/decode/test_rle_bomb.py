"""An RLE bomb built for real: runs of two bytes that unpack to 128 each, in segments as the standard wants them."""

import struct

import pytest
from pydicom.uid import RLELossless

from hostile import dicom
from kontrast.apart import Apart
from kontrast.data.preparation import Prepared, Treatment, prepare_image
from kontrast.data.preparation import _prepared as prepared

PIXELS = 40 * 30


def frame(runs):
    """Two segments (the high and the low bytes of 16 bit) of so many runs of 128 equal bytes (PS3.5 annex G)."""
    segment = b"\x81\x07" * runs
    return struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2


def test_the_same_runs_in_their_right_number_are_an_image(tmp_path):
    """Else what follows would show nothing but a wrong header."""
    exact = b"\x81\x07" * (PIXELS // 128) + bytes([257 - PIXELS % 128, 7])
    header = struct.pack("<16L", 2, 64, 64 + len(exact), *[0] * 13)
    (tmp_path / "good.dcm").write_bytes(dicom(RLELossless, header + exact * 2))
    assert prepare_image(tmp_path, "good.dcm", Treatment(size=16)).height == 40


@pytest.mark.parametrize("runs", [2**10, 2**21])
def test_a_bomb_takes_no_more_memory_than_its_pixels(tmp_path, runs):
    """Up to 2 × 256 MiB, where the process may take 128 MiB: refused as damaged, or read without what is too much."""
    (tmp_path / "bomb.dcm").write_bytes(dicom(RLELossless, frame(runs)))
    apart = Apart(memory=2**27)
    (found,) = apart.map(prepared, [(tmp_path, "bomb.dcm", Treatment(size=16), None)])
    apart.close()
    assert isinstance(found, Prepared) or "damaged" in found, found
