"""Bad input, for every command that it can meet: a clear message, and nothing written."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from contracts.commands import CASES, IN_A_FOLDER, SIZE, problem, run, tree
from helpers import make_pack
from kontrast.artifacts.card import read_card, sha256_file

OPENS_A_PACK = [name for name in CASES if "pack" in CASES[name].inputs] + ["study"]


def sources(folder):
    """Three tiny PNG files in a folder, and their names."""
    import cv2

    folder.mkdir()
    names = [f"{i}.png" for i in range(12)]
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((20, 20), 20 * i, np.uint8))
    return names


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


@pytest.mark.parametrize("name", ["pretrain", "probe", "finetune", "evaluate", "explain", "embed", "audit"])
@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_a_device_that_is_not_there_leaves_the_folder_free(name, device, world, tmp_path):
    words = [*world.words(name, tmp_path / "out"), "--device", device]
    words += ["--classifier", str(world.paths["classifier"])] if name == "audit" else []
    done = run(words)
    assert done.code == 2 and device in problem(done)[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["pretrain", "audit"])
def test_a_pack_that_is_named_twice(name, world, tmp_path):
    done = run([*world.words(name, tmp_path / "out"), world.paths["pack"] / "."])
    assert done.code == 2 and "named twice" in problem(done)[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prepare", "DIR", "--ouut", "p", "--size", "64"], "prepare has no option --ouut. Did you mean --out?"),
        (["prepare", "DIR", "--out", "p", "--siez=64"], "prepare has no option --siez. Did you mean --size?"),
        (["evaluate", "c", "p", "--ouut=e"], "evaluate has no option --ouut. Did you mean --out?"),
        (["doctor", "--jsn"], "doctor has no option --jsn. Did you mean --json?"),
        (["doctor", "--debgu"], "doctor has no option --debgu. Did you mean --debug?"),
        (["doctor", "--zzzzzz"], "doctor has no option --zzzzzz."),
        (["prepare", "DIR", "--out"], "--out stands without a value."),
        (["prepare", "DIR", "--size", "64"], "prepare was not told where to write: --out is missing."),
    ],
)
def test_a_misspelt_option_is_named_with_its_nearest_neighbour(words, says):
    done = run(words)
    assert done.code == 2 and problem(done)[0] == says


def test_raw_images_in_place_of_a_pack(tmp_path):
    sources(tmp_path / "src")
    done = run(["pretrain", tmp_path / "src", "--out", tmp_path / "e"])
    assert done.code == 4 and f"kontrast prepare {tmp_path / 'src'} --out PACK" in problem(done)[1]


@pytest.mark.parametrize(
    ("option", "value", "guess"), [("method", "mocco", "moco"), ("encoder", "resnet19", "resnet18")]
)
def test_words_are_checked_before_a_pack_is_opened(option, value, guess, tmp_path):
    done = run(["pretrain", tmp_path / "gone", "--out", tmp_path / "e", f"--{option}", value])
    said, fix = problem(done)
    assert done.code == 2 and said == f"--{option} {value!r} is not known." and f"Did you mean {guess!r}?" in fix
    assert not done.out


@pytest.mark.parametrize("name", ["probe", "embed"])
def test_an_encoder_that_is_not_there_is_said_with_the_command_that_makes_one(name, world, tmp_path):
    said, fix = problem(run(world.words(name, tmp_path / "out", encoder=tmp_path / "encoderx")))
    assert "there is no such folder or file" in said and "kontrast pretrain PACK --out ENCODER" in fix
