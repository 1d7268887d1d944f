"""An export from a PACS: DICOM files in folders that say nothing, and no table. All that is known is in the headers.

Radiographs are kept (modality CR, DX, RG, or none given); where there are any, other objects of the same patients
(reports, presentation states, CT) are left out and listed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.decode import find_images, may_be_dicom, read_headers
from kontrast.data.layouts.folder import class_folders, images_of
from kontrast.data.layouts.headers import HEADERS_READ, spread
from kontrast.data.layouts.names import are_classes
from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble

RADIOGRAPHS = ("CR", "DX", "RG")
"""DICOM's modalities of plain radiographs: storage phosphors, flat detectors, film (PS3.3 C.7.3.1.1.1)."""


def is_export(src: Path) -> bool:
    """Whether all images are DICOM, in folders that are not named as classes are (`DOE_JANE` is a patient)."""
    images = find_images(src)
    nested = any(len(path.parts) > 1 for path in images)
    folders = class_folders(images)
    return nested and all(map(may_be_dicom, images)) and not (folders and are_classes(folders))


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of an export, without labels.

    Raises:
        DataError: no image.
    """
    images = [path.as_posix() for path in images_of(src)]
    limit = HEADERS_READ.get()
    looked = images if limit is None else [images[i] for i in spread(len(images), limit)]
    kinds = {s: str(header.get("modality") or "") for s, header in zip(looked, read_headers(src, looked), strict=True)}
    other = {source: kind for source, kind in kinds.items() if kind and kind not in RADIOGRAPHS}
    if all(source in other for source in looked):  # an export of something else: it is all there is
        other = {}
    rows = pd.DataFrame({"source": [source for source in images if source not in other]})
    notes = ["an export of DICOM files without a table: patients, studies and views from their headers, no labels"]
    counts = pd.Series(list(other.values()), dtype=str).value_counts()
    if len(counts):
        listed = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
        notes.append(f"no radiographs, left out: {listed}")
    return assemble(
        src, rows, pd.DataFrame(index=rows.index), layout="pacs", table="the folder", overrides=overrides, notes=notes,
        patients_known=False, problems=[(source, f"modality {kind}, no radiograph") for source, kind in other.items()],
    )  # fmt: skip
