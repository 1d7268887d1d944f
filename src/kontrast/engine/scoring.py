"""What is scored and compared: images, studies or views; and at which prevalence besides that of the data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kontrast.config import choose
from kontrast.errors import DataError, UsageError
from kontrast.metrics.calibration import reliability
from kontrast.metrics.differences import paired_table
from kontrast.metrics.evaluation import score_table
from kontrast.metrics.finding import CALIBRATION
from kontrast.metrics.studies import by_study

COLUMN = {"study": "study_id", "view": "view"}
"""What must be known of images to score them by study or view."""


def check_request(table: pd.DataFrame, findings: Sequence[str], by: str, prevalence: str | None) -> None:
    """Refuse what `score_rows` could not do, before anything is computed.

    Raises:
        DataError: no study ids, or no views, to score by.
        UsageError: a prevalence that is none.
    """
    parse_prevalence(prevalence, findings)
    if by in COLUMN and not (_words(table, by) != "").any():
        raise DataError(
            f"--by {by} needs the column {COLUMN[by]}, which is blank for all {len(table):,} images.",
            fix="Leave --by out.",
        )


def score_rows(
    table: pd.DataFrame,
    truth: np.ndarray,
    scores: np.ndarray,
    findings: Sequence[str],
    *,
    patients_known: bool,
    by: str = "image",
    over_views: str = "max",
    prevalence: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`score_table` of images, of studies, or of images and then of each view alone.

    Args:
        table: n rows with patient_id, study_id and view.
        truth: (n, F) targets: 1, 0 or NaN = ignored.
        scores: (n, F).
        findings: F names.
        patients_known: whether patient_id says whose rows belong together.
        by: `image`; `study`: one case a study; `view`: as image, with `views` beside it, a table for each.
        over_views: of a study's scores the highest or the mean.
        prevalence: as `parse_prevalence` reads it.
        options: of `score_table`.

    Returns:
        The content of `scores.json`: `by`, for studies `over_views` and `images`, for views `views`, and `reliability`
        of all findings' cells where scores are probabilities.

    Raises:
        UsageError: a prevalence that is none.
    """
    options |= {"prevalence": parse_prevalence(prevalence, findings)}
    people = table["patient_id"].to_numpy() if patients_known else None
    if by == "study":
        images = len(truth)
        truth, scores, first = by_study(truth, scores, _words(table, by), over_views, people)
        people = None if people is None else people[first]
        found = score_table(truth, scores, findings, patients=people, **options)
        found |= {"by": by, "over_views": over_views, "images": images}
        return found | _reliability(truth, scores)
    found = score_table(truth, scores, findings, patients=people, **options) | {"by": by}
    found |= _reliability(truth, scores)
    if by == "view":
        views = _words(table, by)
        found["views"] = {
            str(name) or "unknown": score_table(
                truth[rows], scores[rows], findings, patients=None if people is None else people[rows], **options
            )
            for name, rows in ((name, views == name) for name in sorted(set(views)))
        }
    return found


def _reliability(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    return {"reliability": reliability(truth, scores)} if ((scores >= 0) & (scores <= 1)).all() else {}


def before_calibration(
    table: pd.DataFrame, truth: np.ndarray, raw: np.ndarray, findings: Sequence[str], **options: Any
) -> dict[str, Any]:
    """How well the network's own probabilities were calibrated: what `score_rows` says of CALIBRATION and Brier.

    Args:
        table: as `score_rows` takes it.
        truth: likewise.
        raw: probabilities before their correction, (n, F).
        findings: F names.
        options: `patients_known`, `by` and `over_views`, as `score_rows`.
    """
    found = score_rows(table, truth, raw, findings, replicates=0, **options)
    kept = {
        name: {score: entry[score] for score in ("brier", *CALIBRATION)} for name, entry in found["findings"].items()
    }
    return {"findings": kept, "reliability": found["reliability"]}


def compare_rows(
    table: pd.DataFrame,
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    findings: Sequence[str],
    *,
    patients_known: bool,
    by: str = "image",
    over_views: str = "max",
    **options: Any,
) -> dict[str, Any]:
    """`paired_table` of the images, or studies, that `score_rows` scores; arguments as there."""
    people = table["patient_id"].to_numpy() if patients_known else None
    if by == "study":
        studies = _words(table, by)
        second = by_study(truth, second, studies, over_views, people)[1]
        truth, first, rows = by_study(truth, first, studies, over_views, people)
        people = None if people is None else people[rows]
    return paired_table(truth, first, second, findings, patients=people, **options)


def parse_prevalence(spec: str | None, findings: Sequence[str]) -> dict[str, float]:
    """Prevalence by finding from `0.05`, `Edema=0.02,Fracture=0.01` or `0.05,Edema=0.02`; none for None.

    Raises:
        UsageError: an unknown finding, two for all, or no number between 0 and 1.
    """
    stated: dict[str, float] = {}
    default: float | None = None
    for part in filter(None, (part.strip() for part in (spec or "").split(","))):
        name, equals, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 < value < 1:
            raise UsageError(
                f"--prevalence {part} should be a share between 0 and 1.", fix="Write 0.05, or 0.05,Edema=0.02."
            )
        if equals:
            stated[choose(name.strip(), findings, "--prevalence finding")] = value
        elif default is not None:
            raise UsageError(f"--prevalence {spec} has two for all findings.", fix="Give one, then NAME=SHARE.")
        else:
            default = value
    return ({} if default is None else dict.fromkeys(findings, default)) | stated


def _words(table: pd.DataFrame, by: str) -> np.ndarray:
    return table[COLUMN[by]].fillna("").astype(str).to_numpy()
