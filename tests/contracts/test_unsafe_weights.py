"""Pickles in place of weights, wherever a command takes some: refused, and never run."""

import json
import os
import pickle
import shutil

import pytest
import torch

from contracts.commands import CASES, problem, run
from kontrast.artifacts.card import sha256_file


class Sing:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch '{self.canary}'",)


def pickled(path, canary):
    path.write_bytes(pickle.dumps({"conv1.weight": Sing(canary)}))
    return path


@pytest.mark.parametrize("name", ["probe", "finetune", "embed", "pretrain"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".pkl", ".bin", ""])
def test_a_pickle_as_weights_never_runs(name, suffix, world, tmp_path):
    bad = pickled(tmp_path / f"weights{suffix}", tmp_path / "canary")
    zipped = tmp_path / f"zip{suffix}"
    torch.save({"conv1.weight": Sing(tmp_path / "canary")}, zipped)
    for weights in (bad, zipped):
        if name == "pretrain":
            words = [*world.words(name, tmp_path / "out"), "--init", weights]
        else:
            words = [*world.words(name, tmp_path / "out", encoder=weights), "--encoder", "resnet18"]
        done = run(words)
        assert done.code == 4 and weights.name in problem(done)[0]
        assert not (tmp_path / "canary").exists() and not (tmp_path / "out").exists()
    bad.unlink()
    pickle.loads(pickle.dumps(Sing(tmp_path / "canary")))
    assert (tmp_path / "canary").exists(), "the canary would not have sung"


@pytest.mark.parametrize("vouched", [False, True], ids=["unvouched", "vouched"])
@pytest.mark.parametrize("name", ["probe", "embed", "pretrain", "evaluate", "explain"])
def test_a_pickle_within_an_artifact_never_runs(name, vouched, world, tmp_path):
    word = "classifier" if "classifier" in CASES[name].inputs else "encoder"
    artifact, canary = tmp_path / word, tmp_path / "canary"
    shutil.copytree(world.paths[word], artifact)
    file = pickled(artifact / f"{word}.safetensors", canary)
    if vouched:  # whoever plants a pickle can write its checksum too
        card = json.loads((artifact / "card.json").read_text())
        card["files"][file.name] = {"sha256": sha256_file(file), "bytes": file.stat().st_size}
        (artifact / "card.json").write_text(json.dumps(card))
    words = world.words(name, tmp_path / "out", **{word: artifact})
    done = run([*words, "--init", artifact] if name == "pretrain" else words)
    said = problem(done)[0]
    assert done.code == 4 and str(file) in said and ("pickle" in said if vouched else "expected" in said)
    assert not canary.exists() and not (tmp_path / "out").exists()
