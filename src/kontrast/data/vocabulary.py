"""One vocabulary for the findings of public datasets, so that what was learnt on one can be tested on another.

CheXpert's 14 names come first, then those of other sets that mean something else. A dataset's own name is changed only
where both are names of the same thing; what merely resembles (an infiltration and an opacity) keeps its own.
"""

import re
from collections.abc import Iterable

from kontrast.types import FINDINGS

OTHERS = (
    "Infiltration", "Mass", "Nodule", "Nodule/Mass", "Emphysema", "Fibrosis", "Pleural Thickening", "Hernia",
    "Tuberculosis", "COVID-19", "Viral Pneumonia", "Calcification", "Scoliosis", "Bronchiectasis",
)  # fmt: skip
VOCABULARY = (*FINDINGS, *OTHERS)
_SAME = {
    "Effusion": "Pleural Effusion",
    "Airspace Opacity": "Lung Opacity",
    "Pulmonary Edema": "Edema",
    "Pulmonary Fibrosis": "Fibrosis",
    "Hiatal Hernia": "Hernia",
    "Normal": "No Finding",
    "COVID": "COVID-19",
}
"""Other names of the same: NIH and MedMNIST (Effusion), MIMIC's test sheet (Airspace Opacity), VinDr and PadChest."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_STANDARD = {_plain(name): name for name in VOCABULARY} | {_plain(name): to for name, to in _SAME.items()}


def standard(name: str) -> str:
    """The vocabulary's name for a dataset's finding; its own where the vocabulary has none."""
    return _STANDARD.get(_plain(name), name)


def mapped(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Each name's place in the vocabulary, and the lines that say so.

    Returns:
        own name → name in the vocabulary (the same where it has none), and what to print.
    """
    to = {name: standard(name) for name in names}
    changed = [f"{own} → {new}" for own, new in to.items() if own != new]
    own = [name for name in to if to[name] not in VOCABULARY]
    lines = [f"findings renamed: {'; '.join(changed)}"] if changed else []
    lines += [f"findings under the dataset's own names: {', '.join(own)}"] if own else []
    return to, lines
