"""Patients, their studies and what is wrong with them: the truth, before anyone reads the films.

Five latent states (how ill, heart failure, infection, malignancy, injury) belong to the patient and drift from
study to study; each finding is present when its own weighted sum of them crosses a threshold (a probit model), which
gives the co-occurrences their clinical sense: failing hearts are large, wet and drained, the ill wear devices and are
filmed in bed. Prevalences are near those of CheXpert's training table (Irvin et al. 2019, table 1).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kontrast.data.phantom.anatomy import Anatomy, Pose, View, draw_anatomy, draw_pose
from kontrast.data.phantom.canvas import Array
from kontrast.data.phantom.findings import OPACITIES, PAINTED, UNSPECIFIED, Finding
from kontrast.types import FINDINGS

STATES = ("illness", "heart", "infection", "tumour", "injury")
_MODEL: dict[str, tuple[float, tuple[float, float, float, float, float], float]] = {
    # finding: (threshold as a prevalence, weights of the states, share of the own part that lasts)
    "Enlarged Cardiomediastinum": (0.055, (0.2, 0.3, 0.0, 0.1, 0.25), 0.9),
    "Cardiomegaly": (0.125, (0.1, 0.75, 0.0, 0.0, 0.0), 0.95),
    "Lung Opacity": (0.03, (0.25, 0.0, 0.35, 0.1, 0.0), 0.3),
    "Lung Lesion": (0.042, (0.0, 0.0, 0.0, 0.75, 0.0), 0.97),
    "Edema": (0.25, (0.35, 0.6, 0.0, 0.0, -0.1), 0.3),
    "Consolidation": (0.085, (0.3, 0.0, 0.6, 0.1, 0.0), 0.4),
    "Pneumonia": (0.045, (0.1, 0.0, 0.75, 0.0, 0.0), 0.4),
    "Atelectasis": (0.25, (0.4, 0.0, 0.15, 0.05, 0.3), 0.4),
    "Pneumothorax": (0.09, (0.15, -0.1, 0.0, 0.0, 0.6), 0.5),
    "Pleural Effusion": (0.385, (0.35, 0.5, 0.1, 0.2, 0.1), 0.6),
    "Pleural Other": (0.02, (0.0, 0.0, 0.1, 0.35, 0.15), 0.97),
    "Fracture": (0.04, (0.0, 0.0, 0.0, 0.05, 0.55), 0.97),
    "Support Devices": (0.56, (0.75, 0.1, 0.0, 0.0, 0.25), 0.6),
}
_THRESHOLDS = {name: NormalDist().inv_cdf(1 - row[0]) for name, row in _MODEL.items()}
_SECOND_LOOK = 0.35
"""Share of otherwise clean films on which the likeliest finding is there after all: few hospital films are clean."""


@dataclass(frozen=True)
class Projection:
    """One image to be rendered: its name within the study and its pose."""

    name: str
    pose: Pose


@dataclass(frozen=True)
class Study:
    """One examination.

    Attributes:
        number: 1, 2, … within the patient.
        age: years on that day.
        findings: what is there.
        truth: 0 or 1 for each of FINDINGS.
        views: the images.
    """

    number: int
    age: int
    findings: dict[str, Finding]
    truth: dict[str, int]
    views: tuple[Projection, ...]


@dataclass(frozen=True)
class Patient:
    """A patient and all of the patient's studies."""

    number: int
    anatomy: Anatomy
    studies: tuple[Study, ...]


def draw_patient(number: int, seed: int) -> Patient:
    """Patient `number` of the cohort `seed`: the same whatever the size of the cohort."""
    rng = np.random.default_rng([seed, number])
    anatomy = draw_anatomy(rng)
    lasting = rng.standard_normal(len(STATES))
    own = rng.standard_normal(len(PAINTED))
    places = rng.random((len(PAINTED), 16))
    build = rng.beta(1.5, 1.6, len(PAINTED))
    count = 1 + int(rng.choice(4, p=[0.42, 0.27, 0.18, 0.13]))
    studies = []
    age, drift = float(anatomy.age), rng.standard_normal(len(STATES))
    for number_of_study in range(1, count + 1):
        drift = 0.6 * drift + 0.8 * rng.standard_normal(len(STATES))
        states = np.sqrt(0.6) * lasting + np.sqrt(0.4) * drift
        present, margin = _present(states, own, rng)
        if not present and rng.random() < _SECOND_LOOK:
            names = [n for n in PAINTED if n != "Support Devices"]
            present = {max(names, key=lambda n: margin[n])}
        if "Support Devices" in margin and margin["Support Devices"] > 0:
            present = present | {"Support Devices"}
        findings = _grade(present, build, places, rng)
        views = _views(states, rng)
        studies.append(Study(number_of_study, min(int(age), 90), findings, truth_of(set(findings)), views))
        age += float(rng.exponential(0.7))
    return Patient(number, anatomy, tuple(studies))


def _present(states: Array, own: Array, rng: np.random.Generator) -> tuple[set[str], dict[str, float]]:
    fresh = rng.standard_normal(len(PAINTED))
    present, margin = set(), {}
    for i, name in enumerate(PAINTED):
        _, weights, lasting = _MODEL[name]
        w = np.array(weights)
        rest = np.sqrt(max(1 - float(w @ w), 0.05))
        liability = float(w @ states) + rest * (np.sqrt(lasting) * own[i] + np.sqrt(1 - lasting) * fresh[i])
        margin[name] = liability - _THRESHOLDS[name]
        if margin[name] > 0 and name != "Support Devices":
            present.add(name)
    return present, margin


def _grade(present: set[str], build: Array, places: Array, rng: np.random.Generator) -> dict[str, Finding]:
    today = rng.beta(1.4, 1.5, len(PAINTED))
    seeds = rng.integers(1 << 31, size=len(PAINTED))
    findings = {}
    for i, name in enumerate(PAINTED):
        if name in present:
            severity = float(0.55 * build[i] + 0.45 * today[i])
            findings[name] = Finding(severity, places[i], int(seeds[i]))
    return findings


def truth_of(present: set[str]) -> dict[str, int]:
    """0 or 1 for each of FINDINGS; `Lung Opacity` follows from its children, `No Finding` from everything else."""
    truth = {name: int(name in present) for name in FINDINGS}
    truth[UNSPECIFIED] = int(any(name in present for name in (*OPACITIES, UNSPECIFIED)))
    pathology = [n for n in PAINTED if n != "Support Devices"]
    truth["No Finding"] = int(not any(truth[n] for n in pathology))
    return truth


def _views(states: Array, rng: np.random.Generator) -> tuple[Projection, ...]:
    """PA standing, or AP in bed for the ill; a lateral with six in ten PA films."""
    chance, lateral = rng.standard_normal(), rng.random()
    illness = 0.7 * states[0] + 0.71 * chance
    ap = illness > -0.62
    sick = float(NormalDist().cdf(states[0]))
    front: View = "AP" if ap else "PA"
    views = [Projection("view1_frontal", draw_pose(rng, front, sick))]
    side = draw_pose(rng, "lateral", sick)
    if lateral < (0.04 if ap else 0.62):
        views.append(Projection("view2_lateral", side))
    return tuple(views)
