"""One finding's scores as a function of the patients' weights, and why some are undefined."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kontrast.metrics import calibration
from kontrast.metrics.calls import THRESHOLDED, Confusion, confusion_cells, npv_at, ppv_at
from kontrast.metrics.scores import OPERATING, Array, Ranks

AT_PREVALENCE = {"ppv_at_prevalence": ppv_at, "npv_at_prevalence": npv_at}
"""Predictive values at a stated prevalence, by their name in `scores.json`."""

SCORES: tuple[str, ...] = ("auroc", "ap", *OPERATING, *THRESHOLDED, *AT_PREVALENCE, "brier")
"""What is scored on the data and in every replicate, by its name in `scores.json`."""

CALIBRATION: tuple[str, ...] = (
    "ece", "ece_mass", "calibration_slope", "calibration_intercept", "calibration_in_the_large",
)  # fmt: skip
"""What is scored on the data alone: a resample's calibration error is biased upwards, and the fits bring their own
standard errors."""

FEW, FEWER = 30, 10
"""Fewer positive or negative patients than this, and a finding's intervals are marked with what COVERED says."""

SIMULATED = 5
"""The fewest patients of a class that coverage was measured with: of fewer, no figure is given."""

HIGH, FEW_AT_HIGH = 0.93, 60
"""An AUROC above the one with fewer patients of a class than the other: marked too."""

COVERED = {
    "few": {"bca": "93 to 95 %", "percentile": "91 to 94 %"},
    "wide": {"bca": "89 %", "percentile": "86 %"},
    "high": {"bca": "92 to 93 %", "percentile": "87 to 90 %"},
}
"""How often 95 % intervals of AUROC held the truth in simulated studies (`benchmarks/results/interval_coverage.json`):
10 to 20 patients of a class; 5; 30 at AUROCs of .95 and .98."""

CELLS = 2**21
"""Numbers of a curve held at once (16 MiB): a pool of many findings has more scores than memory has room for."""


