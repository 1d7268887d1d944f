"""Near-duplicates: what counts as one, and that the search misses no pair."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontrast.data import similar
from kontrast.data.similar import ALIKE, RADIUS, likeness, near_pairs, perceptual_hash


def picture(seed, shape=(90, 80)):
    """Smooth, as radiographs are."""
    coarse = np.random.default_rng(seed).integers(20, 230, (9, 8), dtype=np.uint8)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def differing(a, b):
    return bin(perceptual_hash(a) ^ perceptual_hash(b)).count("1")


def copies(image):
    yield cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    yield cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
    yield (255 * (image / 255) ** 1.2).astype(np.uint8)
    yield cv2.copyMakeBorder(image, 0, 0, 20, 30, cv2.BORDER_CONSTANT, value=0)
    yield image.astype(np.uint16) * 16


def test_copies_are_found_and_others_are_not():
    image = picture(0)
    for copy in copies(image):
        assert differing(image, copy) <= RADIUS and likeness(image, copy) >= ALIKE
    for seed in range(1, 9):
        assert differing(image, picture(seed)) > RADIUS and likeness(image, picture(seed)) < 0.7
    assert differing(image, 255 - image) > 48 and likeness(image, 255 - image) < -0.9


def test_the_hash_is_the_signs_of_a_cosine_transform_written_out():
    image = picture(3, (32, 32))
    n = np.arange(32)
    basis = np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / 64)
    waves = basis @ image.astype(float) @ basis.T
    order = sorted(((i, j) for i in range(32) for j in range(32) if i + j), key=lambda at: (at[0] + at[1], at))
    expected = int("".join("1" if waves[i, j] > 0 else "0" for i, j in order[:64]), 2)
    assert perceptual_hash(image) == expected


def test_an_image_without_content_is_like_nothing():
    flat = np.full((40, 40), 9, np.uint8)
    assert perceptual_hash(flat) == perceptual_hash(np.zeros((4, 4), np.uint8)) == 0
    assert likeness(flat, picture(0)) == 0.0
    assert near_pairs([0, 0, 1, 0]).tolist() == []


def naive(hashes, radius):
    return [
        [i, j, d]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if hashes[i] and hashes[j] and (d := bin(hashes[i] ^ hashes[j]).count("1")) <= radius
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=0, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 63), max_size=8)), max_size=20),
    st.integers(0, 9),
)
def test_every_pair_is_found(seeds, flips, radius):
    hashes = list(seeds)
    for which, bits in flips:  # neighbours of what is there, at all distances
        if seeds:
            hashes.append(seeds[which % len(seeds)] ^ sum({1 << bit for bit in bits}))
    assert near_pairs(hashes, radius).tolist() == naive(hashes, radius)


def test_large_groups_block_by_block_and_without_running_away(monkeypatch):
    monkeypatch.setattr(similar, "BLOCK", 64)
    rng = np.random.default_rng(0)
    hashes = [int(h) for h in rng.integers(1, 2**10, 300)]  # 10 bits: every band meets large groups
    assert near_pairs(hashes, 1).tolist() == naive(hashes, 1)
    same = near_pairs([7] * 150, 3)
    assert same.tolist() == [[0, j, 0] for j in range(1, 150)]


@pytest.mark.slow
def test_two_hundred_thousand_hashes_in_a_minute():
    import time

    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**63, 200_000, dtype=np.uint64)
    hashes[::1000] = hashes[1::1000] ^ np.uint64(5)
    begin = time.process_time()  # computing, whatever else the machine does
    assert len(near_pairs(hashes)) >= 200
    assert time.process_time() - begin < 60
