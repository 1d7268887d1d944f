"""Bad input and bad luck, for every command that they can meet: a clear message, and nothing lost."""

import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import kontrast
from contracts.commands import CASES, SIZE, problem, run, tree
from helpers import make_pack
from kontrast.artifacts.card import read_card, sha256_file
from kontrast.artifacts.lock import LOCK
from kontrast.engine.checkpoint import save_checkpoint

ROOT = Path(__file__).parents[2]
OPENS_A_PACK = [name for name in CASES if "pack" in CASES[name].inputs] + ["study"]
IN_A_FOLDER = [
    "phantom", "prepare", "pretrain", "probe", "finetune", "evaluate", "score", "explain", "embed", "study", "audit",
]  # fmt: skip


def start(words, **variables):
    """The command in a process of its own, with these variables in its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "kontrast", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )  # fmt: skip


def sources(folder):
    """Three tiny PNG files in a folder, and their names."""
    import cv2

    folder.mkdir()
    names = [f"{i}.png" for i in range(12)]
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((20, 20), 20 * i, np.uint8))
    return names


# What comes in


@pytest.mark.parametrize("name", ["scan", "prepare"])
def test_a_folder_without_images(name, world, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").write_text("no image")
    before = tree(tmp_path)
    for folder in ("empty", "notes"):
        done = run(world.words(name, tmp_path / ("out" + CASES[name].suffix), src=tmp_path / folder))
        assert done.code == 3 and str(tmp_path / folder) in problem(done)[0]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["scan", "prepare"])
def test_a_table_whose_paths_do_not_exist(name, world, tmp_path):
    sources(tmp_path / "src")
    (tmp_path / "labels.csv").write_text("path,Edema\nother/a.png,1\nother/b.png,0\n")
    before = tree(tmp_path)
    words = [*world.words(name, tmp_path / ("out" + CASES[name].suffix), src=tmp_path / "src")]
    done = run([*words, "--labels", tmp_path / "labels.csv"])
    said, _ = problem(done)
    assert done.code == 3 and ("2" in said or "none" in said.lower())
    assert tree(tmp_path) == before
    gone = run([*words, "--labels", tmp_path / "gone.csv"])
    assert gone.code in (2, 3) and "gone.csv" in problem(gone)[0]


@pytest.mark.parametrize("name", ["scan", "prepare"])
def test_columns_that_are_not_there(name, world, tmp_path):
    names = sources(tmp_path / "src")
    lines = [f"{file},{i % 2},p{i}" for i, file in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,Edema,Patient_Code", *lines]))
    before = tree(tmp_path)
    words = world.words(name, tmp_path / ("out" + CASES[name].suffix), src=tmp_path / "src")
    words += ["--labels", str(tmp_path / "labels.csv"), "--column"]
    wrong = run([*words, "patient=Patient_Cod"])
    said = " ".join(problem(wrong))
    assert wrong.code in (2, 3) and "Patient_Cod" in said and "Patient_Code" in said
    role = run([*words, "pateint=Patient_Code"])
    assert role.code == 2 and "patient" in " ".join(problem(role)).replace("pateint", "")
    form = run([*words, "Patient_Code"])
    assert form.code == 2 and problem(form)
    assert tree(tmp_path) == before


def test_without_patient_ids_it_goes_on_and_says_so(world, tmp_path):
    names = sources(tmp_path / "src")
    (tmp_path / "l.csv").write_text("\n".join(["path,Edema", *(f"{n},{i % 2}" for i, n in enumerate(names))]))
    words = world.words("prepare", tmp_path / "pack", src=tmp_path / "src")
    done = run([*words, "--labels", tmp_path / "l.csv", "--val-fraction", ".3", "--test-fraction", ".3"])
    assert done.code == 0 and "patient" in done.err and "own patient" in done.err
    assert read_card(tmp_path / "pack").content["patients_known"] is False
    nameless = make_pack(tmp_path / "nameless", n=60, size=SIZE, patients_known=False)
    for name in ("probe", "evaluate", "audit"):
        out = tmp_path / name
        done = run(world.words(name, out, pack=nameless, classifier=tmp_path / "probe"))
        assert done.code == 0 and "patient" in done.err, done.err


@pytest.mark.parametrize(
    ("source", "asked", "word", "advice"),
    [
        ({"patients_known": False}, "--positives patient", "names its patients", "--column patient="),
        ({"patients_known": False}, "--positives study", "names its patients", "--positives image"),
        ({"patients_known": False}, "--same-patient-negatives mask", "names its patients", "--column patient="),
        ({"patients": 60}, "--positives patient", "no patient has two", "--positives image"),
        ({}, "--positives study", "no study has two", "--positives patient or image"),
        ({"patients": 1, "splits": (1.0, 0.0)}, "--positives patient", "one patient", "two patients"),
        ({}, "--positives patients", "patients", "patient"),
    ],
    ids=["unknown", "unknown, study", "unknown, mask", "nobody twice", "no study twice", "one patient", "misspelt"],
)
def test_pairs_of_patients_that_cannot_be(source, asked, word, advice, world, tmp_path):
    pack = make_pack(tmp_path / "pack", n=60, size=SIZE, **source)
    before = tree(tmp_path)
    done = run([*world.words("pretrain", tmp_path / "out", pack=pack), *asked.split()])
    said, fix = problem(done)
    assert done.code == 2 and word in said and advice in fix, done.err
    assert tree(tmp_path) == before
    plain = run([*world.words("pretrain", tmp_path / "out", pack=pack), "--dry-run"])
    assert plain.code == (2 if word == "one patient" else 0), plain.err


def one_class(folder, value):
    """A Pack whose only findings have one class throughout."""
    pack = make_pack(folder, n=60, size=SIZE)
    table = pd.read_csv(pack / "table.csv", dtype=str, keep_default_na=False)
    table[["Disc", "Bar"]] = value
    table.to_csv(pack / "table.csv", index=False, lineterminator="\n")
    card = json.loads((pack / "card.json").read_text())
    path = pack / "table.csv"
    card["files"]["table.csv"] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    (pack / "card.json").write_text(json.dumps(card))
    return pack


@pytest.mark.parametrize("value", ["0", "1"])
def test_findings_with_one_class_only(value, world, tmp_path):
    pack = one_class(tmp_path / "pack", value)
    for name in ("probe", "finetune"):
        done = run(world.words(name, tmp_path / "out", pack=pack))
        assert done.code == 6 and "both classes" in problem(done)[0]
        assert not (tmp_path / "out").exists()
        mended = run([*world.words(name, tmp_path / "out"), "--dry-run"])
        assert mended.code == 0
    scored = run([*world.words("evaluate", tmp_path / "scores", pack=pack), "--allow-overlap"])
    assert scored.code == 0 and "nan" not in scored.out.lower()
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    for entry in scores["findings"].values():
        assert entry["auroc"]["value"] is None and entry["auroc"]["reason"]
    assert scores["macro"]["auroc"]["value"] is None
    audited = run(world.words("audit", tmp_path / "audit", pack=pack))
    assert audited.code == 0
    explained = run(world.words("explain", tmp_path / "explain", pack=pack))
    assert explained.code == (3 if value == "0" else 0), explained.err
    page = run(["report", tmp_path / "scores", pack, "--out", tmp_path / "page.html"])
    assert page.code == 0, page.err


@pytest.mark.parametrize("harm", ["cut", "flipped"])
@pytest.mark.parametrize("name", OPENS_A_PACK)
def test_a_damaged_pack_is_refused_by_the_file_s_name(name, harm, world, tmp_path):
    pack = tmp_path / "pack"
    shutil.copytree(world.paths["pack"], pack)
    shard = pack / "images-00001.npy"
    data = bytearray(shard.read_bytes())
    data[-100] ^= 1
    shard.write_bytes(data if harm == "flipped" else data[:-100])
    if name == "study":
        study = tmp_path / "study.yaml"
        study.write_text(world.paths["study"].read_text().replace(str(world.paths["pack"]), str(pack)))
        words = world.words(name, tmp_path / "out", study=study)
    else:
        words = world.words(name, tmp_path / "out", pack=pack)
    before = tree(pack)
    done = run(words)
    said = " ".join([*problem(done), done.out])
    assert done.code == 4 and str(shard) in said and ("cut short" if harm == "cut" else "checksum") in said
    assert tree(pack) == before
    if name != "study":  # its Packs have places of their own in the folder by then
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [name for name in IN_A_FOLDER if name not in ("phantom",)])
def test_a_damaged_card_in_the_output_folder(name, world, tmp_path):
    for file, content in (("card.json", "{"), ("run.json", "")):
        out = tmp_path / file
        out.mkdir()
        (out / file).write_text(content)
        before = tree(out)
        done = run(world.words(name, out))
        assert done.code in (4, 5) and str(out) in problem(done)[0]
        assert tree(out) == before


# Weights


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


# Output folders and disks


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


LIMITS = {"prepare": 1_000, "pretrain": 100_000, "probe": 100_000, "evaluate": 700, "report": 3_000, "embed": 20_000}


@pytest.mark.parametrize("name", LIMITS)
def test_a_full_disk_is_said_and_the_same_command_ends_later(name, world, tmp_path):
    out = tmp_path / ("out" + CASES[name].suffix)
    full = full_disk(lambda: run(world.words(name, out)), LIMITS[name])
    said, fix = problem(full)
    assert full.code == 5 and "full" in said and str(tmp_path) in said and "again" in fix
    assert not list(tmp_path.rglob("*.partial")) and not (out / "card.json").exists()
    assert CASES[name].suffix == "" or not out.exists()
    again = run([*world.words(name, out), "--json"])
    assert again.code == 0 and json.loads(again.out)["status"] == "done"
    fresh = run(world.words(name, tmp_path / ("fresh" + CASES[name].suffix)))
    assert fresh.code == 0
    if not CASES[name].suffix:
        assert read_card(out).files.keys() == read_card(tmp_path / "fresh").files.keys()


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


# Interruptions


def interrupted(words, ready):
    """Start a command, send Ctrl-C when `ready()` holds, and return its exit code and what it said."""
    process = start(words)
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.parametrize("name", ["prepare", "pretrain", "finetune"])
def test_ctrl_c_says_that_it_resumes_and_it_does(name, world, tmp_path):
    out = tmp_path / "out"
    words = world.words(name, out)
    if name == "prepare":
        words += ["--denoise", "nlm", "--seed", "1"]
    else:
        words[words.index("--epochs") + 1] = "5"
    mark = out / {"prepare": "run.json"}.get(name, "metrics.jsonl")
    code, _, err = interrupted(words, mark.is_file)
    assert code == 130, err
    assert "Run the same command again: it resumes." in err and "Traceback" not in err
    assert not (out / "card.json").exists() and (out / "run.json").is_file()
    other = [*words, "--size", "32"] if name != "prepare" else [*words, "--val-fraction", ".2"]
    changed = run(other)
    assert changed.code == 5 and "was" in problem(changed)[0]
    assert name == "prepare" or list(out.glob("checkpoint-*.pt"))
    after = run(words)
    assert after.code == 0 and (out / "card.json").is_file(), after.err
    assert name == "prepare" or "Resuming after step" in after.out


def test_a_checkpoint_of_another_configuration_is_refused(world, tmp_path):
    out = tmp_path / "out"
    words = world.words("pretrain", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kontrast.engine.run.Run._one", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(words).code == 130
    before = tree(out)
    done = run([*words, "--lr", "0.123"])
    assert done.code == 5 and "lr was 'auto', is 0.123" in problem(done)[0]
    assert tree(out) == before
    save_checkpoint(out, 1, {"fingerprint": {"lr": 99.0}})
    planted = run(words)
    assert planted.code == 5 and "checkpoint of another run" in problem(planted)[0]
    for file in out.glob("checkpoint-*"):
        file.unlink()
    assert run(words).code == 0


# Where it runs


def test_a_reader_that_goes_away_ends_it_quietly(world, tmp_path):
    process = start(world.words("scan", tmp_path / "page.html"))
    assert process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGPIPE)
    assert "Traceback" not in err and "fault" not in err


@pytest.mark.parametrize("name", ["scan", "report"])
def test_another_locale_than_utf_8(name, world, tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    page = tmp_path / ("page" + CASES[name].suffix)
    process = start(world.words(name, page), **plain)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    out.encode("ascii")
    assert page.read_text(encoding="utf-8")


def test_file_names_that_are_no_utf_8(world, tmp_path):
    folder = os.fsencode(tmp_path) + b"/r\xf6ntgen"
    try:
        Path(os.fsdecode(folder)).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    command = [sys.executable, "-m", "kontrast", *world.words("score", Path(os.fsdecode(folder)) / "out")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(folder + b"/out")


def test_a_home_without_a_key_that_cannot_be_written(world, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file where the home should be: no user can write below it")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KONTRAST_KEY")
    done = run(world.words("prepare", tmp_path / "pack"))
    said, fix = problem(done)
    assert done.code == 5 and "patient key" in said and "--key" in fix
    assert not (tmp_path / "pack").exists()
    (tmp_path / "key").write_text("ab" * 32)
    assert run([*world.words("prepare", tmp_path / "pack"), "--key", tmp_path / "key"]).code == 0
    for name in ("scan", "probe", "doctor"):  # these need no key
        assert run(world.words(name, tmp_path / (name + CASES[name].suffix))).code == 0
