"""How often the 95 % intervals of scores other than AUROC hold the truth, and those of paired differences.

    python benchmarks/score_coverage.py [STUDIES] [--out benchmarks/results/score_coverage.json]

Studies as in interval_coverage.py, patients of several images that share most of their score (patient's spread 1,
image's .3), but each patient is positive by chance: predictive values and F1 vary with how many are. The two systems
share half of a patient's variance. Scores become probabilities by the formula that is right for these studies, so that
calibration's true slope is 1 and its intercept 0; an image is called where its score is above the middle between the
classes. True values are those of endless images with the same share of positives, from normal distributions. Intervals
are made as `kontrast evaluate` makes them (BCa of patient-clustered replicates, here 400; calibration's from clustered
standard errors) and as `score --against` does (percentile).

Each result: the setting, and for each score its true value, how often its interval held it, how often the truth lay
below and above, and the mean width. With 2,000 studies a coverage is known to about ±.01.
"""

from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm
from simulated import asked, write

from kontrast.metrics.calls import THRESHOLDED, Confusion
from kontrast.metrics.finding import SCORES, FindingScorer
from kontrast.metrics.intervals import bootstrap, interval, jackknife, paired_difference

SETTINGS = [
    # patients, images of each, share of positive patients, shift between the classes
    (100, 3, 0.4, 1.2), (200, 2, 0.3, 2.0),
]  # fmt: skip
LESS = 0.6
"""The second system's shift, as a share of the first's."""
REPLICATES = 400
SPREAD = np.sqrt(1.09)
FITTED = ("calibration_slope", "calibration_intercept", "calibration_in_the_large")


def probability(s: np.ndarray, share: float, shift: float) -> np.ndarray:
    """The share of positives among images with the score s."""
    return np.asarray(expit(shift * (s - shift / 2) / SPREAD**2 + np.log(share / (1 - share))))


def true_values(share: float, shift: float) -> dict[str, float]:
    """What endless images would give, by score."""
    level = probability(np.array([shift / 2]), share, shift)[0]  # halfway between the classes
    called = norm.sf(np.array([shift / 2 - shift, shift / 2]) / SPREAD)  # of positives, of negatives
    counts = Confusion(
        share * called[0], (1 - share) * called[1], share * (1 - called[0]), (1 - share) * (1 - called[1])
    )
    s = np.linspace(-8 * SPREAD, shift + 8 * SPREAD, 200_001)
    recall, alarm = norm.sf((s - shift) / SPREAD), norm.sf(s / SPREAD)
    precision = share * recall / (share * recall + (1 - share) * alarm)
    density = share * norm.pdf(s, shift, SPREAD) + (1 - share) * norm.pdf(s, 0, SPREAD)
    p = probability(s, share, shift)
    values = {name: float(score(counts)) for name, score in THRESHOLDED.items()}
    values |= {"ap": float(-np.trapezoid(precision, recall)), "brier": float(np.trapezoid(density * p * (1 - p), s))}
    for rate in (0.9, 0.95):
        at = SPREAD * norm.isf(1 - rate)  # the score that 1 - rate of negatives pass
        values[f"sensitivity_at_{100 * rate:.0f}_specificity"] = float(norm.sf((at - shift) / SPREAD))
    return values | dict(zip(FITTED, (1.0, 0.0, 0.0), strict=True)) | {"threshold": float(level)}


def simulate(rng: np.random.Generator, setting: tuple[int, int, float, float]) -> tuple[np.ndarray, ...]:
    """Targets, both systems' scores and patients (n,) of one study."""
    patients, images, share, shift = setting
    patient = np.repeat(np.arange(patients), images)
    y = np.repeat(rng.random(patients) < share, images).astype(float)
    shared, own = rng.normal(size=patients), rng.normal(size=(2, patients))
    one, two = (
        by * y + np.repeat(np.sqrt(0.5) * (shared + alone), images) + 0.3 * rng.normal(size=len(y))
        for by, alone in zip((shift, LESS * shift), own, strict=True)
    )
    return y, one, two, patient


def intervals(y: np.ndarray, p: np.ndarray, level: float, patient: np.ndarray, seed: int) -> dict[str, Any]:
    """Every score with its interval, as `score_table` makes them."""
    total = int(patient.max()) + 1
    scorer = FindingScorer(y, p, level, patient, total)
    points, drawn = scorer(np.ones((total, 1)))[:, 0], bootstrap(scorer, total, replicates=REPLICATES, seed=seed)
    left_out = jackknife(scorer, total)
    found = {name: interval(points[i], drawn[i], left_out=left_out[i]) for i, name in enumerate(SCORES)}
    return found | scorer.calibration()


def coverage(setting: tuple[int, int, float, float], studies: int) -> dict[str, Any]:
    """Coverage, misses on either side and mean width of each score's interval."""
    rng, (_, _, share, shift) = np.random.default_rng(0), setting
    truth = true_values(share, shift)
    level = truth.pop("threshold")
    areas = norm.cdf(np.array([shift, LESS * shift]) / (np.sqrt(2) * SPREAD))
    other = true_values(share, LESS * shift)
    truth |= {"auroc": float(areas[0]), "auroc_difference": float(areas[0] - areas[1])}
    truth["ap_difference"] = truth["ap"] - other["ap"]
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in truth}
    for study in range(studies):
        y, one, two, patient = simulate(rng, setting)
        found = intervals(y, probability(one, share, shift), level, patient, study)
        for metric in ("auroc", "ap"):
            options: dict[str, Any] = {"replicates": REPLICATES, "seed": study}
            found[f"{metric}_difference"] = paired_difference(y, one, two, list(patient), metric, **options)
        for name, kept in ends.items():
            if found[name]["low"] is not None:
                kept.append((found[name]["low"], found[name]["high"]))
    result: dict[str, Any] = dict(zip(("patients", "images_each", "positive_share", "shift"), setting, strict=True))
    for name, kept in ends.items():
        low, high = np.array(kept).T
        below, above = float((truth[name] < low).mean()), float((truth[name] > high).mean())
        result[name] = {
            "true": round(truth[name], 4), "coverage": round(1 - below - above, 4), "below": round(below, 4),
            "above": round(above, 4), "width": round(float((high - low).mean()), 4), "studies": len(kept),
        }  # fmt: skip
    return result


if __name__ == "__main__":
    studies, out = asked(__doc__)
    results = []
    for setting in SETTINGS:
        results.append(coverage(setting, studies))
        print(*setting, flush=True)
        for name, one in results[-1].items():
            if isinstance(one, dict):
                print(f"  {name:32} {one['true']:7.3f} {one['coverage']:.3f} ({one['width']:.3f})", flush=True)
    write(out, studies, REPLICATES, results)
