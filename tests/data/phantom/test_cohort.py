"""Prevalence, co-occurrence and the labeller, against CheXpert's published table."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontrast.data.phantom.cohort import draw_patient, truth_of
from kontrast.data.phantom.findings import PAINTED
from kontrast.data.phantom.reading import read
from kontrast.data.phantom.write import rows
from kontrast.types import FINDINGS

# Share of images labelled 1, 0 and -1 in CheXpert's training table, percent.
CHEXPERT = {
    "No Finding": (10.0, 0, 0), "Enlarged Cardiomediastinum": (4.8, 9.7, 5.6), "Cardiomegaly": (12.1, 5.0, 3.6),
    "Lung Opacity": (47.3, 2.9, 2.5), "Lung Lesion": (4.1, 0.6, 0.7), "Edema": (23.4, 9.3, 5.8),
    "Consolidation": (6.6, 12.6, 12.4), "Pneumonia": (2.7, 1.3, 8.4), "Atelectasis": (14.9, 0.6, 15.1),
    "Pneumothorax": (8.7, 25.2, 1.4), "Pleural Effusion": (38.6, 15.8, 5.2), "Pleural Other": (1.6, 0.1, 1.2),
    "Fracture": (4.0, 1.1, 0.3), "Support Devices": (51.9, 2.7, 0.5),
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return [row for number in range(1, 1501) for row, _ in rows("train", number, 11, "jpeg")]


@pytest.fixture(scope="module")
def studies():
    return [(p, s) for p in (draw_patient(k, 11) for k in range(1, 1501)) for s in p.studies]


def test_rates_of_labels_are_near_chexperts(table):
    for column, name in enumerate(FINDINGS, start=5):
        stated = [row[column] for row in table]
        for value, expected in zip(("1.0", "0.0", "-1.0"), CHEXPERT[name], strict=True):
            share = 100 * np.mean([v == value for v in stated])
            assert abs(share - expected) < 1.2 + 0.16 * expected, (name, value, share, expected)


def test_views_are_in_chexperts_proportions(table):
    frontal = [row for row in table if row[3] == "Frontal"]
    assert 0.13 < 1 - len(frontal) / len(table) < 0.20
    assert 0.65 < np.mean([row[4] == "AP" for row in frontal]) < 0.85
    assert all(row[4] == "" for row in table if row[3] == "Lateral")


def _odds(studies, a, b):
    counts = np.ones((2, 2))
    for _, study in studies:
        counts[study.truth[a], study.truth[b]] += 1
    return counts[1, 1] * counts[0, 0] / (counts[0, 1] * counts[1, 0])


@pytest.mark.parametrize(
    ("a", "b"),
    [("Cardiomegaly", "Edema"), ("Edema", "Pleural Effusion"), ("Pneumothorax", "Fracture"),
     ("Pneumonia", "Consolidation"), ("Atelectasis", "Support Devices")],
)  # fmt: skip
def test_findings_that_go_together_do(studies, a, b):
    assert _odds(studies, a, b) > 1.3


def test_the_ill_are_filmed_in_bed_with_devices(studies):
    devices = {view: [] for view in ("AP", "PA")}
    for _, study in studies:
        devices[study.views[0].pose.view].append(study.truth["Support Devices"])
    assert np.mean(devices["AP"]) > np.mean(devices["PA"]) + 0.1


def test_exposure_and_pose_know_nothing_of_the_findings(studies):
    """No shortcut: within one view, how the film was made does not tell what is on it."""
    chosen = [(s.views[0].pose, s.truth) for _, s in studies if s.views[0].pose.view == "AP"]
    for quantity in ("low", "high", "gamma", "equalise", "dose", "zoom", "marker"):
        value = np.array([getattr(pose, quantity) for pose, _ in chosen], float)
        for name in ("Edema", "Pleural Effusion", "Support Devices", "Atelectasis"):
            present = np.array([truth[name] for _, truth in chosen], float)
            assert abs(np.corrcoef(value, present)[0, 1]) < 0.09, (quantity, name)


def test_studies_of_a_patient_are_alike_but_not_the_same(studies):
    pairs = {}
    for patient, study in studies:
        pairs.setdefault(patient.number, []).append(study.truth["Pleural Effusion"])
    several = [v for v in pairs.values() if len(v) > 1]
    same = np.mean([v[0] == v[1] for v in several])
    share = np.mean([v for values in several for v in values])
    assert share**2 + (1 - share) ** 2 + 0.1 < same < 1
    assert {len(v) for v in pairs.values()} == {1, 2, 3, 4}


def test_ages_go_up_and_stay_in_range(studies):
    last = {}
    for patient, study in studies:
        assert 18 <= study.age <= 90
        assert study.age >= last.get(patient.number, 0)
        last[patient.number] = study.age


@given(st.sets(st.sampled_from(PAINTED)))
def test_truth_follows_the_hierarchy(present):
    truth = truth_of(present)
    assert list(truth) == list(FINDINGS)
    if present - {"Support Devices"}:
        assert truth["No Finding"] == 0
    else:
        assert truth["No Finding"] == 1
    children = {"Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis"}
    assert truth["Lung Opacity"] == int(bool(children & present))


@given(st.sets(st.sampled_from(PAINTED)), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_a_reader_says_one_zero_doubt_or_nothing(present, seed):
    labels = read(truth_of(present), {}, np.random.default_rng(seed))
    assert list(labels) == list(FINDINGS)
    assert all(math.isnan(v) or v in (1.0, 0.0, -1.0) for v in labels.values())
    assert math.isnan(labels["No Finding"]) or labels["No Finding"] == 1.0
    pathology = [labels[n] for n in PAINTED if n != "Support Devices"]
    assert (labels["No Finding"] == 1.0) == all(v not in (1.0, -1.0) for v in pathology)


def test_blank_mostly_means_absent():
    blank = []
    for number in range(1, 400):
        for row, exact in rows("train", number, 3, "jpeg"):
            blank += [int(e) for label, e in zip(row[6:], exact[2:], strict=True) if label == ""]
    assert np.mean(blank) < 0.05
