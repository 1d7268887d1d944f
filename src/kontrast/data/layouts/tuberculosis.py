"""The Shenzhen and Montgomery County sets (Jaeger et al. 2014): the name of each file ends in its label.

CXR_png/CHNCXR_0001_0.png       Shenzhen: number, then 0 (normal) or 1 (tuberculosis)
CXR_png/MCUCXR_0001_0.png       Montgomery
ClinicalReadings/….txt          sex, age and what was seen, in free text of which only sex and age are taken
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.decode import find_images
from kontrast.data.layouts.files import matching
from kontrast.data.layouts.records import Records
from kontrast.data.layouts.sets import assemble, places
from kontrast.errors import DataError
from kontrast.types import counted

PREFIX = {"shenzhen": "CHNCXR", "montgomery": "MCUCXR"}
_MASKS = re.compile(r"(manual)?_?(left|right)?_?masks?", re.I)
_AGE = re.compile(r"(\d{1,3})\s*(y|m|d)", re.I)
_SEX = re.compile(r"\b(female|male|[FM])\b", re.I)


def images_of(src: Path, name: str) -> list[Path]:
    """The set's images, without the masks of the same names."""
    pattern = re.compile(rf"{PREFIX[name]}_\d{{4}}_[01]\.png", re.I)
    return [
        path
        for path in find_images(src)
        if pattern.fullmatch(path.name) and not any(_MASKS.fullmatch(part) for part in path.parts[:-1])
    ]


def is_there(src: Path, name: str) -> bool:
    """Whether a folder that these sets have holds an image of this one: one look, not a walk."""
    found = (src, *(place / "CXR_png" for place in places(src)))
    return any(matching(place, f"{PREFIX[name]}_[0-9][0-9][0-9][0-9]_[01].png") for place in found)


def reading(text: str) -> tuple[str, str]:
    """(sex, age as `045Y`) from a clinical reading, "" for what it does not say."""
    sex, age = _SEX.search(text), _AGE.search(text)
    return (sex[1][0].upper() if sex else ""), (f"{int(age[1]):03d}{age[2].upper()}" if age else "")


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str], *, name: str) -> Records:
    """Records of one of the two sets.

    Raises:
        DataError: none of its images is there.
    """
    images = images_of(src, name)
    if not images:
        raise DataError(
            f"{src} holds no image of the {name} set ({PREFIX[name]}_0001_0.png).",
            fix="Name the folder that holds CXR_png.",
        )
    texts = {path.stem: path for path in src.rglob(f"ClinicalReadings/{PREFIX[name]}_*.txt")}
    found = [
        reading(texts[path.stem].read_text(encoding="utf-8", errors="replace")) if path.stem in texts else ("", "")
        for path in images
    ]
    rows = pd.DataFrame(
        {
            "source": [path.as_posix() for path in images],
            "patient": [path.stem.rsplit("_", 1)[0] for path in images],
            "view": "frontal",
            "sex": [sex for sex, _ in found],
            "age": [age for _, age in found],
        }
    )
    cells = pd.DataFrame({"Tuberculosis": [float(path.stem[-1]) for path in images]})
    notes = ["Tuberculosis = the last digit of the name; patient = the number in it, one image each"]
    without = sum(path.stem not in texts for path in images)
    if without:
        notes.append(f"without a clinical reading, so without sex and age: {counted(without, 'image')}")
    return assemble(
        src, rows, cells, layout=name, table="the folder", overrides=overrides, notes=notes, patients_known=True
    )
