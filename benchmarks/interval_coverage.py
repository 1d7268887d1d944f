"""How often the 95 % interval of AUROC holds the true value, in simulated studies with patients of several images.

    python benchmarks/interval_coverage.py [STUDIES] [--out benchmarks/results/interval_coverage.json]

A patient is positive or not (`mixed`: a patient's images are positive one by one); images of a patient share most of
their score (patient's spread 1, image's .3), so that the true AUROC is known in closed form, Φ(shift / √(2 · 1.09)).
Compared: percentile and BCa intervals of 1,000 patient-clustered replicates, and DeLong's with Obuchowski's clusters,
as it is (`delong`) and on the scale of the logit (`delong_logit`, what `kontrast.metrics.delong` gives).

Each result: the setting, and for each interval its coverage, how often the truth lay below and above it, and its
mean width. With 2,000 studies a coverage is known to about ±.01.
"""

from typing import Any

import numpy as np
from scipy.stats import norm
from simulated import asked, write

from kontrast.metrics.delong import Z, delong
from kontrast.metrics.intervals import bca_levels, bootstrap, jackknife
from kontrast.metrics.scores import Ranks

SETTINGS = [
    # patients, images of each, positive patients, shift between the classes, mixed
    (100, 1, 50, 1.2, False), (100, 3, 50, 1.2, False), (100, 1, 30, 1.2, False), (100, 3, 30, 1.2, False),
    (100, 3, 30, 0.0, False), (100, 3, 30, 2.0, False), (100, 3, 70, 1.2, False), (100, 3, 30, 1.2, True),
    (200, 2, 30, 2.0, False), (200, 2, 30, 3.0, False), (300, 2, 100, 2.0, False), (1000, 1, 30, 1.2, False),
    (200, 2, 30, 2.5, False), (200, 2, 60, 3.0, False), (300, 2, 100, 3.0, False), (600, 1, 200, 3.0, False),
    (100, 3, 20, 1.2, False), (100, 3, 10, 1.2, False), (100, 1, 5, 1.2, False),
]  # fmt: skip
WAYS = ("percentile", "bca", "delong", "delong_logit")


def simulate(rng: np.random.Generator, setting: tuple[int, int, int, float, bool]) -> tuple[np.ndarray, ...]:
    """Targets, scores and patients (n,) of one study."""
    patients, images, positives, shift, mixed = setting
    patient = np.repeat(np.arange(patients), images)
    y = (rng.permutation(len(patient)) < positives * images if mixed else patient < positives).astype(float)
    s = shift * y + np.repeat(rng.normal(size=patients), images) + 0.3 * rng.normal(size=len(y))
    return y, s, patient


def intervals(y: np.ndarray, s: np.ndarray, patient: np.ndarray, seed: int) -> dict[str, Any]:
    """The 95 % interval of AUROC, each way."""
    total = int(patient.max()) + 1
    ranks = Ranks.of(y, s, patient, total)

    def aurocs(w: np.ndarray) -> np.ndarray:
        return ranks.areas(w)[0][None]

    drawn = bootstrap(aurocs, total, replicates=1000, seed=seed)[0]
    kept = drawn[np.isfinite(drawn)]
    levels = bca_levels(float(aurocs(np.ones((total, 1)))[0, 0]), kept, jackknife(aurocs, total)[0])
    ends = np.array([0.025, 0.975])
    found = {"percentile": np.quantile(kept, ends), "bca": np.quantile(kept, ends if levels is None else levels)}
    closed = delong(y, s, patient)
    value, reach = closed["value"], Z * (closed["se"] or 0)
    found["delong"] = (value - reach, value + reach)
    found["delong_logit"] = (value, value) if closed["low"] is None else (closed["low"], closed["high"])
    return found


def coverage(setting: tuple[int, int, int, float, bool], studies: int) -> dict[str, Any]:
    """Coverage, misses on either side and mean width, each way."""
    rng, truth = np.random.default_rng(0), norm.cdf(setting[3] / np.sqrt(2 * 1.09))
    ends = [intervals(*simulate(rng, setting), seed=study) for study in range(studies)]
    result: dict[str, Any] = dict(
        zip(("patients", "images_each", "positive_patients", "shift", "mixed"), setting, strict=True)
    )
    result["auroc"] = round(float(truth), 4)
    for way in WAYS:
        low, high = np.array([one[way] for one in ends]).T
        below, above = float((truth < low).mean()), float((truth > high).mean())
        result[way] = {
            "coverage": round(1 - below - above, 4), "below": round(below, 4), "above": round(above, 4),
            "width": round(float((high - low).mean()), 4),
        }  # fmt: skip
    return result


if __name__ == "__main__":
    studies, out = asked(__doc__)
    results = []
    for setting in SETTINGS:
        results.append(coverage(setting, studies))
        ways = "  ".join(f"{way} {results[-1][way]['coverage']:.3f}" for way in WAYS)
        print(*setting, ways, flush=True)
    write(out, studies, 1000, results)
