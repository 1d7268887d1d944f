"""Probe and finetune open every input first, say it, and leave the folder free when one does not fit."""

import pytest

import kontrast
from helpers import make_pack
from kontrast.errors import ArtifactError, UsageError


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("starting") / "pack", n=60, size=16)


@pytest.mark.parametrize("verb", ["probe", "finetune"])
@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("encoder", "error", "says"),
    [
        ("gone", ArtifactError, "Expected an encoder at gone"),
        ("random", UsageError, "says nothing about the architecture"),
        ("PACK", ArtifactError, "it is a pack"),
        ("resnet18", ArtifactError, "`random` with --encoder resnet18"),
    ],
)
def test_an_encoder_that_does_not_fit_is_found_before_anything_is_said_of_training(
    verb, dry_run, encoder, error, says, pack, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        getattr(kontrast, verb)(pack if encoder == "PACK" else encoder, pack, out=tmp_path / "c", dry_run=dry_run)
    assert "Training on" not in capsys.readouterr().out and not (tmp_path / "c").exists()


@pytest.mark.parametrize("verb", ["probe", "finetune"])
def test_a_dry_run_opens_all_and_writes_nothing(verb, pack, tmp_path, capsys):
    made = getattr(kontrast, verb)("random", pack, out=tmp_path / "c", encoder="resnet18", dry_run=True)
    assert made.status == "planned" and (made.summary["encoder"], made.summary["size"]) == ("resnet18", 16)
    assert "Training on" in capsys.readouterr().out and not (tmp_path / "c").exists()
    with pytest.raises(UsageError, match="device"):
        getattr(kontrast, verb)("random", pack, out=tmp_path / "c", encoder="resnet18", device="gpu", dry_run=True)
