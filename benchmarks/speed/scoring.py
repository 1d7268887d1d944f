"""Case 6: AUROC and average precision of 14 findings, 25,000 images, 1,000 replicates drawn by patient."""

from typing import Any

import numpy as np
from benchmarks.speed.measure import alternate, cpu, figure, ratio
from sklearn.metrics import average_precision_score, roc_auc_score

from kontrast.metrics.evaluation import score_table
from kontrast.metrics.intervals import bootstrap, index_units, resamples
from kontrast.metrics.scores import Ranks

FINDINGS, IMAGES, REPLICATES = 14, 25_000, 1000
SHARE = 200
"""Of the replicates, those that scikit-learn is given in a round: its time grows with their number and nothing else."""


def run() -> list[dict[str, Any]]:
    """The bootstrap alone, against the loop; how far the two lie apart; a whole table of scores."""
    rng = np.random.default_rng(0)
    y = (rng.random((IMAGES, FINDINGS)) < np.linspace(0.02, 0.4, FINDINGS)).astype(float)
    s = 1 / (1 + np.exp(-(rng.normal(size=y.shape) + y)))
    patients = np.sort(rng.integers(0, IMAGES // 3, IMAGES))

    def replicated(replicates: int = REPLICATES) -> np.ndarray:
        units, total = index_units(patients)
        ranks = [Ranks.of(y[:, f], s[:, f], units, total) for f in range(FINDINGS)]
        return bootstrap(lambda w: np.stack([v for r in ranks for v in r.areas(w)]), total, replicates=replicates)

    def loop(replicates: int = REPLICATES // SHARE) -> np.ndarray:
        units, total = index_units(patients)
        weights = next(resamples(total, replicates, 0))[units].T
        rows = [
            [
                f(y[:, k], s[:, k], sample_weight=w)
                for k in range(FINDINGS)
                for f in (roc_auc_score, average_precision_score)
            ]
            for w in weights
        ]
        return np.array(rows).T

    apart = float(np.abs(replicated(3) - loop(3)).max())
    seconds = alternate({"kontrast": cpu(replicated), "scikit-learn": cpu(loop)})
    ours = sorted(seconds["kontrast"])[len(seconds["kontrast"]) // 2]
    faster = SHARE * ratio(seconds["scikit-learn"], seconds["kontrast"])
    note = f"one {SHARE}th of the replicates a round"
    found = [
        figure("scoring", "AUROC and AP, 14 × 25,000 × 1,000 replicates", ours, "s", limit=3, rounds=seconds),
        figure("scoring", "the same against a loop over scikit-learn", faster, "×", target=30, note=note),
        figure("scoring", "largest difference from scikit-learn", apart, "", limit=1e-12),
    ]
    names = [f"finding {f}" for f in range(FINDINGS)]
    thresholds = {name: {"value": 0.6} for name in names}
    table = cpu(lambda: score_table(y, s, names, patients=patients, thresholds=thresholds))()
    what = "all of scores.json: 17 scores a finding with BCa intervals, the pool of all findings, means"
    found.append(figure("scoring", what, table, "s", note="one run"))
    return found
