import hashlib

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from kontrast.errors import UsageError
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.nn.weights import find_imagenet, fitting_stem, load_weights, resample_patches


def public(name, size=64, **extra):
    """A state dict as torchvision or timm publishes it: three colours and a classification layer."""
    encoder = build_encoder(EncoderSpec(name, size, stem="imagenet"), seed=5)
    state = {k: v.clone() for k, v in encoder.state_dict().items()}
    first = next(k for k, v in state.items() if v.dim() == 4)
    state[first] = torch.randn(state[first].shape[0], 3, *state[first].shape[2:])
    return state | extra, first


@pytest.mark.parametrize(
    ("name", "head"), [("resnet18", "fc.weight"), ("densenet121", "classifier.bias"), ("vit_small", "head.weight")]
)
def test_a_grey_image_gets_the_response_of_its_three_copies(name, head):
    state, first = public(name, **{head: torch.zeros(1000)})
    spec = EncoderSpec(name, 64, stem="imagenet")
    encoder = build_encoder(spec, seed=0)
    assert load_weights(encoder, spec, state, "file") == [head]
    x = torch.randn(2, 1, 64, 64)
    own = encoder.state_dict()
    torch.testing.assert_close(
        F.conv2d(x, own[first]), F.conv2d(x.expand(-1, 3, -1, -1), state[first]), rtol=1e-4, atol=1e-4
    )
    for key, value in state.items():
        assert key in (first, head) or torch.equal(own[key], value)


def test_names_of_the_first_densenet_files():
    state, _ = public("densenet121")
    old = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for k, v in state.items()}
    assert old.keys() != state.keys()
    spec = EncoderSpec("densenet121", 64)
    encoder = build_encoder(spec, seed=0)
    load_weights(encoder, spec, old, "file")
    layer = "features.denseblock2.denselayer3.norm1.weight"
    assert torch.equal(encoder.state_dict()[layer], state[layer])


def test_files_without_batch_counters_fit():
    state, _ = public("resnet18")
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    spec = EncoderSpec("resnet18", 64)
    load_weights(build_encoder(spec), spec, state, "file")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("layer2.0.conv1.weight"), "missing: layer2.0.conv1.weight"),
        (lambda s: s.update(stray=torch.zeros(1)), "unknown: stray"),
        (lambda s: s.update({"layer4.1.bn2.bias": torch.zeros(3)}), "other shape: layer4.1.bn2.bias (3,) for (512,)"),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 4, 7, 7)}), "other shape: conv1.weight"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(change, says):
    state, _ = public("resnet18")
    change(state)
    spec = EncoderSpec("resnet18", 64)
    encoder = build_encoder(spec, seed=0)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(UsageError) as error:
        load_weights(encoder, spec, state, "some.pth")
    assert says in error.value.problem and "some.pth" in error.value.problem
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_a_long_list_is_cut():
    spec = EncoderSpec("resnet18", 64)
    with pytest.raises(UsageError, match=r"and \d+ more"):
        load_weights(build_encoder(spec), spec, {"a": torch.zeros(1)}, "file")


@torch.no_grad()
def test_a_vit_of_larger_patches_and_grid_is_resampled():
    state, _ = public("vit_small", 224)
    spec = EncoderSpec("vit_small", 64)
    assert (spec.stem, fitting_stem(state, spec)) == ("small", spec)
    encoder = build_encoder(spec, seed=0)
    load_weights(encoder, spec, state, "file")
    assert encoder.pos_embed.shape == (1, 1 + 8 * 8, 384)


def test_small_patches_get_the_response_of_their_enlargement():
    kernel, patch = torch.randn(5, 2, 16, 16), torch.randn(1, 2, 8, 8)
    large = F.interpolate(patch, size=(16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        (resample_patches(kernel, 8) * patch).sum((1, 2, 3)), (kernel * large).sum((1, 2, 3)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "first", "kernel", "stem"),
    [
        ("resnet18", "conv1.weight", 7, "imagenet"),
        ("resnet18", "conv1.weight", 3, "small"),
        ("densenet121", "features.conv0.weight", 7, "imagenet"),
        ("vit_small", "patch_embed.proj.weight", 8, "small"),
    ],
)
def test_the_stem_is_the_weights_own(name, first, kernel, stem):
    for size in (32, 224):
        assert fitting_stem({first: torch.zeros(8, 1, kernel, kernel)}, EncoderSpec(name, size)).stem == stem


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without any public weights."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("KONTRAST_WEIGHTS", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("resnet18", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
        ("resnet34", "https://download.pytorch.org/models/resnet34-b627a593.pth"),
        ("resnet50", "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"),
        ("densenet121", "https://download.pytorch.org/models/densenet121-a639ec97.pth"),
        (
            "vit_small",
            "https://huggingface.co/timm/vit_small_patch16_224.augreg_in21k_ft_in1k/resolve/main/model.safetensors",
        ),
    ],
)
def test_absent_weights_are_named_with_address_and_place(nowhere, name, address):
    with pytest.raises(UsageError) as error:
        find_imagenet(name)
    assert address in error.value.fix
    assert str(nowhere / "torch" / "hub" / "checkpoints") in error.value.fix
    assert "$KONTRAST_WEIGHTS" in error.value.fix


def test_the_named_folder_goes_before_the_cache(nowhere, monkeypatch):
    cache, named = nowhere / "torch" / "hub" / "checkpoints", nowhere / "mine"
    for folder in (cache, named):
        folder.mkdir(parents=True)
        save_file({"a": torch.zeros(1)}, folder / "resnet18-f37072fd.safetensors")
    assert find_imagenet("resnet18").parent == cache
    monkeypatch.setenv("KONTRAST_WEIGHTS", str(named))
    assert find_imagenet("resnet18").parent == named


def test_timm_weights_in_the_hugging_face_cache(nowhere):
    model = "models--timm--vit_small_patch16_224.augreg_in21k_ft_in1k"
    file = nowhere / "hf" / "hub" / model / "snapshots" / "abc" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert find_imagenet("vit_small") == file


def test_a_download_cut_short_is_seen_by_its_name(nowhere, monkeypatch):
    cache = nowhere / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes(b"half of it")
    with pytest.raises(UsageError, match="damaged"):
        find_imagenet("resnet18")
    digest = hashlib.sha256(b"half of it").hexdigest()[:8]
    monkeypatch.setitem(__import__("kontrast.nn.weights", fromlist=["x"]).TORCHVISION, "resnet18", f"resnet18-{digest}")
    (cache / "resnet18-f37072fd.pth").rename(cache / f"resnet18-{digest}.pth")
    assert find_imagenet("resnet18").name == f"resnet18-{digest}.pth"
