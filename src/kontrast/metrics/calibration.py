"""Whether probabilities mean what they say: Brier score, calibration error, slope and intercept, temperature."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from kontrast.metrics.scores import Array


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Mean squared difference of probabilities (n,) in [0, 1] and targets (n,) (Brier 1950); NaN without rows."""
    targets, probabilities = _pair(y, p)
    return float(np.mean((probabilities - targets) ** 2)) if len(targets) else float("nan")


def calibration_error(y: ArrayLike, p: ArrayLike, bins: int = 15, mass: str = "width") -> float:
    """Expected calibration error: the bins' |mean probability - share of positives|, weighted by their rows.

    Args:
        y: targets (n,), 1 or 0.
        p: probabilities (n,) in [0, 1].
        bins: how many.
        mass: `width`: bins of equal width (the common ECE, Naeini et al. 2015), or `mass`: of equal numbers of rows
            (adaptive ECE, Nixon et al. 2019), cut between distinct probabilities only.
    """
    targets, probabilities = _pair(y, p)
    if not len(targets):
        return float("nan")
    if mass == "width":
        index = np.minimum((probabilities * bins).astype(int), bins - 1)
    else:
        edges = np.quantile(probabilities, np.arange(1, bins) / bins, method="lower")
        index = np.searchsorted(edges, probabilities, side="left")
    gap = np.bincount(index, weights=probabilities - targets, minlength=bins)
    return float(np.abs(gap).sum() / len(targets))


def slope_intercept(y: ArrayLike, p: ArrayLike) -> tuple[float, float]:
    """Calibration slope and intercept: the fit of logit(y) = intercept + slope · logit(p); ideal 1 and 0.

    A slope below 1 means overconfidence. These are also Platt's parameters when fitted on validation. NaN where a class
    is missing or the classes are separated without overlap, for then the fit has no maximum.

    Source: Cox 1958; Van Calster et al. 2019 (slope and intercept fitted together).
    """
    targets, probabilities = _pair(y, p)
    x = logit(probabilities)
    if not _overlapping(targets, x):
        return float("nan"), float("nan")
    beta = _maximum(np.stack([x, np.ones_like(x)], axis=1), np.zeros_like(x), targets)
    return float(beta[0]), float(beta[1])


def in_the_large(y: ArrayLike, p: ArrayLike) -> float:
    """Calibration in the large: the intercept of logit(y) = intercept + logit(p), the slope held at 1; ideal 0.

    Below 0 the probabilities are too high on the whole. NaN where a class is missing. Source: Van Calster et al. 2019.
    """
    targets, probabilities = _pair(y, p)
    if not 0 < targets.sum() < len(targets):
        return float("nan")
    return float(_maximum(np.ones((len(targets), 1)), logit(probabilities), targets)[0])


def fitted(y: ArrayLike, p: ArrayLike, units: NDArray[np.int64]) -> dict[str, tuple[float, float, float]]:
    """Calibration slope, intercept and calibration in the large, each with its 95 % interval: (value, low, high).

    Args:
        y: targets (n,), 1 or 0.
        p: probabilities (n,) in [0, 1].
        units: the patient of each row (n,), for standard errors that allow for rows of one patient.

    Returns:
        `calibration_slope`, `calibration_intercept`, `calibration_in_the_large`; NaN where undefined.

    Source: the sandwich of Liang & Zeger 1986 with clusters / (clusters - 1), normal quantiles.
    """
    targets, probabilities = _pair(y, p)
    x = logit(probabilities)
    slope, intercept = slope_intercept(targets, probabilities)
    large = in_the_large(targets, probabilities)
    names = ("calibration_slope", "calibration_intercept", "calibration_in_the_large")
    both = _errors(np.stack([x, np.ones_like(x)], axis=1), np.zeros_like(x), targets, [slope, intercept], units)
    alone = _errors(np.ones((len(x), 1)), x, targets, [large], units)
    reach = special.ndtri(0.975) * np.concatenate([both, alone])
    return {
        name: (value, float(value - r), float(value + r))
        for name, value, r in zip(names, (slope, intercept, large), reach, strict=True)
    }


def _overlapping(targets: Array, x: Array) -> bool:
    """Whether both classes are there and neither lies wholly above the other, so that a logistic fit has a maximum."""
    positive, negative = x[targets == 1], x[targets == 0]
    if not len(positive) or not len(negative):
        return False
    return bool(positive.min() < negative.max() and positive.max() > negative.min())


def _maximum(design: Array, offset: Array, targets: Array) -> Array:
    """Coefficients (k,) of the logistic regression of targets (n,) on a design (n, k) beside an offset (n,)."""

    def loss(beta: Array) -> tuple[float, Array]:
        z = offset + design @ beta
        return float(np.mean(np.logaddexp(0, z) - targets * z)), design.T @ (special.expit(z) - targets) / len(z)

    def hessian(beta: Array) -> Array:
        q = special.expit(offset + design @ beta)
        return (design * (q * (1 - q))[:, None]).T @ design / len(q)

    start = np.zeros(design.shape[1])
    fit = optimize.minimize(loss, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-10})
    return np.asarray(fit.x, dtype=np.float64)


