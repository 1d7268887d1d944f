"""How often the 95 % interval of AUROC holds the true value, in simulated studies with patients of several images.

    python benchmarks/interval_coverage.py [STUDIES]

A patient is positive or not; its images share most of their score (patient's spread 1, image's .3), so that the true
AUROC is known in closed form, Φ(shift / √(2 · 1.09)). The table in `kontrast.metrics.intervals` comes from here.
"""

import sys

import numpy as np
from scipy.stats import norm

from kontrast.metrics.intervals import bootstrap
from kontrast.metrics.scores import Ranks

SETTINGS = [(100, 3, 50, 1.2), (100, 1, 30, 1.2), (100, 3, 30, 1.2), (200, 2, 30, 2.0),
            (100, 3, 20, 1.2), (100, 3, 10, 1.2), (100, 1, 5, 1.2)]  # fmt: skip
"""Patients, images of each, positive patients, shift between the classes."""


def coverage(patients: int, images: int, positives: int, shift: float, studies: int, replicates: int = 500) -> float:
    """Share of simulated studies whose percentile interval holds the true AUROC."""
    rng, inside = np.random.default_rng(0), 0
    truth = norm.cdf(shift / np.sqrt(2 * 1.09))
    patient = np.repeat(np.arange(patients), images)
    y = (patient < positives).astype(float)
    for study in range(studies):
        s = shift * y + np.repeat(rng.normal(size=patients), images) + 0.3 * rng.normal(size=len(y))
        ranks = Ranks.of(y, s, patient, patients)
        drawn = bootstrap(lambda w, r=ranks: r.areas(w)[0][None], patients, replicates=replicates, seed=study)[0]
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        inside += bool(low <= truth <= high)
    return inside / studies


if __name__ == "__main__":
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for setting in SETTINGS:
        print(*setting, f"{coverage(*setting, studies):.3f}", flush=True)
