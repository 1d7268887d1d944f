"""How alike two heat maps are: rank correlation and structural similarity, as sanity checks of maps use them.

Adebayo et al. 2018 (arXiv:1810.03292) and Arun et al. 2021 (Radiol. Artif. Intell. 3) compare a classifier's maps with
those of the same classifier with random weights: a map that stays the same says nothing about what was learnt.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, stats

WINDOW = 7
"""Side of the square in which SSIM compares, pixels."""


def rank_correlation(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Spearman's correlation of each pair of maps, (n,): 1 where both order the pixels alike; NaN where one is flat.

    Args:
        first: (n, H, W).
        second: (n, H, W).

    Raises:
        ValueError: shapes differ.
    """
    one, two = _pair(first, second)
    a, b = (stats.rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (one, two))  # ties get their mean rank
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), spread, out=np.full(len(one), np.nan), where=spread > 0)


def ssim(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Structural similarity of each pair of maps, (n,) (Wang et al. 2004, IEEE Trans. Image Process. 13, eq. 13).

    In windows of 7 × 7 that lie within the image, with K1 = .01, K2 = .03, maps in [0, 1] and sample covariances; the
    mean over windows. Places where both maps are empty count as alike, so it is high for two maps of small regions.

    Args:
        first: (n, H, W) in [0, 1].
        second: (n, H, W) in [0, 1].

    Raises:
        ValueError: shapes differ, or maps are smaller than the window.
    """
    one, two = _pair(first, second)
    if min(one.shape[1:]) < WINDOW:
        raise ValueError(f"SSIM needs maps of at least {WINDOW} × {WINDOW}, got {one.shape[1:]}.")

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndimage.uniform_filter(values, size=(1, WINDOW, WINDOW))

    m1, m2 = mean(one), mean(two)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    v1, v2, cov = (
        unbiased * (mean(x * y) - m) for x, y, m in ((one, one, m1**2), (two, two, m2**2), (one, two, m1 * m2))
    )
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * m1 * m2 + c1) * (2 * cov + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))
    edge = WINDOW // 2
    return values[:, edge : one.shape[1] - edge, edge : one.shape[2] - edge].mean(axis=(1, 2))


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 3 or one.shape != two.shape:
        raise ValueError(f"Expected maps of one shape (n, H, W), got {one.shape} and {two.shape}.")
    return one, two
