import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.nn.encoders import ENCODERS, EncoderSpec, build_encoder, normalise

# Parameters without the classification layer as torchvision and timm count them for three colours, and the
# stem's weights per colour (outputs × kernel²), of which one channel has a third.
PARAMETERS = {
    "resnet18": (11_176_512, 64 * 49),
    "resnet34": (21_284_672, 64 * 49),
    "resnet50": (23_508_032, 64 * 49),
    "densenet121": (6_953_856, 64 * 49),
    "vit_small": (21_665_664, 384 * 256),
    "vit_base": (85_798_656, 768 * 256),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_has_as_many_parameters_as_published(name):
    with torch.device("meta"):
        encoder = build_encoder(EncoderSpec(name, 224))
    published, per_colour = PARAMETERS[name]
    assert sum(p.numel() for p in encoder.parameters()) == published - 2 * per_colour


@pytest.mark.parametrize(
    ("name", "size", "stem"),
    [
        ("resnet18", 32, "small"),
        ("resnet18", 48, "small"),
        ("resnet18", 49, "imagenet"),
        ("densenet121", 64, "imagenet"),
        ("vit_small", 64, "small"),
        ("vit_small", 120, "small"),
        ("vit_small", 128, "imagenet"),
    ],
)
def test_stem_follows_size(name, size, stem):
    assert EncoderSpec(name, size).stem == stem


def test_stem_can_be_set():
    assert EncoderSpec("resnet18", 32, stem="imagenet").stem == "imagenet"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"name": "resnet19"}, "resnet18"),
        ({"name": "vit_small", "size": 100}, "multiple of 8"),
        ({"name": "vit_small", "size": 130}, "--size 128"),
        ({"name": "resnet18", "size": 8}, "at least 16"),
        ({"name": "resnet18", "stem": "tiny"}, "stem"),
        ({"name": "resnet18", "std": 0.0}, "above 0"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(bad, says):
    with pytest.raises(UsageError) as error:
        EncoderSpec(**bad)
    assert says in str(error.value)


def test_seed_decides_the_weights_and_leaves_the_global_state_alone():
    spec = EncoderSpec("resnet18", 32)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, again, other = (build_encoder(spec, seed=s).conv1.weight for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_normalise_whole_numbers(dtype):
    top = np.iinfo(dtype).max
    images = torch.from_numpy(np.array([[[[0, top, top // 2]]]], dtype=dtype))
    got = normalise(images, EncoderSpec("resnet18", 32, mean=0.4, std=0.2))
    np.testing.assert_allclose(got.flatten(), [-2.0, 3.0, ((top // 2) / top - 0.4) / 0.2], rtol=1e-6)
    assert got.dtype == torch.float32


def test_normalise_takes_fractions_as_they_are():
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(normalise(x, EncoderSpec("resnet18", 32, mean=0.1, std=2.0)), (x - 0.1) / 2.0)
