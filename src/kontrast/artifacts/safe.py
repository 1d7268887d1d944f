"""Weights from files that nobody vouches for, without running what may hide in them.

A pickle is a program: opening one runs it. So weights come from safetensors files, or from PyTorch files through
the loader that builds tensors and nothing else (`weights_only=True`); what it will not build is refused, never
retried another way.
"""

import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from kontrast.artifacts.disk import atomic
from kontrast.errors import ArtifactError

MAX_HEADER = 100_000_000
"""Bytes of a safetensors header; the format's own limit. The largest public models need a few hundred kB."""

_CONVERT = (
    "Weights come as .safetensors, or as a .pth/.pt that holds tensors alone. Convert it where you trust it: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
)


def write_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically; the same tensors give the same bytes.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    with atomic(path) as stream:
        stream.write(save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}))


def open_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors in a weights file, on the CPU.

    Args:
        path: `.safetensors`, or `.pth`/`.pt` with a dictionary of tensors (alone, or under `state_dict` or `model`).

    Raises:
        ArtifactError: no such file, damaged, of another kind, or with anything in it but tensors. Nothing in the
            file has run by then.
    """
    if not path.is_file():
        raise ArtifactError(f"Expected a weights file at {path}, but there is none.", fix="Check the path.")
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in (".pth", ".pt"):
        return _open_torch(path)
    raise ArtifactError(f"{path} is no weights file that can be opened safely.", fix=_CONVERT)


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        # Checked before anything of that length is allocated: a crafted header may claim 2⁶³ bytes.
        if length > min(MAX_HEADER, size - 8):
            if start[:1] == b"\x80" or start[:2] == b"PK":
                raise ArtifactError(f"{path} holds a Python pickle in place of safetensors; refused.", fix=_CONVERT)
            raise ArtifactError(
                f"{path} is damaged, cut short or no safetensors file: its header claims {length:,} bytes.",
                fix="Copy or download the file again.",
            )
        header = stream.read(length)
    try:
        if not isinstance(json.loads(header), dict):
            raise ValueError
        return load_file(path)
    except (ValueError, safetensors.SafetensorError):
        raise ArtifactError(
            f"{path} is damaged, cut short or no safetensors file.", fix="Copy or download the file again."
        ) from None


def _open_torch(path: Path) -> dict[str, Tensor]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # PyTorch stores without compression; a compressed member could unpack to any size.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ArtifactError(f"{path} is no file that PyTorch wrote: it is compressed.", fix=_CONVERT)
    try:
        with warnings.catch_warnings():  # about files that are refused in the next moment
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ArtifactError(
            f"{path} holds Python objects, not tensors alone; refused, nothing ran.", fix=_CONVERT
        ) from None
    except Exception:  # whatever a damaged archive makes the reader raise
        raise ArtifactError(f"{path} is damaged, or no file of PyTorch's.", fix=_CONVERT) from None
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(_dense(k, v) for k, v in found.items()):
        raise ArtifactError(f"{path} holds no dictionary of named tensors.", fix=_CONVERT)
    return {name: tensor.detach() for name, tensor in found.items()}


def _dense(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
