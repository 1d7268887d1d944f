import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from kontrast.metrics import calibration


def sample(seed: int = 0, n: int = 3000, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * 1.5
    return (rng.random(n) < expit(slope * x + shift)).astype(float), expit(x)


def test_brier_equals_scikit_learn() -> None:
    y, p = sample()
    assert calibration.brier(y, p) == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert np.isnan(calibration.brier([], []))


@pytest.mark.parametrize("mass", ["width", "mass"])
def test_calibration_error_equals_a_loop_over_bins(mass: str) -> None:
    y, p = sample(n=500)
    p = np.append(np.round(p[1:], 3), 1.0)
    edges = np.linspace(0, 1, 11) if mass == "width" else np.quantile(p, np.linspace(0, 1, 11), method="lower")
    error = 0.0
    for b in range(10):
        if mass == "width":
            inside = (p >= edges[b]) & ((p < edges[b + 1]) | (b == 9))
        else:
            inside = ((p > edges[b]) | (b == 0)) & ((p <= edges[b + 1]) | (b == 9))
        if inside.any():
            error += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    assert calibration.calibration_error(y, p, 10, mass) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize(("mass", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_calibration_error_equals_scikit_learns_curve_weighed_by_its_rows(mass: str, strategy: str) -> None:
    y, p = sample(n=601)  # 60 to a bin and one more, so that every tenth lies on a row and none between two
    shares, means = calibration_curve(y, p, n_bins=10, strategy=strategy)
    rows = np.histogram(p, np.linspace(0, 1, 11))[0] if mass == "width" else np.array([61, *[60] * 9])
    expected = np.average(np.abs(shares - means), weights=rows[rows > 0])
    assert calibration.calibration_error(y, p, 10, mass) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_honest_and_of_bold_probabilities() -> None:
    honest, bold = (calibration.calibration_error(*sample(slope=slope)) for slope in (1.0, 0.3))
    assert honest < 0.03 < bold


def test_slope_and_intercept_equal_an_unpenalised_logistic_regression() -> None:
    y, p = sample(slope=0.6, shift=-0.4)
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(calibration.logit(p)[:, None], y)
    slope, intercept = calibration.slope_intercept(y, p)
    assert slope == pytest.approx(fit.coef_[0, 0], abs=1e-6)
    assert intercept == pytest.approx(fit.intercept_[0], abs=1e-6)


def test_what_has_no_fit_is_undefined() -> None:
    assert np.isnan(calibration.slope_intercept([0, 0, 1], [0.1, 0.2, 0.9])).all()
    assert np.isnan(calibration.slope_intercept([0, 0], [0.1, 0.2])).all()
    assert np.isnan(calibration.temperature([1, 1], [0.1, 0.2]))


def test_temperature_has_the_least_log_loss() -> None:
    y, p = sample(slope=0.5)
    best = calibration.temperature(y, p)
    assert best == pytest.approx(2.0, rel=0.1)
    losses = [log_loss(y, expit(calibration.logit(p) / t)) for t in (best, best * 0.99, best * 1.01)]
    assert losses[0] == min(losses)


def test_scores_outside_zero_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match="lie in"):
        calibration.brier([0, 1], [0.1, 1.2])


@pytest.mark.parametrize("rows", [1, 3])
def test_fits_and_their_intervals_equal_statsmodels(rows: int) -> None:
    api = pytest.importorskip("statsmodels.api")
    y, p = sample(slope=0.7, shift=-0.3, n=600)
    units = np.arange(600) // rows
    x = np.log(p / (1 - p))
    factor = np.sqrt((600 // rows) / (600 // rows - 1))  # theirs without a correction for few clusters
    options = {"disp": 0, "cov_type": "cluster", "tol": 1e-12, "maxiter": 100}
    options |= {"cov_kwds": {"groups": units, "use_correction": False}}
    joint = api.Logit(y, np.stack([x, np.ones_like(x)], axis=1)).fit(**options)
    alone = api.Logit(y, np.ones((600, 1)), offset=x).fit(**options)
    found = calibration.fitted(y, p, units)
    expected = zip([*joint.params, *alone.params], [*joint.bse, *alone.bse], strict=True)
    for (value, low, high), (theirs, error) in zip(found.values(), expected, strict=True):
        assert value == pytest.approx(theirs, abs=1e-6)
        assert (high - low) / 2 == pytest.approx(1.959964 * error * factor, abs=1e-6)
        assert (low + high) / 2 == pytest.approx(value, abs=1e-12)


def test_calibration_error_equals_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    y, p = sample(n=400)
    # Theirs bins the confidence of the class that is called, so only probabilities above a half compare.
    y, p = y[p > 0.5], p[p > 0.5]
    theirs = functional.binary_calibration_error(torch.tensor(p), torch.tensor(y).long(), n_bins=10, norm="l1")
    assert calibration.calibration_error(y, p, 10) == pytest.approx(float(theirs), abs=1e-5)


def test_calibration_in_the_large_makes_the_mean_right() -> None:
    y, p = sample(shift=-0.7)
    moved = expit(calibration.logit(p) + calibration.in_the_large(y, p))
    assert moved.mean() == pytest.approx(y.mean(), abs=1e-9)
    assert np.isnan(calibration.in_the_large([1, 1], [0.2, 0.3]))


def test_platt_equals_a_regression_on_both_classes_weighted_by_its_targets() -> None:
    y, p = sample(slope=0.5, shift=-1.0, n=300)
    positives, negatives = y.sum(), (1 - y).sum()
    soft = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.tile(np.log(p / (1 - p)), 2)[:, None]
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=500).fit(
        x, np.repeat([1, 0], 300), sample_weight=np.concatenate([soft, 1 - soft])
    )
    found = calibration.fit(np.append(y, np.nan), np.append(p, 0.5), "platt")
    assert found["slope"] == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    assert found["intercept"] == pytest.approx(theirs.intercept_[0], abs=1e-5)
    assert found["positives"] == positives and found["reason"] is None


def test_a_correction_makes_other_cases_honest() -> None:
    (y, p), (more, q) = (sample(seed, slope=0.4, shift=-1.0) for seed in (0, 1))
    fits = {method: calibration.fit(y, p, method) for method in calibration.CALIBRATE}
    after = {m: calibration.corrected(q, one["slope"], one["intercept"]) for m, one in fits.items()}
    errors = {m: calibration.calibration_error(more, values) for m, values in after.items()}
    assert np.array_equal(after["none"], q) and errors["platt"] < 0.03 < errors["temperature"] < errors["none"]
    assert calibration.slope_intercept(more, after["platt"]) == pytest.approx((1, 0), abs=0.15)
    assert (np.argsort(after["platt"]) == np.argsort(q)).all()


def test_a_correction_that_cannot_be_fitted_changes_nothing_and_says_why() -> None:
    y, p = sample(n=200)
    few = calibration.fit(np.where(np.cumsum(y) <= 9, y, 0), p, "platt")
    assert (few["slope"], few["intercept"]) == (1, 0) and "9 positive and 191 negative images" in few["reason"]
    assert "no likelier" in calibration.fit(1 - y, p, "platt")["reason"]
    assert calibration.fit(np.full(200, np.nan), p, "temperature")["positives"] == 0


def test_reliability_is_what_a_loop_over_sorted_rows_gives() -> None:
    y, p = sample(n=100)
    points = calibration.reliability(np.append(y, np.nan), np.append(p, 0.5), bins=5)
    order = np.argsort(p)
    assert sum(point["n"] for point in points) == 100 and len(points) == 5
    start = 0
    for point in points:
        rows = order[start : start + point["n"]]
        assert point["p"] == pytest.approx(p[rows].mean()) and point["positives"] == pytest.approx(y[rows].mean())
        start += point["n"]
    assert calibration.reliability([], []) == [] and len(calibration.reliability([1, 0], [0.5, 0.5])) == 1
