"""Weights files that nobody vouches for. Whatever is in them, nothing runs: the canary file is never made."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from kontrast.artifacts.safe import open_weights, write_weights
from kontrast.errors import ArtifactError

STATE = {"b.weight": torch.randn(3, 2), "a.count": torch.tensor(4)}


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("count", range(1, 40))
def test_any_length_of_header_can_be_read_back(tmp_path, count):
    """The first byte of the file is that of the header's length, and may be the byte that pickles begin with."""
    state = {f"{'n' * count}{i}": torch.zeros(1) for i in range(count)}
    write_weights(tmp_path / "w.safetensors", state)
    assert same(open_weights(tmp_path / "w.safetensors"), state)


def test_written_weights_come_back_and_bytes_repeat(tmp_path):
    write_weights(tmp_path / "a.safetensors", STATE)
    write_weights(tmp_path / "b.safetensors", dict(reversed(STATE.items())))
    assert same(open_weights(tmp_path / "a.safetensors"), STATE)
    assert same(load_file(tmp_path / "a.safetensors"), STATE)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_strided_and_shared_tensors_can_be_written(tmp_path):
    x = torch.arange(12.0).reshape(3, 4)
    write_weights(tmp_path / "w.safetensors", {"t": x.T, "last": x.to(memory_format=torch.contiguous_format)})
    assert torch.equal(open_weights(tmp_path / "w.safetensors")["t"], x.T)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("under", [None, "state_dict", "model"])
def test_torch_files_of_tensors(tmp_path, zipped, under):
    torch.save(
        {under: STATE, "epoch": 3} if under else STATE, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped
    )
    assert same(open_weights(tmp_path / "w.pth"), STATE)


def malicious(kind, touch):
    """Files that run a command when they are opened the usual way."""
    buffer = io.BytesIO()
    if kind == "pickle":
        return pickle.dumps(touch)
    if kind == "pickle of tensors and more":
        torch.save({**STATE, "more": touch}, buffer, _use_new_zipfile_serialization=False)
    elif kind == "torch zip":
        torch.save({**STATE, "more": touch}, buffer)
    elif kind == "under state_dict":
        torch.save({"state_dict": STATE, "args": touch}, buffer)
    elif kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                data = pickle.dumps(touch)
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


KINDS = ["pickle", "pickle of tensors and more", "torch zip", "under state_dict", "tar"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".pkl", ".bin", ""])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_in_place_of_weights_is_refused_and_nothing_runs(tmp_path, kind, suffix):
    canary = tmp_path / "canary"
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(malicious(kind, Touch(canary)))
    with pytest.raises(ArtifactError) as error:
        open_weights(path)
    assert error.value.fix and str(path) in error.value.problem
    assert not canary.exists()


def test_the_canary_would_sing(tmp_path):
    """The files above are dangerous indeed: the usual loader runs them."""
    path = tmp_path / "w.pth"
    path.write_bytes(malicious("torch zip", Touch(tmp_path / "canary")))
    torch.load(path, weights_only=False)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4,
        b"\xff" * 64,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 90_000_000) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{x",
        save(STATE)[:-3],
        save(STATE) + b"more",
        struct.pack("<Q", 60) + json.dumps({"a": {"dtype": "F32", "shape": [9**9], "data_offsets": [0, 4]}}).encode(),
    ],
    ids=["empty", "short", "noise", "huge", "large", "list", "no json", "cut", "grown", "lying shape"],
)
def test_damaged_safetensors(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"w\.safetensors"):
        open_weights(path)


def test_a_compressed_archive_is_refused_before_it_unpacks(tmp_path):
    torch.save({"w": torch.zeros(1000, 1000)}, tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 20_000
    with pytest.raises(ArtifactError, match="compressed"):
        open_weights(tmp_path / "bomb.pt")


@pytest.mark.parametrize("value", [[1, 2], {}, {"a": 1}, {"a": torch.eye(2).to_sparse()}, torch.zeros(3)])
def test_torch_files_of_something_else(tmp_path, value):
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(ArtifactError):
        open_weights(tmp_path / "w.pt")


def test_no_file(tmp_path):
    with pytest.raises(ArtifactError, match="there is none"):
        open_weights(tmp_path / "absent.safetensors")


def test_a_cut_torch_file(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:-200])
    with pytest.raises(ArtifactError):
        open_weights(tmp_path / "w.pt")


def test_weights_of_other_programs_load(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert same(open_weights(tmp_path / "w.safetensors"), STATE)
