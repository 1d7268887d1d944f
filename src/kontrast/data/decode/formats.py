"""What a file is, by its name and by its first bytes."""

import os

from kontrast.types import PathLike

RASTER = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff"})
DICOM = frozenset({".dcm", ".dicom", ".dic"})
EXTENSIONS = RASTER | DICOM
"""Suffixes that count as images, lower case. DICOM of another name is found by its content."""


def file_format(data: bytes) -> str:
    """`JPEG`, `PNG`, `TIFF`, `DICOM` or `` (none of them), from the first 132 bytes; suffixes often lie."""
    if data[128:132] == b"DICM":  # first: the preamble may be made to look like TIFF (dual-personality files)
        return "DICOM"
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    return "DICOM" if _is_bare_dataset(data) else ""


def _is_bare_dataset(head: bytes) -> bool:
    """Whether DICOM begins without its preamble, as old exports do: an element of group 0002 or 0008 (PS3.5 7.1)."""
    explicit = head[4:6] in (b"UL", b"OB", b"CS", b"UI", b"DA", b"TM", b"LO", b"SH", b"AE", b"PN", b"ST", b"LT")
    if head[:2] in (b"\x00\x02", b"\x00\x08"):
        return head[2:3] == b"\x00" and explicit
    short = 0 < int.from_bytes(head[4:8], "little") <= 64 and len(head) > 8
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00" and (explicit or short)


def may_be_dicom(name: PathLike) -> bool:
    """Whether an image of this name is DICOM; one without a suffix of images was found by its content."""
    name = os.fspath(name)
    return ".npz/" not in name and os.path.splitext(name)[1].lower() not in RASTER  # noqa: PTH122 of 223,000 names
