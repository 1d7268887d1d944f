"""Public weights into one-channel encoders: where their files are, and how their tensors fit.

Files are found, never downloaded: the machines that hold patients' images have no internet. The first layer is
summed over its three colours, so a grey image gives the response that the same image, repeated in all three, would
give in the public network. (A mean would give a third of it, and the batch norm that follows expects the whole.)
Public networks subtract ImageNet's mean and divide by its deviation, colour by colour; here the encoder's own
`mean` and `std` do that, which brings X-rays to the range that those networks expect better than ImageNet's would.
"""

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kontrast.errors import UsageError
from kontrast.nn.backbone import Encoder
from kontrast.nn.encoders import EncoderSpec
from kontrast.nn.vit import resize_positions

TORCHVISION = {
    "resnet18": "resnet18-f37072fd",
    "resnet34": "resnet34-b627a593",
    "resnet50": "resnet50-11ad3fa6",
    "densenet121": "densenet121-a639ec97",
}
TIMM = {
    "vit_small": "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "vit_base": "vit_base_patch16_224.augreg2_in21k_ft_in1k",
}
HEADS = ("fc.", "classifier.", "head.")
"""Where torchvision and timm keep the classification layer, which an encoder leaves out."""


def imagenet_source(name: str) -> tuple[str, str]:
    """The file name and the address of an encoder's ImageNet weights.

    Source: torchvision's and timm's model pages; the eight digits in torchvision's names begin the file's SHA-256.
    """
    if name in TORCHVISION:
        file = f"{TORCHVISION[name]}.pth"
        return file, f"https://download.pytorch.org/models/{file}"
    return f"{TIMM[name]}.safetensors", f"https://huggingface.co/timm/{TIMM[name]}/resolve/main/model.safetensors"


def find_imagenet(name: str) -> Path:
    """The ImageNet weights of an encoder on this machine.

    Looks in the folder $KONTRAST_WEIGHTS, then in the caches of torch hub and of Hugging Face. A `.safetensors`
    file of the same name goes before a `.pth`.

    Raises:
        UsageError: none is there (the message says which file to fetch and where to put it), or it is damaged.
    """
    file, address = imagenet_source(name)
    stem = file.rsplit(".", 1)[0]
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    named = os.environ.get("KONTRAST_WEIGHTS")
    folders = [Path(named).expanduser(), hub] if named else [hub]
    places = [folder / f"{stem}{suffix}" for folder in folders for suffix in (".safetensors", ".pth")]
    if name in TIMM:
        cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
        places += sorted(cache.glob(f"models--timm--{stem}/snapshots/*/model.safetensors"))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UsageError(
            f"The ImageNet weights of {name} are not on this machine, and kontrast downloads nothing by itself.",
            fix=f"Fetch {address} where there is internet, and put it here as {folders[0] / file}"
            + ("" if named else ", or in a folder that $KONTRAST_WEIGHTS names")
            + ".",
        )
    _check_name(found, address)
    return found


def _check_name(path: Path, address: str) -> None:
    promised = re.fullmatch(r".*-([0-9a-f]{8})\.pth", path.name)
    if promised is None:
        return
    with path.open("rb") as stream:
        if not hashlib.file_digest(stream, "sha256").hexdigest().startswith(promised[1]):
            raise UsageError(
                f"{path} is damaged: its SHA-256 does not begin with {promised[1]}.", fix=f"Fetch {address} again."
            )


def fitting_stem(state: dict[str, Tensor], spec: EncoderSpec) -> EncoderSpec:
    """The spec with the stem that these weights have, by the size of their first kernel.

    A ViT's larger patches can be resampled to smaller ones, so only patches of 8 decide.
    """
    names = ("patch_embed.proj.weight",) if spec.is_vit else ("conv1.weight", "features.conv0.weight")
    first = next((state[name] for name in names if name in state), None)
    if first is None or (spec.is_vit and first.shape[-1] > 8):
        return spec
    return replace(spec, stem="small" if first.shape[-1] == (8 if spec.is_vit else 3) else "imagenet")


def load_weights(encoder: Encoder, spec: EncoderSpec, state: dict[str, Tensor], where: str) -> list[str]:
    """Put public or own weights into an encoder; every one of its tensors is set, or nothing is.

    Args:
        encoder: what `build_encoder(spec)` built; changed in place.
        spec: of the encoder.
        state: tensors by name, with one colour or three in the first layer.
        where: the tensors' file, for messages.

    Returns:
        The names in `state` that were left out: the classification layer.

    Raises:
        UsageError: names or shapes that do not match, listed.
    """
    own = encoder.state_dict()
    # torchvision's first DenseNet files say denselayer1.norm.1 where the module has norm1.
    state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", k): v for k, v in state.items()}
    left_out = [name for name in state if name.startswith(HEADS)]
    state = {name: value for name, value in state.items() if name not in left_out}
    if spec.is_vit:
        _fit_vit(state, own)
    for name, value in state.items():
        if name in own and value.dim() == 4 and own[name].shape[1] == 1 and value.shape[1] == 3:
            state[name] = value.float().sum(dim=1, keepdim=True)
    # Batch counters came with PyTorch 0.4.1; older files have none, and they do not enter evaluation.
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unknown = [n for n in state if n not in own]
    shapes = [
        f"{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    problems = [
        f"{what}: {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        for what, names in (("missing", missing), ("unknown", unknown), ("other shape", shapes))
        if names
    ]
    if problems:
        raise UsageError(
            f"{where} does not fit {spec.name} at {spec.size} px ({spec.stem} stem). {'; '.join(problems)}.",
            fix=f"Give weights of a {spec.name} with torchvision's or timm's names, or the --encoder that they are of.",
        )
    encoder.load_state_dict(state, strict=False)
    return left_out


def _fit_vit(state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Resample positions to the encoder's grid and patches to its patch size, in place."""
    positions, kernel = state.get("pos_embed"), state.get("patch_embed.proj.weight")
    if positions is not None and positions.dim() == 3 and positions.shape[1] != own["pos_embed"].shape[1]:
        grid = round((own["pos_embed"].shape[1] - 1) ** 0.5)
        state["pos_embed"] = resize_positions(positions, grid, grid)
    size = own["patch_embed.proj.weight"].shape[-1]
    if kernel is not None and kernel.dim() == 4 and kernel.shape[-1] > size:
        state["patch_embed.proj.weight"] = resample_patches(kernel, size)


def resample_patches(kernel: Tensor, size: int) -> Tensor:
    """A patch projection for smaller patches, (D, C, p, p) → (D, C, size, size).

    A small patch x gets the response that it would get enlarged to p × p: w·(U x) = (Uᵀ w)·x, with U bilinear
    enlargement. (FlexiViT, arXiv:2212.08013, section 3.4, solves the same equation for larger patches.)
    """
    p = kernel.shape[-1]
    basis = torch.eye(size * size).reshape(size * size, 1, size, size)
    enlarge = F.interpolate(basis, size=(p, p), mode="bilinear", align_corners=False).reshape(size * size, p * p)
    return (kernel.float().reshape(-1, p * p) @ enlarge.T).reshape(*kernel.shape[:2], size, size)
