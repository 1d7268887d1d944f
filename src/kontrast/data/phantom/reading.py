"""What the tables say about the truth: a labeller's 1, 0, -1 and blank, with its omissions and doubts.

The chances below give a cohort the rates of CheXpert's training table: how often each finding is stated, doubted or
denied there (Irvin et al. 2019, table 1, and the released CSV). Reports mention what is there, deny what was asked
for, and pass over the rest in silence; so blank mostly means absent, and doubt covers both.
"""

import math
from collections.abc import Mapping

import numpy as np

from kontrast.types import FINDINGS

_CHANCES: dict[str, tuple[float, float, float, float, float]] = {
    # finding: stated and doubted when present; stated, doubted and denied when absent
    "Enlarged Cardiomediastinum": (0.72, 0.15, 0.010, 0.05, 0.10),
    "Cardiomegaly": (0.86, 0.07, 0.008, 0.03, 0.06),
    "Lung Opacity": (0.86, 0.03, 0.030, 0.02, 0.06),
    "Lung Lesion": (0.82, 0.06, 0.002, 0.004, 0.006),
    "Edema": (0.87, 0.08, 0.020, 0.05, 0.125),
    "Consolidation": (0.58, 0.28, 0.010, 0.11, 0.14),
    "Pneumonia": (0.45, 0.38, 0.003, 0.07, 0.013),
    "Atelectasis": (0.58, 0.34, 0.010, 0.09, 0.008),
    "Pneumothorax": (0.91, 0.03, 0.005, 0.012, 0.27),
    "Pleural Effusion": (0.93, 0.04, 0.020, 0.055, 0.26),
    "Pleural Other": (0.66, 0.15, 0.001, 0.006, 0.0015),
    "Fracture": (0.84, 0.02, 0.003, 0.002, 0.011),
    "Support Devices": (0.96, 0.004, 0.020, 0.006, 0.06),
}


def read(truth: Mapping[str, int], severity: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    """One study's labels: 1, 0, -1 or NaN (not mentioned) for each of FINDINGS.

    Args:
        truth: 0 or 1 for each of FINDINGS.
        severity: 0 to 1 for what is present; what is subtle is missed or doubted more often.
        rng: the reader.
    """
    labels: dict[str, float] = {}
    for name, (stated, doubted, claimed, wondered, denied) in _CHANCES.items():
        draw = rng.random()
        if truth[name]:
            plain = 0.82 + 0.36 * severity.get(name, 0.5)
            stated = min(stated * plain, 1 - doubted)
            thresholds = (stated, stated + doubted, stated + doubted + 0.01)
        else:
            thresholds = (claimed, claimed + wondered, claimed + wondered + denied)
        labels[name] = next((v for v, t in zip((1.0, -1.0, 0.0), thresholds, strict=True) if draw < t), math.nan)
    clean = all(labels[n] not in (1.0, -1.0) for n in labels if n != "Support Devices")
    labels["No Finding"] = 1.0 if clean else math.nan
    return {name: labels[name] for name in FINDINGS}
