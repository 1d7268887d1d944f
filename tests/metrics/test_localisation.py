"""Pointing game, IoU and their means against naive loops and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kontrast.metrics.localisation import (
    THRESHOLDS,
    best_threshold,
    centre_prior,
    iou,
    ious,
    mean_interval,
    pointing_game,
)


def cases(seed, n=5, height=7, width=9):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 6, (n, height, width)) / 5  # few values, so that ties happen
    masks = rng.random((n, height, width)) < 0.3
    masks[0] = False
    maps[1] = 0
    return maps, masks


@given(seed=st.integers(0, 10**6), threshold=st.sampled_from([0.2, 0.5, 0.75, 1.0]))
@settings(max_examples=40, deadline=None)
def test_naive(seed, threshold):
    maps, masks = cases(seed)
    for heat, mask, hit, overlap in zip(
        maps, masks, pointing_game(maps, masks), iou(maps, masks, threshold), strict=True
    ):
        if not mask.any():
            assert np.isnan(hit) and np.isnan(overlap)
            continue
        highest, both, either = [], 0, 0
        for i in range(heat.shape[0]):
            for j in range(heat.shape[1]):
                if heat[i, j] == heat.max():
                    highest.append(mask[i, j])
                marked = heat[i, j] >= threshold * heat.max() - 1e-12 and heat[i, j] > 0
                both += marked and mask[i, j]
                either += marked or mask[i, j]
        assert hit == pytest.approx(np.mean(highest))
        assert overlap == pytest.approx(both / either)


def test_by_hand():
    heat = np.zeros((3, 4, 4))
    heat[:, 1, 2] = 1
    heat[:, 1, 1] = 0.6
    masks = np.zeros((3, 4, 4), bool)
    masks[0, 1, 1:3] = True  # exactly the region
    masks[1, 1, 1] = True  # half of it, not the maximum
    masks[2, 3, 3] = True  # elsewhere
    np.testing.assert_array_equal(pointing_game(heat, masks), [1, 0, 0])
    np.testing.assert_array_equal(iou(heat, masks), [1, 0.5, 0])
    np.testing.assert_array_equal(iou(heat, masks, threshold=0.9), [0.5, 0, 0])


def test_the_best_threshold_is_the_one_that_a_loop_finds():
    rng = np.random.default_rng(3)
    masks = rng.random((6, 7, 9)) < 0.3
    maps = rng.random((6, 7, 9)) + 0.6 * masks
    masks[2] = False  # not known: says nothing
    table = ious(maps, masks)
    known = [(heat >= t * heat.max(), mask) for t in THRESHOLDS for heat, mask in zip(maps, masks, strict=True)]
    each = [(region & mask).sum() / (region | mask).sum() if mask.any() else np.nan for region, mask in known]
    by_hand = np.nanmean(np.reshape(each, (len(THRESHOLDS), 6)), axis=1)
    assert best_threshold(table) == THRESHOLDS[int(np.argmax(by_hand))] not in (THRESHOLDS[0], THRESHOLDS[-1])
    np.testing.assert_allclose(np.nanmean(table, axis=0), by_hand)
    assert best_threshold(table[2:3]) is None
    assert best_threshold([[0.2, 0.2]], (0.3, 0.4)) == 0.3  # of equals the lowest


def test_a_map_of_nothing_points_at_random_and_marks_nothing():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, :2] = True
    assert pointing_game(np.zeros((1, 10, 10)), mask) == pytest.approx(0.2)
    assert iou(np.zeros((1, 10, 10)), mask) == 0


def test_scale_does_not_matter():
    maps, masks = cases(1)
    np.testing.assert_array_equal(pointing_game(maps * 1e-5, masks), pointing_game(maps, masks))
    np.testing.assert_allclose(iou(maps * 8, masks), iou(maps, masks))


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 4), (2, 5, 4)])
def test_shapes_must_agree(shape):
    with pytest.raises(ValueError, match="one shape"):
        iou(np.zeros((2, 4, 5)), np.zeros(shape))


@pytest.mark.parametrize("side", [31, 32])
def test_the_centre_prior_knows_only_the_centre(side):
    prior = centre_prior(side, side)
    assert prior.min() == 0 and np.unravel_index(prior.argmax(), prior.shape)[0] in (15, 16)
    np.testing.assert_allclose(prior, prior[::-1]), np.testing.assert_allclose(prior, prior.T)
    assert (prior >= 0.5 * prior.max()).mean() == pytest.approx(np.pi / 16, abs=0.02)
    mask = np.zeros((1, side, side), bool)
    mask[0, side // 2 - 1 : side // 2 + 2, side // 2 - 1 : side // 2 + 2] = True
    assert pointing_game(prior[None], mask) == 1


def test_mean_and_interval_by_patient():
    rng = np.random.default_rng(0)
    values = rng.random(400)
    found = mean_interval(values, np.arange(400), replicates=2000)
    half = 1.96 * values.std() / 20
    assert found["value"] == pytest.approx(values.mean())
    assert (found["low"], found["high"]) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 8)
    # Each value four times over from the same patient says nothing new: the interval stays as wide.
    again = mean_interval(np.repeat(values, 4), np.repeat(np.arange(400), 4), replicates=2000)
    assert (again["low"], again["high"]) == pytest.approx((found["low"], found["high"]))
    rows = mean_interval(np.repeat(values, 4), replicates=2000)
    assert rows["high"] - rows["low"] == pytest.approx(half, rel=0.15)


def test_unknown_values_are_left_out():
    values, patients = np.array([0.2, np.nan, 0.8, np.nan]), np.array(["a", "a", "c", "a"])
    found = mean_interval(values, patients, seed=1)
    assert found == mean_interval(values[[0, 2]], patients[[0, 2]], seed=1) and found["value"] == 0.5


def test_nothing_known_is_null_with_the_reason():
    found = mean_interval([np.nan, np.nan], reason="no mask")
    assert found == {"value": None, "low": None, "high": None, "reason": "no mask"}
    assert mean_interval([], [])["value"] is None