def _errors(design: Array, offset: Array, targets: Array, beta: list[float], units: NDArray[np.int64]) -> Array:
    """Cluster-robust standard errors (k,) of fitted coefficients; NaN where these are, or with one cluster."""
    clusters, index = np.unique(units, return_inverse=True)
    if not np.isfinite(beta).all() or len(clusters) < 2:
        return np.full(len(beta), np.nan)
    q = special.expit(offset + design @ np.array(beta))
    residual = targets - q
    sums = np.stack([np.bincount(index, weights=column * residual) for column in design.T], axis=1)
    bread = np.linalg.pinv((design * (q * (1 - q))[:, None]).T @ design)
    variance = bread @ (sums.T @ sums) @ bread * len(clusters) / (len(clusters) - 1)
    return np.sqrt(np.diag(variance))


def temperature(y: ArrayLike, p: ArrayLike) -> float:
    """The temperature T > 0 for which sigmoid(logit(p) / T) has the least log loss; NaN where a class is missing.

    Fit on validation, apply elsewhere. Bounded to [0.05, 20]. Source: Guo et al. 2017, section 4.2, for one logit.
    """
    targets, probabilities = _pair(y, p)
    if not 0 < targets.sum() < len(targets):
        return float("nan")
    x = logit(probabilities)

    def loss(log_t: float) -> float:
        z = x / np.exp(log_t)
        return float(np.mean(np.logaddexp(0, z) - targets * z))

    fit = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-9})
    return float(np.exp(fit.x))


CALIBRATE = ("none", "temperature", "platt")
"""How probabilities are corrected: not; logit / T; slope · logit + intercept. Each finding for itself."""


def fit(y: ArrayLike, p: ArrayLike, method: str) -> dict[str, Any]:
    """What corrects the probabilities of one finding, fitted on validation.

    Args:
        y: targets (n,): 1, 0 or NaN = ignored.
        p: probabilities (n,) in [0, 1].
        method: `none`, `temperature`, or `platt` with Platt's targets (positives + 1) / (positives + 2) and
            1 / (negatives + 2), which keep the fit finite.

    Returns:
        `slope` and `intercept` of the logit (1 and 0 where nothing can be fitted, with a `reason`), and `positives`:
        how many it rests on. The slope is above 0, so that no order changes.

    Source: Guo et al. 2017; Platt 1999, section 2.2.
    """
    targets, probabilities = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    known = ~np.isnan(targets)
    targets, probabilities = targets[known], probabilities[known]
    positives, negatives = int(targets.sum()), int(len(targets) - targets.sum())
    kept: dict[str, Any] = {"slope": 1.0, "intercept": 0.0, "positives": positives, "reason": None}
    if method == "none":
        return kept
    if min(positives, negatives) < LEAST:
        return kept | {"reason": f"{positives} positive and {negatives} negative images: fewer than {LEAST} of a class"}
    if method == "temperature":
        return kept | {"slope": 1 / temperature(targets, probabilities)}
    x = logit(probabilities)
    soft = np.where(targets == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = _maximum(np.stack([x, np.ones_like(x)], axis=1), np.zeros_like(x), soft)
    if not slope > 0:
        return kept | {"reason": "on validation higher probabilities are no likelier to be right"}
    return kept | {"slope": float(slope), "intercept": float(intercept)}


LEAST = 10
"""Images of each class that a correction asks for (`benchmarks/calibration.py`)."""


def corrected(p: ArrayLike, slope: ArrayLike, intercept: ArrayLike) -> Array:
    """sigmoid(slope · logit(p) + intercept), elementwise; slope 1 and intercept 0 leave p as it is, to the bit."""
    probabilities, a, b = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (p, slope, intercept)))
    return np.where((a == 1) & (b == 0), probabilities, special.expit(a * logit(probabilities) + b))


def reliability(y: ArrayLike, p: ArrayLike, bins: int = 10) -> list[dict[str, float]]:
    """The points of a reliability diagram: bins of equal numbers of rows, `n`, mean `p` and share of `positives`.

    Args:
        y: targets, any shape: 1, 0 or NaN = ignored.
        p: probabilities, likewise.
        bins: at most so many; rows of one probability are not parted.
    """
    targets, probabilities = np.asarray(y, dtype=np.float64).ravel(), np.asarray(p, dtype=np.float64).ravel()
    known = ~np.isnan(targets)
    targets, probabilities = targets[known], probabilities[known]
    if not len(targets):
        return []
    edges = np.quantile(probabilities, np.arange(1, bins) / bins, method="lower")
    index = np.searchsorted(edges, probabilities, side="left")
    return [
        {"n": int(rows.sum()), "p": float(probabilities[rows].mean()), "positives": float(targets[rows].mean())}
        for rows in (index == number for number in np.unique(index))
    ]


def logit(p: ArrayLike) -> Array:
    """log(p / (1 - p)), probabilities kept 1e-12 away from 0 and 1 so that it stays finite."""
    return special.logit(np.clip(np.asarray(p, dtype=np.float64), 1e-12, 1 - 1e-12))


def _pair(y: ArrayLike, p: ArrayLike) -> tuple[Array, Array]:
    targets, probabilities = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    if targets.shape != probabilities.shape or targets.ndim != 1:
        raise ValueError("targets and probabilities must be rows of the same length")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    return targets, probabilities
