import pytest
import torch

from kontrast.nn.encoders import EncoderSpec, build_encoder
from nn import oracles

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


@torch.no_grad()
@pytest.mark.parametrize("name", DEPTHS)
@pytest.mark.parametrize(("size", "small"), [(32, True), (64, False), (70, False)])
def test_equals_the_paper_written_out(name, size, small):
    encoder = oracles.stir(build_encoder(EncoderSpec(name, size), seed=0))
    x = torch.randn(2, 1, size, size)
    expected = oracles.resnet(encoder.state_dict(), x, DEPTHS[name], bottleneck=name == "resnet50", small=small)
    torch.testing.assert_close(encoder(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("name", DEPTHS)
def test_equals_monai_with_the_same_weights(name):
    nets = pytest.importorskip("monai.networks.nets")
    encoder = oracles.stir(build_encoder(EncoderSpec(name, 96), seed=0))
    other = getattr(nets, name)(spatial_dims=2, n_input_channels=1, conv1_t_stride=2, bias_downsample=False)
    other.fc = torch.nn.Identity()
    other.load_state_dict(encoder.state_dict())
    x = torch.randn(2, 1, 96, 96)
    assert torch.equal(encoder(x), other.eval()(x))


def test_convolutions_start_by_fan_out():
    weight = build_encoder(EncoderSpec("resnet50", 64), seed=0).layer3[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


def test_no_residual_branch_starts_at_zero():
    encoder = build_encoder(EncoderSpec("resnet18", 64), seed=0)
    assert all(block.bn2.weight.eq(1).all() for layer in (encoder.layer1, encoder.layer4) for block in layer)
