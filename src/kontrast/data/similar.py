"""Images that look the same though their files differ: copies in another size, format or brightness.

A hash of 64 bits finds candidates among any number of images, and the correlation of two small sketches decides.
Chest radiographs are all alike, so the hash alone would call strangers copies: benchmarks/near_duplicates.py counts
both on real ones. Copies that were halved, compressed hard or brightened are found; of those with another crop some
are missed, and most with local or global equalisation are, so "none found" is never more than that.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

RADIUS = 6
"""Bits in which the hashes of two copies may differ."""
ALIKE = 0.96
"""Correlation of the sketches of two copies, at least."""
SIDE, COARSE, DARK = 32, 4.0, 0.03
MANY = 100
BLOCK = 1 << 22

_LOWEST = sorted(((i, j) for i in range(11) for j in range(11) if i + j), key=lambda at: (sum(at), at))[:64]


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits by which copies of an image are found: the signs of its 64 lowest frequencies (a cosine transform).

    The mean is left out, so brightness does not count, nor does the contrast; dark borders are cut off first, so that
    an image in a Pack and its source agree. After pHash (Zauner 2010), with signs in place of the median.

    Args:
        image: (H, W) uint8 or uint16.

    Returns:
        0 … 2**64 - 1; 0 for an image of one grey value, which is like no other.
    """
    small = _small(image)
    if small is None:
        return 0
    waves = cv2.dct(small)
    bits = np.array([waves[i, j] > 0 for i, j in _LOWEST])
    return int(np.packbits(bits).view(">u8")[0])


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """How alike two images look, whatever their sizes: correlation of what is left of 32×32 px without coarse shading.

    Returns:
        -1 … 1; 0 where one of them has a single grey value.
    """
    one, other = _sketch(a), _sketch(b)
    return 0.0 if one is None or other is None else float((one * other).sum())


def near_pairs(hashes: Sequence[int] | np.ndarray, radius: int = RADIUS) -> np.ndarray:
    """All pairs of hashes that differ in at most `radius` bits; 200,000 hashes of radiographs take under a minute.

    The bits are dealt into radius + 1 bands: two hashes within the radius agree wholly in one of them (multi-index
    hashing, Norouzi et al. 2012), so only those are compared.

    Args:
        hashes: of `perceptual_hash`, (N,); a 0 is paired with nothing.
        radius: 0 … 63.

    Returns:
        (P, 3) int64: i < j and their distance, sorted. Of more than 100 images with the very same hash (a scanner's
        empty frame, say) each is paired with the first only, so that the number of pairs does not run away.
    """
    values, back = np.unique(np.asarray(hashes, dtype=np.uint64), return_inverse=True)
    order = np.argsort(back, kind="stable")
    bounds = np.searchsorted(back[order], np.arange(len(values) + 1))
    members = [order[a:b] for a, b in pairwise(bounds)]
    pairs = [_within(group) for value, group in zip(values, members, strict=True) if value and len(group) > 1]
    a, b, distance = _between(values, radius)
    for i, j, bits in zip(a.tolist(), b.tolist(), distance.tolist(), strict=True):
        left, right = np.meshgrid(members[i][:MANY], members[j][:MANY], indexing="ij")
        both = np.sort(np.stack([left.ravel(), right.ravel()]), axis=0)
        pairs.append(np.stack([*both, np.full(both.shape[1], bits)], axis=1))
    if not pairs:
        return np.empty((0, 3), dtype=np.int64)
    found = np.concatenate(pairs).astype(np.int64)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _within(group: np.ndarray) -> np.ndarray:
    """Pairs of images with one hash, (P, 3)."""
    if len(group) > MANY:
        return np.stack([np.full(len(group) - 1, group[0]), group[1:], np.zeros(len(group) - 1, np.int64)], axis=1)
    i, j = np.triu_indices(len(group), 1)
    return np.stack([group[i], group[j], np.zeros(len(i), np.int64)], axis=1)


def _between(values: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of different hashes within the radius: (i, j, distance), each pair once."""
    start = int(len(values) > 0 and values[0] == 0)  # values are sorted: a 0, like no other, comes first
    found: list[np.ndarray] = []
    for band in range(radius + 1):
        # Neighbouring bits are dealt to different bands: the lowest frequencies alone say little apart.
        mask = np.uint64(sum(1 << bit for bit in range(band, 64, radius + 1)))
        keys = values[start:] & mask
        order = np.argsort(keys, kind="stable") + start
        bounds = np.flatnonzero(np.diff(values[order] & mask)) + 1
        for group in np.split(order, bounds):
            found += _compare(values, np.sort(group), radius)
    if not found:
        return (np.empty(0, np.int64),) * 3
    pairs = np.unique(np.concatenate(found), axis=0)
    i, j = pairs[:, 0], pairs[:, 1]
    return i, j, np.bitwise_count(values[i] ^ values[j]).astype(np.int64)


def _compare(values: np.ndarray, group: np.ndarray, radius: int) -> list[np.ndarray]:
    """The pairs of a group within the radius, block by block: memory stays bounded."""
    found = []
    rows = max(1, BLOCK // max(1, len(group)))
    for first in range(0, len(group) - 1, rows):
        part = group[first : first + rows]
        near = np.bitwise_count(values[part][:, None] ^ values[group[first:]][None]) <= radius
        i, j = np.nonzero(np.triu(near, 1))
        if len(i):
            found.append(np.stack([part[i], group[first:][j]], axis=1))
    return found


def _small(image: np.ndarray) -> np.ndarray | None:
    """(32, 32) float32 of the picture without its dark borders; None where it has one grey value."""
    # By their means: a border that was compressed is not wholly black any more, and may hold a letter.
    rows, columns = (np.flatnonzero(image.mean(axis=axis) > DARK * image.max()) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    picture = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if picture.min() == picture.max():
        return None
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _sketch(image: np.ndarray) -> np.ndarray | None:
    """(32, 32) of unit length and mean 0, or None."""
    small = _small(image)
    if small is None:
        return None
    fine = small - cv2.GaussianBlur(small, (0, 0), COARSE)
    fine -= fine.mean()
    length = float(np.linalg.norm(fine))
    return fine / length if length else None