class FindingScorer:
    """All scores of one finding as a function of the patients' weights.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        s: scores (n,).
        threshold: called positive where s >= threshold, one for all rows or (n,); None: scores of calls are NaN.
        units: the patient of each row (n,), numbered below `total`.
        total: number of patients U.
        prevalence: at which predictive values are given too; None: these are NaN.

    Attributes:
        n, positives, patients: rows with a target, those with 1, patients they come from.
        units_with: patients with a positive row, and with a negative one.
        in_range: whether every score lies in [0, 1], without which nothing is said about probabilities.
    """

    def __init__(
        self,
        y: Array,
        s: Array,
        threshold: float | Array | None,
        units: NDArray[np.int64],
        total: int,
        prevalence: float | None = None,
    ) -> None:
        known = ~np.isnan(y)
        if isinstance(threshold, np.ndarray):
            threshold = threshold[known]
        self.y, self.s, self.rows = y[known], s[known], units[known]
        self.n, self.positives, self.patients = len(self.y), int(self.y.sum()), len(np.unique(self.rows))
        self.units_with = {w: len(np.unique(self.rows[self.y == v])) for w, v in (("positive", 1), ("negative", 0))}
        self.threshold, self.prevalence = threshold, prevalence
        self.in_range = bool(((self.s >= 0) & (self.s <= 1)).all())
        self._ranks = Ranks.of(self.y, self.s, self.rows, total)
        rows = []
        if threshold is not None:
            rows.append(confusion_cells(self.y, self.s >= threshold))
        if self.in_range:
            rows += [((self.s - self.y) ** 2)[None], np.ones((1, self.n))]
        # Sparse, like the ranks: a dense product would wake the threads of BLAS, which stall on a busy machine.
        sums = [np.bincount(self.rows, weights=row, minlength=total) for row in np.concatenate(rows)] if rows else []
        self._sums = sparse.csr_array(np.reshape(sums, (len(sums), total)))

    def __call__(self, w: Array) -> Array:
        """Scores (len(SCORES), R) for weights (U, R), NaN where undefined."""
        step = max(1, CELLS // (3 * self._ranks.scores + 1))
        parts = [self._scores(w[:, start : start + step]) for start in range(0, w.shape[1], step)]
        return np.concatenate(parts, axis=1) if len(parts) > 1 else self._scores(w)

    def _scores(self, w: Array) -> Array:
        undefined = np.full(w.shape[1], np.nan)
        values: dict[str, Any] = self._ranks.everything(w)
        sums = self._sums @ w
        if self.threshold is not None:
            counts = Confusion(*sums[:4])
            values |= {name: score(counts) for name, score in THRESHOLDED.items()}
            if self.prevalence is not None:
                values |= {name: score(counts, self.prevalence) for name, score in AT_PREVALENCE.items()}
        if self.in_range:
            values["brier"] = np.divide(sums[-2], sums[-1], out=undefined.copy(), where=sums[-1] > 0)
        return np.stack([values.get(name, undefined) for name in SCORES])

    def calibration(self) -> dict[str, dict[str, Any]]:
        """The scores of CALIBRATION, each `value`, `low`, `high` and where null a `reason`."""
        found = dict.fromkeys(CALIBRATION, (np.nan, np.nan, np.nan))
        if self.in_range and self.n:
            for name, mass in (("ece", "width"), ("ece_mass", "mass")):
                found[name] = (calibration.calibration_error(self.y, self.s, mass=mass), np.nan, np.nan)
            found |= calibration.fitted(self.y, self.s, self.rows)
        return {name: self._entry(name, *ends) for name, ends in found.items()}

    def _too_few(self) -> str:
        """Why fits have no interval: on so few patients of a class their standard errors are far too small."""
        few = [f"{n} {word}" for word, n in self.units_with.items() if n < SIMULATED]
        return f"no interval: only {' and '.join(few)} patients or cases to fit on" if few else ""

    def _entry(self, name: str, value: float, low: float, high: float) -> dict[str, Any]:
        entry = {k: float(v) if np.isfinite(v) else None for k, v in (("value", value), ("low", low), ("high", high))}
        if entry["value"] is None:
            return entry | {"reason": self.reason(name, "")}
        if entry["low"] is not None and (why := self._too_few()):
            return entry | {"low": None, "high": None, "reason": why}
        if entry["low"] is None:
            return entry | {"reason": "no interval: the error of a resample is biased upwards"}
        return entry

    def reason(self, score: str, no_threshold: str) -> str:
        """Why a score is undefined on these data."""
        if self.n == 0:
            return "no labelled image"
        if not self.in_range and score in ("brier", *CALIBRATION):
            return "scores are not all between 0 and 1"
        called = score in THRESHOLDED or score in AT_PREVALENCE
        if called and self.threshold is None:
            return no_threshold
        if score in AT_PREVALENCE and self.prevalence is None:
            return "no prevalence was stated"
        if self.positives == 0:
            return f"no positive among {self.n} labelled images"
        if self.positives == self.n:
            return f"no negative among {self.n} labelled images"
        if score in CALIBRATION:
            return "positives and negatives do not overlap, so the fit has no end"
        return "every image is called the same" if called else "undefined on these data"

    def note(self, resampled: str, method: str, auroc: float) -> str | None:
        """What a reader must know about a small sample, with the coverage measured on such, or None."""
        noun = "patient" if resampled == "patients" else "case"
        limit = FEW_AT_HIGH if auroc > HIGH and min(self.units_with.values()) >= FEW else FEW
        few = [f"{n} {word} {noun}{'' if n == 1 else 's'}" for word, n in self.units_with.items() if n < limit]
        if not few:
            return None
        kind = "high" if limit > FEW else "few" if min(self.units_with.values()) >= FEWER else "wide"
        told = {"few": "", "wide": ", and hardly tell", "high": ", where AUROC is near 1"}[kind]
        if min(self.units_with.values()) < SIMULATED:
            return (
                f"{kind}: only {' and '.join(few)}, so how often such intervals hold the truth was not simulated; too "
                "few to tell"
            )
        covered = COVERED[kind][method]
        return (
            f"{kind}: only {' and '.join(few)}, so such 95 % intervals held the truth in {covered} of simulations{told}"
        )
