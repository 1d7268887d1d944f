"""What is used of a DICOM header, and nothing else of it: the fields of `Image.header`.

Whatever else a header holds reaches no table, message or log. The two texts that are free by nature are cut and
cleaned: the modality must be a code, the device is the maker's and the model's name alone.
"""

import re
from typing import Any

from pydicom.dataset import Dataset

DEVICE_LENGTH = 64
_TEXTS = {"patient": "PatientID", "study": "StudyInstanceUID", "sex": "PatientSex", "age": "PatientAge"}
TAGS = (
    *_TEXTS.values(), "ViewPosition", "ViewCodeSequence", "ImageLaterality", "Laterality", "Manufacturer",
    "ManufacturerModelName", "BurnedInAnnotation", "Modality", "SOPClassUID", "Rows", "Columns", "SpecificCharacterSet",
)  # fmt: skip
"""What has to be read of a header."""
_STORAGE = {
    "1": "CR", "1.1": "DX", "1.2": "MG", "2": "CT", "2.1": "CT", "4": "MR", "4.1": "MR", "6.1": "US", "12.1": "XA",
    "20": "NM", "128": "PT",
}  # fmt: skip
"""Modality by the end of an image's storage class, 1.2.840.10008.5.1.4.1.1.… (PS3.4 B.5)."""
_VIEW_CODES = {
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("272479007", "R-10214", "R-40888"), "PA"),
    **dict.fromkeys(("399198007", "R-10232", "399173006", "R-10236", "399067008", "R-102CD"), "LATERAL"),
    "399033003": "FRONTAL",
}
"""Projections (PS3.16 CID 4010) as SNOMED CT codes and as the older SRT codes."""


def header_of(dataset: Dataset) -> dict[str, str | float | None]:
    """The fields of `Image.header`."""
    fields: dict[str, str | float | None] = {name: _text(dataset, tag) or None for name, tag in _TEXTS.items()}
    return {
        **fields,
        "view": _text(dataset, "ViewPosition") or _coded_view(dataset),
        "modality": _modality(dataset),
        "laterality": _laterality(dataset),
        "device": _device(dataset),
        "burned_in": {"YES": "yes", "NO": "no"}.get(_text(dataset, "BurnedInAnnotation").upper()),
    }


def _text(dataset: Dataset, name: str) -> str:
    try:
        value = dataset.get(name)
        return str(value).strip() if value else ""
    except Exception:  # an element whose value is no value of its kind
        return ""


def _modality(dataset: Dataset) -> str | None:
    """A code such as `DX` or `CT`, from the storage class where the element is empty or holds no code."""
    code = _text(dataset, "Modality")
    if re.fullmatch("[A-Z]{2,6}", code):
        return code
    return _STORAGE.get(_text(dataset, "SOPClassUID").removeprefix("1.2.840.10008.5.1.4.1.1."))


def _coded_view(dataset: Dataset) -> str | None:
    items: Any = dataset.get("ViewCodeSequence") or []
    return _VIEW_CODES.get(_text(items[0], "CodeValue")) if len(items) and isinstance(items[0], Dataset) else None


def _laterality(dataset: Dataset) -> str | None:
    """`L`, `R` or `B` (both) of the body part that is shown."""
    found = _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
    return found.upper() if found.upper() in ("L", "R", "B") else None


def _device(dataset: Dataset) -> str | None:
    """Maker and model, with their spaces and odd characters made one space each."""
    words = " ".join(_text(dataset, name) for name in ("Manufacturer", "ManufacturerModelName"))
    return re.sub(r"[^\w.+/()-]+", " ", words).strip()[:DEVICE_LENGTH].strip() or None
