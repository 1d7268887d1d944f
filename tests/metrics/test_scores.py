"""Oracles: scikit-learn to 1e-12, with and without ties, weights and repeated rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from kontrast.metrics import calls, scores


def sample(seed: int, n: int = 80, *, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < rng.uniform(0.1, 0.9)).astype(float)
    y[:2] = 0, 1
    s = rng.normal(size=n) + y
    return y, np.round(s, 1) if ties else s, rng.integers(0, 4, n).astype(float) + (np.arange(n) < 2)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_areas_equal_scikit_learn(seed: int, ties: bool) -> None:
    y, s, w = sample(seed, ties=ties)
    assert scores.auroc(y, s) == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)
    assert scores.average_precision(y, s) == pytest.approx(sk.average_precision_score(y, s), abs=1e-12)
    for weights in (w, w * 0.37 + 0.01):
        expected = (
            sk.roc_auc_score(y, s, sample_weight=weights),
            sk.average_precision_score(y, s, sample_weight=weights),
        )
        assert scores.auroc(y, s, weights) == pytest.approx(expected[0], abs=1e-12)
        assert scores.average_precision(y, s, weights) == pytest.approx(expected[1], abs=1e-12)


THRESHOLDED = {
    "f1": sk.f1_score,
    "kappa": lambda y, c, sample_weight=None: sk.cohen_kappa_score(y, c, sample_weight=sample_weight),
    "mcc": sk.matthews_corrcoef,
    "sensitivity": sk.recall_score,
    "specificity": lambda y, c, sample_weight=None: sk.recall_score(y, c, pos_label=0, sample_weight=sample_weight),
    "balanced_accuracy": sk.balanced_accuracy_score,
    "ppv": sk.precision_score,
    "npv": lambda y, c, sample_weight=None: sk.precision_score(y, c, pos_label=0, sample_weight=sample_weight),
}


@pytest.mark.parametrize("name", calls.THRESHOLDED)
@pytest.mark.parametrize("seed", range(5))
def test_calls_equal_scikit_learn(name: str, seed: int) -> None:
    y, s, w = sample(seed)
    called = s >= 0.5
    for weights in (None, w, w * 0.37 + 0.01):
        ours = calls.THRESHOLDED[name](calls.confusion(y, called, weights))
        assert ours == pytest.approx(THRESHOLDED[name](y, called, sample_weight=weights), abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
def test_many_weightings_at_once_are_each_alone_and_are_repeated_rows(ties: bool) -> None:
    y, s, _ = sample(3, ties=ties)
    counts = np.random.default_rng(0).integers(0, 4, (len(y), 7))
    for score in (scores.auroc, scores.average_precision):
        together = score(y, s, counts)
        assert together.shape == (7,)
        for column, value in zip(counts.T, together, strict=True):
            assert value == pytest.approx(score(y, s, column), abs=1e-14)
            assert value == pytest.approx(score(np.repeat(y, column), np.repeat(s, column)), abs=1e-14)
    found = calls.confusion(y, s > 0, counts)
    assert calls.f1(found)[2] == calls.f1(calls.confusion(y, s > 0, counts[:, 2]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[bool, int]]) -> None:
    y, s = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    pairs = [(s[i] > s[j]) + 0.5 * (s[i] == s[j]) for i in np.flatnonzero(y == 1) for j in np.flatnonzero(y == 0)]
    value = scores.auroc(y, s)
    if not pairs:
        assert np.isnan(value)
        return
    assert value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert value == pytest.approx(1 - scores.auroc(y, -s), abs=1e-12)
    assert value == pytest.approx(scores.auroc(y, np.exp(s)), abs=1e-12)


@pytest.mark.parametrize("y", [np.zeros(5), np.ones(5), np.empty(0)])
def test_one_class_is_undefined_never_zero_or_half(y: np.ndarray) -> None:
    s = np.arange(len(y), dtype=float)
    assert np.isnan(scores.auroc(y, s)) and np.isnan(scores.average_precision(y, s))
    found = calls.confusion(y, s > 2)
    for name in ("f1", "kappa", "mcc", "balanced_accuracy", "ppv", "npv"):
        assert np.isnan(calls.THRESHOLDED[name](found)), name
    assert np.isnan(calls.sensitivity(found)) == (not y.any())
    assert np.isnan(calls.specificity(found)) == (len(y) == 0 or bool(y.all()))


def test_what_nothing_was_called_for_is_undefined() -> None:
    found = calls.confusion([0, 1, 0, 1], [False] * 4)
    assert np.isnan(calls.ppv(found)) and np.isnan(calls.mcc(found))
    assert calls.f1(found) == 0 and calls.kappa(found) == 0 and calls.npv(found) == 0.5


def test_replicates_without_a_class_are_nan_and_the_others_are_not() -> None:
    y, s = np.array([1.0, 0, 0]), np.array([0.3, 0.2, 0.9])
    w = np.array([[0, 1, 2], [1, 0, 1], [2, 2, 0]])
    assert np.array_equal(scores.auroc(y, s, w), [np.nan, 0.0, 1.0], equal_nan=True)
    assert np.array_equal(scores.average_precision(y, s, w), [np.nan, 1 / 3, 1.0], equal_nan=True)


@pytest.mark.parametrize(("y", "s"), [([0, 1], [0.1, np.nan]), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1])])
def test_faulty_input_is_refused(y: list, s: list) -> None:
    with pytest.raises(ValueError):
        scores.auroc(y, s)


def test_infinite_scores_are_ranked() -> None:
    assert scores.auroc([0, 1, 1, 0], [-np.inf, np.inf, np.inf, 0]) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_operating_points_equal_the_roc_curve_of_scikit_learn(seed: int) -> None:
    y, s, w = sample(seed, ties=bool(seed % 2))
    for weights in (np.ones(len(y)), w):
        fpr, tpr, _ = sk.roc_curve(y, s, sample_weight=weights, drop_intermediate=False)
        found = scores.Ranks.of(y, s).everything(weights[:, None])
        for level in (0.9, 0.95):
            name = f"{100 * level:.0f}"
            sensitivity = tpr[1 - fpr >= level - 1e-9].max()
            specificity = (1 - fpr)[tpr >= level - 1e-9].max()
            assert found[f"sensitivity_at_{name}_specificity"][0] == pytest.approx(sensitivity, abs=1e-12)
            assert found[f"specificity_at_{name}_sensitivity"][0] == pytest.approx(specificity, abs=1e-12)


def test_operating_points_equal_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    y, s, _ = sample(2, ties=False)
    p = 1 / (1 + np.exp(-s))
    found = scores.Ranks.of(y, p).everything(np.ones((len(y), 1)))
    arguments = torch.tensor(p), torch.tensor(y).long()
    theirs, _ = functional.binary_sensitivity_at_specificity(*arguments, min_specificity=0.9)
    assert found["sensitivity_at_90_specificity"][0] == pytest.approx(float(theirs), abs=1e-5)
    theirs, _ = functional.binary_specificity_at_sensitivity(*arguments, min_sensitivity=0.9)
    assert found["specificity_at_90_sensitivity"][0] == pytest.approx(float(theirs), abs=1e-5)


def test_predictive_values_at_the_prevalence_of_the_data_are_those_of_the_data() -> None:
    y, s, _ = sample(1)
    found = calls.confusion(y, s >= 0.5)
    assert calls.ppv_at(found, y.mean()) == pytest.approx(calls.ppv(found), abs=1e-12)
    assert calls.npv_at(found, y.mean()) == pytest.approx(calls.npv(found), abs=1e-12)
    # Every positive repeated so often that half of the rows are positive.
    weights = np.where(y == 1, (1 - y).sum() / y.sum(), 1.0)
    even = calls.confusion(y, s >= 0.5, weights)
    assert calls.ppv_at(found, 0.5) == pytest.approx(calls.ppv(even), abs=1e-12)
    assert calls.npv_at(found, 0.5) == pytest.approx(calls.npv(even), abs=1e-12)
    assert np.isnan(calls.ppv_at(calls.confusion(y, np.zeros(len(y))), 0.1))


@given(rows=st.integers(0, 70), columns=st.integers(1, 4), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_running_sums_and_counts_are_numpys(rows: int, columns: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 3, (rows, columns)).astype(float)
    curve = np.cumsum(x, axis=0)
    assert np.array_equal(scores._running(x.copy()), curve)
    limit = np.random.default_rng(seed + 1).integers(-1, 80, columns).astype(float)
    assert np.array_equal(scores._counted(curve, limit, np.less), (curve < limit).sum(axis=0))
    assert np.array_equal(scores._counted(curve, limit, np.less_equal), (curve <= limit).sum(axis=0))
