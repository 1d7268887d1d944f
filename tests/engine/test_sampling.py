import numpy as np

from kontrast.engine.sampling import balanced_sampling_weights


def test_the_rarest_positive_finding_decides() -> None:
    targets = np.zeros((100, 2))
    targets[:50, 0] = 1  # common: 1/sqrt(.5)
    targets[:4, 1] = 1  # rare: 1/sqrt(.04) = 5
    drawn = balanced_sampling_weights(targets, np.ones_like(targets))
    ratio = drawn / drawn[-1]
    np.testing.assert_allclose(ratio[[0, 10, 99]], [5, np.sqrt(2), 1])
    np.testing.assert_allclose(drawn.mean(), 1)


def test_ignored_positives_do_not_count_and_the_limit_holds() -> None:
    targets = np.zeros((1000, 1))
    targets[0] = 1
    weights = np.ones_like(targets)
    assert balanced_sampling_weights(targets, weights, limit=10)[0] / balanced_sampling_weights(targets, weights)[1] > 9
    weights[0] = 0
    np.testing.assert_allclose(balanced_sampling_weights(targets, weights), 1)
