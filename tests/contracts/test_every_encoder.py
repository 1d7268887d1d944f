"""What holds for every encoder that has a name."""

import copy
import re

import pytest
import torch

from kontrast.artifacts.safe import open_weights, write_weights
from kontrast.nn.encoders import ENCODERS, EncoderSpec, build_encoder

SIZES = (64, 96)  # the other tests run at 32
BN = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
RESNET = rf"conv1\.weight|bn1\.{BN}|layer[1-4]\.\d\.(conv[1-3]\.weight|bn[1-3]\.{BN}|downsample\.(0\.weight|1\.{BN}))"
DENSENET = (
    rf"features\.(conv0\.weight|norm[05]\.{BN}|transition[1-3]\.(norm\.{BN}|conv\.weight)"
    rf"|denseblock[1-4]\.denselayer\d+\.(norm[12]\.{BN}|conv[12]\.weight))"
)
VIT = (
    r"cls_token|pos_embed|(patch_embed\.proj|norm|blocks\.(\d|1[01])\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12]))"
    r"\.(weight|bias)"
)
NAMES = {"resnet": RESNET, "densenet": DENSENET, "vit": VIT}


@pytest.fixture(scope="module", params=ENCODERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def small(name):
    """The encoder for 32 px, in evaluation mode; a copy is made faster than another one."""
    return build_encoder(EncoderSpec(name, 32), seed=0).eval()


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_shapes_are_as_declared(name, size):
    encoder = build_encoder(EncoderSpec(name, size), seed=0).eval()
    x = torch.randn(2, 1, size, size)
    maps, features = encoder.feature_maps(x), encoder(x)
    assert features.shape == (2, encoder.feature_dim)
    assert maps.shape[:2] == (2, encoder.feature_dim)
    assert torch.equal(encoder.pool(maps), features)
    assert torch.isfinite(features).all() and features.std() > 0


@torch.no_grad()
def test_smaller_and_larger_images_than_specified_pass(small):
    for size in (24, 40):
        assert small(torch.randn(1, 1, size, size)).shape == (1, small.feature_dim)


def test_gradients_reach_every_parameter(small):
    encoder = copy.deepcopy(small).train()
    encoder.zero_grad()
    (encoder(torch.randn(3, 1, 32, 32)) * torch.randn(encoder.feature_dim)).sum().backward()
    lost = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert lost == []


def test_maps_have_a_gradient_for_grad_cam(small):
    maps = small.feature_maps(torch.randn(1, 1, 32, 32)).detach().requires_grad_()
    small.pool(maps).sum().backward()
    assert maps.grad is not None and (maps.grad != 0).all()


def test_names_are_the_public_ones(name, small):
    pattern = next(p for family, p in NAMES.items() if name.startswith(family))
    strange = [key for key in small.state_dict() if not re.fullmatch(pattern, key)]
    assert strange == []


@torch.no_grad()
def test_the_same_seed_and_input_give_the_same_bits(name, small):
    x = torch.randn(2, 1, 32, 32)
    again = build_encoder(EncoderSpec(name, 32), seed=0).eval()
    assert torch.equal(small(x), again(x))
    assert torch.equal(small(x), small(x))


@torch.no_grad()
def test_images_of_a_batch_do_not_mix_in_evaluation(small):
    x = torch.randn(3, 1, 32, 32)
    alone = torch.cat([small(x[i : i + 1]) for i in range(3)])
    scale = float(alone.abs().max())
    torch.testing.assert_close(small(x), alone, rtol=1e-4, atol=1e-5 * scale)


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same_to_the_bit(small, tmp_path):
    write_weights(tmp_path / "w.safetensors", small.state_dict())
    other = copy.deepcopy(small)
    for value in other.state_dict().values():
        value += 1
    x = torch.randn(2, 1, 32, 32)
    assert not torch.equal(other(x), small(x))
    other.load_state_dict(open_weights(tmp_path / "w.safetensors"))
    assert torch.equal(other(x), small(x))


@torch.no_grad()
def test_memory_format_changes_nothing_but_rounding(small):
    encoder = copy.deepcopy(small)
    x = torch.randn(2, 1, 32, 32)
    plain = encoder(x)
    encoder.to(memory_format=torch.channels_last)
    close = encoder(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(close, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))
