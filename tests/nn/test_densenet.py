import pytest
import torch

from kontrast.nn.encoders import EncoderSpec, build_encoder
from nn import oracles

DEPTHS = (6, 12, 24, 16)


@torch.no_grad()
@pytest.mark.parametrize(("size", "small"), [(32, True), (64, False)])
def test_equals_the_paper_written_out(size, small):
    encoder = oracles.stir(build_encoder(EncoderSpec("densenet121", size), seed=0))
    x = torch.randn(2, 1, size, size)
    expected = oracles.densenet(encoder.state_dict(), x, DEPTHS, small=small)
    torch.testing.assert_close(encoder(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@torch.no_grad()
def test_equals_monai_with_the_same_weights():
    nets = pytest.importorskip("monai.networks.nets")
    encoder = oracles.stir(build_encoder(EncoderSpec("densenet121", 96), seed=0))
    other = nets.DenseNet121(spatial_dims=2, in_channels=1, out_channels=1)
    other.class_layers.out = torch.nn.Identity()
    names = {k: k.replace(".norm", ".layers.norm").replace(".conv", ".layers.conv") for k in encoder.state_dict()}
    inside = {k: v if "denselayer" in k else k for k, v in names.items()}
    other.load_state_dict({inside[k]: v for k, v in encoder.state_dict().items()})
    x = torch.randn(2, 1, 96, 96)
    assert torch.equal(encoder(x), other.eval()(x))


def test_nothing_works_in_place():
    encoder = build_encoder(EncoderSpec("densenet121", 32))
    assert not any(m.inplace for m in encoder.modules() if isinstance(m, torch.nn.ReLU))
