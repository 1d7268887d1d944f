import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kontrast.engine.linear import fit_path, knn


def problem(seed: int = 0, n: int = 200, d: int = 6, f: int = 3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.5, 4, d) + rng.normal(size=d)
    y = (x @ rng.normal(size=(d, f)) + rng.logistic(size=(n, f)) > 1).astype(float)
    w = (rng.random((n, f)) > 0.2).astype(float)
    return x, y, w


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_each_finding_is_scikit_learns_logistic_regression(penalty: float) -> None:
    x, y, w = problem()
    ours = fit_path(x, y, w, [penalty])[0]
    z = (x - x.mean(0)) / x.std(0)
    for f in range(y.shape[1]):
        kept = w[:, f] > 0
        # their objective is C·Σ loss + ½‖W‖²: C = 1 / (penalty · n)
        theirs = LogisticRegression(C=1 / (penalty * kept.sum()), tol=1e-10, max_iter=5000).fit(z[kept], y[kept, f])
        np.testing.assert_allclose(ours.probabilities(x)[:, f], theirs.predict_proba(z)[:, 1], atol=2e-4)


def test_soft_targets_pull_between_the_classes() -> None:
    x, y, w = problem(f=1)
    soft = np.where(y == 1, 0.7, 0.1)
    p = fit_path(x, soft, w, [1e-4])[0].probabilities(x)
    np.testing.assert_allclose((p * w).sum(), (soft * w).sum(), rtol=1e-3)  # first-order condition of the free bias


def test_a_dead_feature_changes_nothing() -> None:
    x, y, w = problem()
    dead = np.hstack([x, np.full((len(x), 1), 3.0)])
    a, b = fit_path(x, y, w, [0.1])[0], fit_path(dead, y, w, [0.1])[0]
    np.testing.assert_allclose(a.probabilities(x), b.probabilities(dead), atol=1e-6)


def test_warm_starts_do_not_change_the_optimum() -> None:
    x, y, w = problem()
    along = fit_path(x, y, w, [10.0, 1.0, 0.1])[-1]
    direct = fit_path(x, y, w, [0.1])[0]
    np.testing.assert_allclose(along.probabilities(x), direct.probabilities(x), atol=1e-3)


def test_knn_is_the_naive_loop() -> None:
    x, y, w = problem(n=40)
    query = problem(seed=1, n=7)[0]
    got = knn(x, y, w, query, k=5, temperature=0.1)
    for m in range(len(query)):
        cosine = [float(q @ query[m] / np.linalg.norm(q) / np.linalg.norm(query[m])) for q in x]
        near = np.argsort(cosine)[::-1][:5]
        for f in range(y.shape[1]):
            votes = [np.exp(cosine[i] / 0.1) * w[i, f] for i in near]
            expected = sum(v * y[i, f] for v, i in zip(votes, near, strict=True)) / sum(votes)
            assert got[m, f] == pytest.approx(expected, abs=1e-9)


def test_knn_without_countable_neighbours_says_the_prevalence() -> None:
    x, y, w = problem(n=30, f=1)
    w[1:] = 0
    y[0] = 1
    assert (knn(x, y, w, x[5:6], k=1) == 1.0).all()
    assert knn(x, y, w, x[:1], k=99).shape == (1, 1)  # k above N is cut
