"""How often the 95 % interval of a mean over findings holds the true mean, where some findings are rare.

    python benchmarks/macro_coverage.py [STUDIES] [--out benchmarks/results/macro_coverage.json]

Patients and images as in interval_coverage.py, but each patient has each finding by chance, so that a rare one has
few or no positives in a study and in some of its replicates. The true value is the mean of the true AUROCs of the
findings that a study can score. Four intervals are compared:

    defined    the mean over the findings defined in the replicate: what `macro` has
    complete   the same, over the replicates in which every finding is defined
    held       a finding that a replicate lacks stands at its value in the data
    steady     as `defined`, but the mean is over the findings with an interval of their own: what `steady` has

Each result: the setting, the mean share of incomplete replicates, and for each its coverage and its mean width.
"""

import json
from typing import Any

import numpy as np
from scipy.stats import norm
from simulated import asked, write

from kontrast.metrics.intervals import MAX_LEFT_OUT, bootstrap, mean_defined
from kontrast.metrics.scores import Ranks

SMALL = np.array([0.3, 0.05, 0.2, 0.4, 0.03, 0.2, 0.08, 0.05, 0.25, 0.2, 0.4, 0.05, 0.1, 0.5])
LARGE = np.array([0.3, 0.4, 0.02, 0.2, 0.01, 0.2, 0.15, 0.03, 0.25, 0.05, 0.3, 0.01, 0.02, 0.5])
SETTINGS: dict[str, tuple[int, int, Any, Any]] = {
    "45 patients, all alike": (45, 2, SMALL, np.full(14, 0.8)),
    "45 patients, rare are hard": (45, 2, SMALL, np.where(SMALL < 0.1, 0.2, 1.5)),
    "45 patients, rare are easy": (45, 2, SMALL, np.where(SMALL < 0.1, 2.5, 0.3)),
    "200 patients, various": (200, 1, LARGE, np.linspace(0, 2, 14)),
    "100 patients, none rare": (100, 2, np.array([0.3, 0.4, 0.3, 0.3, 0.2]), np.linspace(0, 2, 5)),
    "100 patients, seven positive": (100, 2, np.full(5, 0.07), np.full(5, 1.2)),
}
"""Patients, images of each, share of patients with each finding, shift between the classes."""


def simulate(
    rng: np.random.Generator, patients: int, images: int, prevalence: np.ndarray, shift: np.ndarray, replicates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One study: true AUROC, AUROC and replicates (F, R) of the findings that it can score."""
    patient = np.repeat(np.arange(patients), images)
    truth, ranks = [], []
    for share, by in zip(prevalence, shift, strict=True):
        y = np.repeat(rng.random(patients) < share, images).astype(float)
        s = by * y + np.repeat(rng.normal(size=patients), images) + 0.3 * rng.normal(size=len(y))
        if 0 < y.sum() < len(y):
            truth.append(norm.cdf(by / np.sqrt(2 * 1.09)))
            ranks.append(Ranks.of(y, s, patient, patients))

    def aurocs(w: np.ndarray) -> np.ndarray:
        return np.stack([one.areas(w)[0] for one in ranks])

    drawn = bootstrap(aurocs, patients, replicates=replicates, seed=int(rng.integers(2**31)))
    return np.array(truth), aurocs(np.ones((patients, 1)))[:, 0], drawn


def means(truth: np.ndarray, point: np.ndarray, drawn: np.ndarray) -> dict[str, tuple[float, np.ndarray]]:
    """True mean and its replicates, each way."""
    known = np.isfinite(drawn)
    steady = (~known).mean(axis=1) <= MAX_LEFT_OUT
    return {
        "defined": (truth.mean(), mean_defined(drawn)),
        "complete": (truth.mean(), drawn[:, known.all(axis=0)].mean(axis=0)),
        "held": (truth.mean(), np.where(known, drawn, point[:, None]).mean(axis=0)),
        "steady": (truth[steady].mean(), mean_defined(drawn[steady])),
    }


def coverage(setting: tuple[int, int, Any, Any], studies: int, replicates: int = 400) -> tuple[float, dict[str, Any]]:
    """Mean share of incomplete replicates, and (coverage, width) each way."""
    rng, incomplete = np.random.default_rng(0), 0.0
    found: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(studies):
        truth, point, drawn = simulate(rng, *setting, replicates)
        incomplete += float((~np.isfinite(drawn)).any(axis=0).mean())
        for name, (true, values) in means(truth, point, drawn).items():
            low, high = np.quantile(values, [0.025, 0.975])
            found.setdefault(name, []).append((bool(low <= true <= high), high - low))
    return incomplete / studies, {name: np.mean(pairs, axis=0) for name, pairs in found.items()}


if __name__ == "__main__":
    studies, out = asked(__doc__)
    results = []
    for name, setting in SETTINGS.items():
        incomplete, found = coverage(setting, studies)
        ways = {way: {"coverage": round(held, 4), "width": round(width, 4)} for way, (held, width) in found.items()}
        results.append({"study": name, "incomplete": round(incomplete, 4), **ways})
        print(json.dumps(results[-1]), flush=True)
    write(out, studies, 400, results)
