"""Generated chest radiographs with known truth.

Belongs here: the anatomy, the findings, the physics of the projection, the cohort and its tables. Does not belong
here: anything that reads a Pack or trains. `generate` makes one patient in memory; `write.write_cohort` a folder.

    from kontrast.data.phantom import generate
    for study in generate(1, seed=0, size=128):
        for image in study.images:
            image.pixels, image.mask("Pleural Effusion"), study.truth["Pleural Effusion"], study.labels

The pictures are made from nothing but formulas: they hold no patient's data and suit tests, demonstrations and
teaching; no figure reached on them says anything about real patients.
"""

import functools
from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np

from kontrast.data.phantom import film, findings, frontal, lateral, reading
from kontrast.data.phantom.anatomy import Anatomy, Pose
from kontrast.data.phantom.canvas import FIELD, HALF_VIEW, Array, Canvas
from kontrast.data.phantom.cohort import draw_patient
from kontrast.data.phantom.findings import MASKS, Finding

__all__ = ["MASKS", "PhantomImage", "PhantomStudy", "generate", "render"]

_SMALLEST = 128


@dataclass(frozen=True)
class PhantomImage:
    """One radiograph.

    Attributes:
        name: `view1_frontal`, `view2_lateral`.
        view: `PA`, `AP` or `lateral`.
        film: (size, size) float32 in [0, 1], bone bright.
        masks: (size, size) uint16; bit k is set where MASKS[k] is.
    """

    name: str
    view: str
    film: Array
    masks: Array

    @property
    def pixels(self) -> Array:
        """The radiograph in 8 bits, (size, size)."""
        return (self.film * 255 + 0.5).astype(np.uint8)

    def mask(self, name: str) -> Array:
        """Where `name` (one of MASKS) is, boolean (size, size)."""
        return (self.masks >> np.uint16(MASKS.index(name))) & np.uint16(1) == 1


@dataclass(frozen=True)
class PhantomStudy:
    """One examination of a patient.

    Attributes:
        patient: the patient's number, from 1.
        number: of the study, from 1.
        sex: `F` or `M`.
        age: in years.
        truth: 0 or 1 for each of FINDINGS.
        labels: 1, 0, -1 or NaN for each of FINDINGS, as a report's labeller would give them.
        severity: 0 to 1 for what is present.
        images: one frontal, at times a lateral.
    """

    patient: int
    number: int
    sex: str
    age: int
    truth: dict[str, int]
    labels: dict[str, float]
    severity: dict[str, float]
    images: tuple[PhantomImage, ...]


def generate(patient: int, seed: int = 0, size: int = 256, without: Collection[str] = ()) -> list[PhantomStudy]:
    """All studies of one patient, in memory.

    The same (patient, seed, size) gives the same pixels, whatever else is generated.

    Args:
        patient: the patient's number, from 1.
        seed: of the cohort.
        size: side of the square images in pixels, at least 16.
        without: findings to leave out of the pictures and masks (not of truth and labels): with and without, two
            images differ by that finding alone.
    """
    drawn = draw_patient(patient, seed)
    reader = np.random.default_rng([seed, patient, 1])
    studies = []
    for study in drawn.studies:
        shown = {name: finding for name, finding in study.findings.items() if name not in without}
        severity = {name: finding.severity for name, finding in study.findings.items()}
        images = []
        for view in study.views:
            picture, masks = render(drawn.anatomy, view.pose, shown, size)
            images.append(PhantomImage(view.name, view.pose.view, picture, masks))
        labels = reading.read(study.truth, severity, reader)
        studies.append(
            PhantomStudy(
                patient, study.number, drawn.anatomy.sex, study.age, study.truth, labels, severity, tuple(images)
            )
        )
    return studies


@functools.cache
def _keep_memory() -> None:
    """Let the C library keep freed memory: a fifth of the time would go into page faults otherwise.

    glibc hands arrays above 128 KiB back to the system at once and maps them anew, until a larger block has been
    freed; then blocks up to that size are reused (mallopt(3), M_MMAP_THRESHOLD). Elsewhere this does nothing.
    """
    np.empty(30 << 20, np.uint8)


def render(anatomy: Anatomy, pose: Pose, shown: dict[str, Finding], size: int) -> tuple[Array, Array]:
    """One radiograph, float32 in [0, 1], and its mask bits, uint16; both (size, size)."""
    _keep_memory()
    fine = max(size, _SMALLEST)
    canvas = Canvas(2 * round(0.5 * fine * FIELD / HALF_VIEW))
    changes = findings.reshape(shown)
    layers = (lateral if pose.view == "lateral" else frontal).build(canvas, anatomy, pose, changes)
    masks = findings.pack_masks(findings.paint(layers, shown, changes, anatomy, pose))
    matrix = film.pose_matrix(canvas, pose, fine)
    masks = cv2.warpAffine(masks, matrix, (fine, fine), flags=cv2.INTER_NEAREST)
    signal = film.expose(film.attenuation(layers, anatomy, pose), canvas, pose, fine)
    shown_film = film.finish(film.display(signal, pose), pose)
    if fine != size:
        # Below 128 px lines and vessels would be coarser than a pixel: draw at 128 and average down.
        shown_film = cv2.resize(shown_film, (size, size), interpolation=cv2.INTER_AREA)
        masks = _shrink_masks(masks, size)
    return np.clip(shown_film, 0, 1), masks


def _shrink_masks(masks: Array, size: int) -> Array:
    out = np.zeros((size, size), np.uint16)
    for bit in range(len(MASKS)):
        plane = ((masks >> np.uint16(bit)) & np.uint16(1)).astype(np.float32)
        if plane.any():
            # Half of the pixel, as for a sharp edge; a quarter keeps thin lines from vanishing.
            small = cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA) >= (0.5 if bit < 2 else 0.25)
            out |= small.astype(np.uint16) << np.uint16(bit)
    return out
