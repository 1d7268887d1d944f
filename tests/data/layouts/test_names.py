"""What folder names may become findings by themselves, and what messages show of names."""

import pytest

from kontrast.data.layouts.names import are_classes, masked
from kontrast.types import FINDINGS


@pytest.mark.parametrize(
    "names",
    [
        FINDINGS,
        ("NORMAL", "PNEUMONIA"),
        ("bacteria", "normal", "virus"),
        ("COVID-19", "Viral Pneumonia", "Lung_Opacity", "Normal"),
        ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"),
        ("Tuberculosis", "NoFinding", "pleural effusions"),
    ],
)
def test_words_of_findings_are_classes(names):
    assert are_classes(names)


@pytest.mark.parametrize(
    "names",
    [
        ("Mueller_Anna", "Schmidt_Hans"),
        ("MUELLER^ANNA", "NORMAL"),  # one name among classes is enough
        ("Normal Mueller", "Normal"),
        ("M\u00fcller", "Pneumonia"),
        ("cat", "dog"),  # might be anybody's
        ("0", "1"),
        ("\u674e\u660e", "normal"),
    ],
)
def test_what_might_be_a_name_is_no_class(names):
    assert not are_classes(names)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("train/patient00123/study1/view1_frontal.jpg", "train/patientN/studyN/viewN_frontal.jpg"),
        ("images/024e7871.png", "images/N.png"),
        ("Mueller_Anna/IM000001", "X_X/IMN"),
        ("MUELLER^ANNA_19400102.dcm", "X^X_N.dcm"),
        ("M\u00fcller,\u674e\u660e\u660e/1.2.840.113.dcm", "X,X/N.N.N.N.dcm"),
        ("CheXpert-v1.0-small/LungOpacity/a.png", "CheXpert-vN.N-small/LungOpacity/a.png"),
    ],
)
def test_messages_show_known_words_alone(name, shown):
    assert masked(name) == shown
