import pytest
import torch

from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.nn.vit import resize_positions
from nn import oracles


@torch.no_grad()
@pytest.mark.parametrize(("name", "heads"), [("vit_small", 6), ("vit_base", 12)])
@pytest.mark.parametrize(("size", "patch"), [(32, 8), (128, 16)])
def test_equals_the_paper_written_out(name, heads, size, patch):
    encoder = oracles.stir(build_encoder(EncoderSpec(name, size), seed=0))
    x = torch.randn(2, 1, size, size)
    expected = oracles.vit(encoder.state_dict(), x, heads=heads, patch=patch)
    torch.testing.assert_close(encoder(x), expected, rtol=1e-4, atol=1e-4)


def test_maps_lie_where_the_patches_lie():
    """A change in one patch changes that place of the map the most, in a network that has learnt nothing yet."""
    encoder = build_encoder(EncoderSpec("vit_small", 64), seed=0).eval()
    x = torch.zeros(1, 1, 64, 64)
    y = x.clone()
    y[..., 16:24, 40:48] = 1
    with torch.no_grad():
        change = (encoder.feature_maps(y) - encoder.feature_maps(x)).abs().sum(1)[0]
    assert change.shape == (8, 8)
    assert divmod(int(change.argmax()), 8) == (2, 5)


def test_other_sizes_are_allowed_and_leftovers_dropped():
    encoder = build_encoder(EncoderSpec("vit_small", 64), seed=0).eval()
    x = torch.randn(1, 1, 43, 50)
    with torch.no_grad():
        assert encoder.feature_maps(x).shape == (1, 384, 5, 6)
        torch.testing.assert_close(encoder(x), encoder(x[..., :40, :48]))


def test_positions_stay_on_their_own_grid_and_follow_a_ramp_on_another():
    grid = 8
    ramp = torch.linspace(0.5, grid - 0.5, grid) / grid
    places = ramp.reshape(1, 1, grid, 1).expand(1, grid, grid, 3).reshape(1, -1, 3)
    positions = torch.cat([torch.full((1, 1, 3), 9.0), places], 1)
    assert resize_positions(positions, 8, 8) is positions
    got = resize_positions(positions, 16, 4)
    assert got.shape == (1, 1 + 64, 3)
    assert got[0, 0].eq(9).all()
    wanted = (torch.arange(4) + 0.5) / 4
    torch.testing.assert_close(got[0, 1:, 0].reshape(16, 4)[3], wanted, atol=0.02, rtol=0)


def test_positions_on_a_coarser_grid_are_averaged():
    places = (torch.arange(12 * 12) // 12 + torch.arange(12 * 12)).remainder(2).float().reshape(1, -1, 1)
    got = resize_positions(torch.cat([torch.zeros(1, 1, 1), places], 1), 4, 4)
    assert (got[0, 1:] - 0.5).abs().max() < 0.15


def test_only_the_patches_kept_are_looked_at_each_at_its_own_place():
    """Against the paper written out: a network whose other patches and their positions were cut away."""
    encoder = oracles.stir(build_encoder(EncoderSpec("vit_small", 32), seed=0)).double()
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    patches, positions = encoder.embed(x)
    assert patches.shape == (2, 16, 384) and positions.shape == (1, 17, 384)
    kept = torch.tensor([[3, 0, 7, 12], [15, 1, 2, 8]])
    with torch.no_grad():
        tokens = encoder.encode(patches, positions, kept)
        for i, own in enumerate(kept):
            state = encoder.state_dict()
            state["pos_embed"] = state["pos_embed"][:, torch.cat([torch.zeros(1, dtype=torch.int64), 1 + own])]
            tiles = torch.nn.functional.unfold(x[i : i + 1], 8, stride=8)[0, :, own]  # (64, 4)
            strip = tiles.T.reshape(4, 8, 8).permute(1, 0, 2).reshape(1, 1, 8, 32)  # side by side
            expected = oracles.vit(state, strip, heads=6, patch=8)[0]
            torch.testing.assert_close(tokens[i, 1:].mean(0), expected, rtol=1e-9, atol=1e-9)
        other = x.clone()
        other[0, :, 8:16, 8:16] = 9.0  # patch 5, which the first image does not show
        assert torch.equal(encoder.encode(*encoder.embed(other), kept), tokens)
        everything = encoder.encode(patches, positions)
        torch.testing.assert_close(everything[:, 1:].mean(1), encoder(x), rtol=1e-12, atol=1e-12)


def test_positions_keep_double_precision_on_another_grid():
    positions = torch.randn(1, 17, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: resize_positions(p, 3, 3), (positions,))
