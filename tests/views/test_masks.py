"""Which patches are hidden: as many as were asked for, where, and the same for any number of processes."""

import numpy as np
import pytest
import torch

from kontrast.views.masks import MaskSpec, draw_blocks, draw_masks

RANDOM = MaskSpec(patch=16, share=(0.75, 0.75))
BLOCKS = MaskSpec(patch=16, share=(0.1, 0.5), probability=0.5, blocks=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("share", "grid", "blocks", "single"),
    [
        (0.75, (14, 14), 147, 147), (0.75, (5, 5), 18, 19), (0.75, (7, 7), 36, 37), (0.7, (2, 5), 7, 7),
        (0.3, (10, 10), 30, 30), (0.5, (3, 3), 4, 5), (0.1, (2, 2), 1, 1), (0.9, (1, 3), 2, 2),
    ],
)  # fmt: skip
def test_every_masked_view_hides_the_same_number(share, grid, blocks, single):
    """iBOT hides int(share · N) patches, MAE keeps int((1 - share) · N)."""
    for together, hidden in ((True, blocks), (False, single)):
        masks = draw_masks(MaskSpec(patch=8, share=(share, share), blocks=together), 2, 50, grid, seeded())
        assert masks.shape == (2, 50, grid[0] * grid[1]) and masks.dtype == torch.bool
        assert masks.sum(dim=2).unique().tolist() == [hidden]


def test_random_patches_are_all_as_likely_and_independent_of_their_neighbours():
    masks = draw_masks(RANDOM, 1, 20_000, (4, 4), seeded())[0].double()
    np.testing.assert_allclose(masks.mean(0), 0.75, atol=0.015)
    expected = -1 / 15  # a fixed number without replacement: the same correlation between any two
    correlation = np.corrcoef(masks.T)
    np.testing.assert_allclose(correlation[~np.eye(16, dtype=bool)], expected, atol=0.03)


def test_half_of_the_views_are_masked_by_a_tenth_to_a_half():
    masks = draw_masks(BLOCKS, 2, 2000, (14, 14), seeded())
    share = masks.double().mean(dim=2)
    assert float((share > 0).double().mean()) == pytest.approx(0.5, abs=0.03)
    masked = share[share > 0]
    assert 19 / 196 <= float(masked.min()) <= 0.11 and 0.49 <= float(masked.max()) <= 0.5
    assert float(masked.mean()) == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(masks[0], masks[1]), "each view has masks of its own"


def test_blocks_are_rectangles_of_the_stated_shape():
    """A first rectangle of 30 to 60 patches stands in nearly every mask; single patches would have none so large."""
    hidden = draw_blocks(torch.full((300,), 60.0), (14, 14), seeded()).reshape(-1, 14, 14)
    covered = hidden.sum(dim=(1, 2))
    assert covered.max() <= 60 and covered.double().mean() > 55
    neighbours = (hidden[:, 1:] & hidden[:, :-1]).sum() / hidden[:, 1:].sum()
    scattered = draw_masks(MaskSpec(patch=1, share=(0.3, 0.3)), 1, 300, (14, 14), seeded())[0].reshape(-1, 14, 14)
    apart = (scattered[:, 1:] & scattered[:, :-1]).sum() / scattered[:, 1:].sum()
    assert neighbours > 0.75 and apart < 0.35


def test_blocks_never_cover_more_than_asked_on_any_grid():
    for grid in [(1, 1), (2, 3), (4, 4), (3, 14)]:
        for count in (0, 1, 3, grid[0] * grid[1]):
            hidden = draw_blocks(torch.full((40,), float(count)), grid, seeded(count))
            assert hidden.shape == (40, grid[0] * grid[1]) and hidden.sum(dim=1).max() <= count


@pytest.mark.parametrize("spec", [RANDOM, BLOCKS], ids=["random", "blocks"])
def test_the_generator_alone_decides_and_is_left_at_the_same_place(spec):
    one, two = seeded(3), seeded(3)
    torch.manual_seed(1)
    first = draw_masks(spec, 2, 8, (4, 4), one)
    torch.manual_seed(2)
    assert torch.equal(first, draw_masks(spec, 2, 8, (4, 4), two))
    assert torch.equal(one.get_state(), two.get_state())
    assert not torch.equal(first, draw_masks(spec, 2, 8, (4, 4), one))
