"""Whether probabilities mean what they say: Brier score, calibration error, slope and intercept, temperature."""

import numpy as np
from numpy.typing import ArrayLike
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
    positive, negative = x[targets == 1], x[targets == 0]
    if not len(positive) or not len(negative):
        return float("nan"), float("nan")
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        return float("nan"), float("nan")
    design = np.stack([x, np.ones_like(x)], axis=1)

    def loss(beta: Array) -> tuple[float, Array]:
        z = design @ beta
        return float(np.mean(np.logaddexp(0, z) - targets * z)), design.T @ (special.expit(z) - targets) / len(z)

    def hessian(beta: Array) -> Array:
        q = special.expit(design @ beta)
        return (design * (q * (1 - q))[:, None]).T @ design / len(q)

    fit = optimize.minimize(loss, np.zeros(2), jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-10})
    return float(fit.x[0]), float(fit.x[1])


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
