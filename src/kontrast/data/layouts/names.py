"""What the name of a file or folder may give away: hospitals name folders after patients, data sets after classes.

No rule tells `Mueller_Anna` from `Pleural_Effusion`, so it goes by known words: a folder's name becomes a finding by
itself only when every word in it names a finding, a body part or a state, and messages show known words alone.
"""

import re
from collections.abc import Iterable

from kontrast.data.columns import NIH_FINDINGS
from kontrast.types import FINDINGS

_CLASSES = """
    abdomen abnormal abnormality abscess absent acute adult alzheimer and ankle arm arthritis asthma bacteria
    bacterial benign bone brain breast bronchitis cancer carcinoma cardiac catheter chest child chronic class clean
    clear cmv control cornea corona coronavirus covid ct cxr cyst defect degeneration diabetic disease diseased
    elbow embolism fibrous finding finger fluid foot forearm fracture fungal glioma grade granuloma haemorrhage hand
    head health healthy heart hemorrhage hip humerus ill infected infection infiltrate inflammation influenza injury
    interstitial invalid kidney knee label large left leg lesion liver lung malignant mammography mass medium
    meningioma mild moderate mr mri neck neg negative neoplasm no nodule nofinding non none normal not of opacity or
    osteoarthritis other others pa pathologic pathological pathology pelvis pituitary pneumoconiosis pneumocystis
    poor pos positive present pulmonary quality ray retina rib right sarcoidosis sars severe shoulder sick silicosis
    skin skull spine stage status stomach stroke suspected tb thorax tooth tube tuberculosis tumor tumour ultrasound
    unhealthy unknown valid viral virus with without wrist x xray
"""
_PLACES = """
    annotation ap archive batch chexpert csv data dataset dcm dic dicom dir export file folder frontal image img
    index jpe jpeg jpg lateral ll mask metadata note original part patient person png projection radiograph raw
    report sample scan segmentation series set slice small split src study subject subset table test testing tif
    tiff train training val validation version view zip
"""


def _words(text: str) -> list[str]:
    """The words in a name, lower case, without a plural's s: `ViralPneumonias-2` has `viral` and `pneumonia`."""
    return [_stem(word) for word in re.findall(r"[A-Z]?[a-zà-ÿß]+|[A-ZÀ-Þ]+(?![a-z])|[^\W\d_]+", text)]


def _stem(word: str) -> str:
    return word.lower() if len(word) < 4 else word.lower().removesuffix("s")


CLASS_WORDS = frozenset(_words(" ".join((_CLASSES, *FINDINGS, *NIH_FINDINGS))))
KNOWN = CLASS_WORDS | frozenset(_words(_PLACES))


def are_classes(names: Iterable[str]) -> bool:
    """Whether every name is made of words for findings, body parts and states alone, and so of nobody's name."""
    return all(words and CLASS_WORDS.issuperset(words) for words in map(_words, names))


def masked(name: str) -> str:
    """A file name fit for a message: ids and names hide there, so numbers (and hex runs) become N, other words X.

    Words that say what a file is (`train`, `patient`, `view`, `frontal` …), and those of two letters, stay.
    """
    return re.sub(r"(?<![A-Za-z])(?=[a-f]*\d)[0-9a-f]{6,}|\d+|[^\W\d_]+", _shown, name)


def _shown(found: re.Match[str]) -> str:
    run = found[0]
    if not run.isalpha():
        return "N"
    return run if len(run) < 3 or _stem(run) in KNOWN or KNOWN.issuperset(_words(run)) else "X"
