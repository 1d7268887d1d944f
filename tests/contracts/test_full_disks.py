"""Output folders in use, and places that cannot be written or are full: said, nothing lost, and the work goes on."""

import json
import resource
import shutil
import subprocess
import sys

import pytest

import kontrast
from contracts.commands import CASES, IN_A_FOLDER, problem, run, tree
from kontrast.artifacts.card import read_card
from kontrast.artifacts.lock import LOCK


@pytest.mark.parametrize("name", IN_A_FOLDER)
def test_a_folder_in_use_is_refused(name, world, tmp_path):
    out = tmp_path / "out"
    held = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX)\n"
         "print('held', flush=True); sys.stdin.read()", str(tmp_path / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert held.stdout.readline() == "held\n"
        out.mkdir()
        (tmp_path / "lock").rename(out / LOCK)
        (out / "run.json").write_text(json.dumps(claimed(world, name, tmp_path)))
        before = {k: v for k, v in tree(out).items() if k != str(out)}
        done = run(world.words(name, out))
        assert done.code == 5 and "in use" in problem(done)[0], done.err
        assert {k: v for k, v in tree(out).items() if k != str(out)} == before
    finally:
        held.communicate()
    after = run(world.words(name, out))
    assert after.code == 0 and (out / "card.json").is_file(), after.err


def claimed(world, name, tmp_path):
    """What `run.json` holds of a command: as a run that is refused a disk leaves it."""
    from unittest.mock import patch

    from kontrast.artifacts import lock

    other = tmp_path / "other"
    with patch.object(lock.fcntl, "flock", side_effect=OSError(11, "held")):
        assert run(world.words(name, other)).code == 5
    return json.loads((other / "run.json").read_text())


LIMITS = {
    "phantom": 800, "prepare": 1_000, "pretrain": 100_000, "probe": 100_000, "finetune": 100_000, "evaluate": 700,
    "score": 700, "explain": 3_000, "embed": 20_000, "study": 100_000, "audit": 3_000, "report": 3_000,
}  # fmt: skip
"""Bytes: enough for the claim of each command, too few for what it makes."""


@pytest.mark.parametrize("name", LIMITS)
def test_a_full_disk_is_said_and_the_same_command_ends_later(name, world, ran, tmp_path):
    out = tmp_path / ("out" + CASES[name].suffix)
    full = full_disk(lambda: run(world.words(name, out)), LIMITS[name])
    said, fix = problem(full)
    assert full.code == 5 and "full" in said and str(tmp_path) in said and "again" in fix
    assert not list(tmp_path.rglob("*.partial")) and not (out / "card.json").exists()
    assert CASES[name].suffix == "" or not out.exists()
    again = run([*world.words(name, out), "--json"])
    assert again.code == 0 and json.loads(again.out)["status"] == "done"
    undisturbed, fresh = ran(name)
    assert fresh.code == 0
    if not CASES[name].suffix:
        assert read_card(out).files.keys() == read_card(undisturbed).files.keys()


def full_disk(work, limit):
    """Run `work` while no file can grow beyond `limit` bytes, which the system refuses as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        return work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_what_was_there(world, tmp_path):
    kontrast.embed(world.paths["encoder"], world.paths["pack"], out=tmp_path / "done")
    before = tree(tmp_path, world.root)
    for name in ("prepare", "pretrain", "probe", "evaluate"):
        full = full_disk(lambda name=name: run(world.words(name, tmp_path / "a" / name)), 10)
        assert full.code == 5 and "full" in problem(full)[0]
        shutil.rmtree(tmp_path / "a")
    assert tree(tmp_path / "done", world.root) == {k: v for k, v in before.items() if k != str(tmp_path)}


@pytest.mark.parametrize("name", IN_A_FOLDER)
def test_a_place_that_cannot_be(name, world, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = run(world.words(name, tmp_path / "file" / "out"))
    assert done.code == 5 and "file" in problem(done)[0]
    assert (tmp_path / "file").read_text() == "mine"
