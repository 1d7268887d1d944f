"""`prepare` on small sources; the layouts themselves are tested beside them, in tests/data."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import kontrast
from kontrast.artifacts import pack_writer
from kontrast.artifacts.pack import Pack, damages
from kontrast.data.identity import load_key
from kontrast.errors import DataError, LeakageError, UsageError
from kontrast.types import FINDINGS
from stages.sources import PATIENT, STUDY, files, make_source

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.usefixtures("key", "small_shards")


def test_a_source_becomes_a_pack(src, tmp_path, capsys):
    outcome = kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    said = capsys.readouterr().out
    pack = Pack.open(outcome)
    assert len(pack) == 30 and pack.size == 32 and pack.findings == ("Edema", "Pneumonia") and pack.patients_known
    assert list(pack.table["source"]) == sorted(pack.table["source"])
    given = pd.read_csv(src / "labels.csv").set_index("path").loc[pack.table["source"]]
    np.testing.assert_array_equal(pack.labels(pack.rows()), given[["Edema", "Pneumonia"]].to_numpy())
    np.testing.assert_array_equal(pack.table["age"], given["age"])
    assert list(pack.table["sex"]) == list(given["sex"]) and list(pack.table["view"]) == list(given["view"])
    ids = load_key()
    assert list(pack.table["patient_id"]) == [ids.hash(p) for p in given["patient_id"]]
    assert list(pack.table["image_id"]) == [ids.hash(s) for s in pack.table["source"]]
    study = given["patient_id"] + "/" + given["study"]
    assert list(pack.table["study_id"]) == [ids.hash(s) for s in study]
    assert pack.card.content["key_id"] == ids.id
    for name in ("train", "val", "test"):
        assert name in said and outcome.summary["splits"][name]["images"] == len(pack.rows(name))
    assert outcome.summary["findings"]["Pneumonia"] == {"1": 8, "0": 8, "-1": 7, "blank": 7}
    assert all(len(line) <= 80 for line in said.splitlines() if "─" in line or "Pneumonia" in line)
    assert len(list(outcome.out.glob("images-*.npy"))) == 5
    assert damages(outcome.out) == []
    json.loads(outcome.to_json())


def test_pixels_are_the_files_pixels(tmp_path):
    src = make_source(tmp_path / "src", size=(32, 30))
    pack = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1))
    for i in (0, 17, 29):
        original = cv2.imread(str(src / pack.table["source"][i]), cv2.IMREAD_UNCHANGED)
        left = (32 - original.shape[1]) // 2
        square = pack.images([i])[0]
        np.testing.assert_array_equal(square[:, left : left + original.shape[1]], original)
        assert (square > 0).sum() == original.size
        assert (pack.table["height"][i], pack.table["width"][i]) == original.shape
    train = [cv2.imread(str(src / pack.table["source"][i]), cv2.IMREAD_UNCHANGED).ravel() for i in pack.rows("train")]
    values = np.concatenate(train) / 255
    assert pack.mean == pytest.approx(values.mean()) and pack.std == pytest.approx(values.std())


def test_size_auto_follows_the_data_and_says_so(src, tmp_path, capsys):
    outcome = kontrast.prepare(src, out=tmp_path / "p", workers=1)
    assert outcome.summary["size"] == 32 and "--size = 32  (longer sides are about 49 px" in capsys.readouterr().out
    assert Pack.open(outcome).card.config["size"] == "auto" and Pack.open(outcome).card.content["size"] == 32


def test_the_pack_shows_what_was_done(src, tmp_path):
    outcome = kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    assert "preview.png" in Pack.open(outcome).card.files
    picture = cv2.imread(str(tmp_path / "p" / "preview.png"), cv2.IMREAD_UNCHANGED)
    assert picture.ndim == 2 and picture.shape[1] > 2 * picture.shape[0] and picture.std() > 20


def test_unreadable_files_are_rejected_and_labels_stay_aligned(src, tmp_path, capsys):
    whole = Pack.open(kontrast.prepare(src, out=tmp_path / "whole", size=32, workers=1))
    (src / "a" / "image002.png").write_bytes(b"")
    (src / "b" / "image011.png").write_bytes((src / "b" / "image013.png").read_bytes()[:200])
    (src / "b" / "image029.png").write_bytes(b"GIF89a...")
    (src / "a" / "image020.png").unlink()
    outcome = kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    pack = Pack.open(outcome)
    rejects = pd.read_csv(tmp_path / "p" / "rejects.csv").set_index("file")["reason"]
    assert set(rejects.index) == {"a/image002.png", "b/image011.png", "b/image029.png", "a/image020.png"}
    assert rejects["a/image002.png"] == "empty file" and outcome.summary["rejects"] == 4
    assert "rejects.csv: 4 rows: " in capsys.readouterr().out
    left = whole.table[~whole.table["source"].isin(rejects.index)]
    pd.testing.assert_frame_equal(pack.table, left.reset_index(drop=True))
    np.testing.assert_array_equal(pack.images(pack.rows()), whole.images(left.index.to_numpy()))


def test_what_is_out_of_reach_is_said_and_listed(tmp_path, capsys):
    src = tmp_path / "src"
    src.mkdir()
    for name in ("a.png", "b.png"):
        (src / name).symlink_to("annex/objects")
    with pytest.raises(DataError, match="holds no image that can be reached; 2 entries below it cannot"):
        kontrast.prepare(src, out=tmp_path / "p")
    cv2.imwrite(str(src / "c.png"), np.eye(20, dtype=np.uint8))
    kontrast.prepare(src, out=tmp_path / "p", size=16, workers=1)
    assert "2 links out of reach, which may hold images" in capsys.readouterr().err
    rejects = pd.read_csv(tmp_path / "p/rejects.csv").to_numpy().tolist()
    assert rejects == [[name, "link to a file that is not there"] for name in ("a.png", "b.png")]


def test_a_pack_within_its_source_is_no_part_of_it(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "c.png"), np.eye(20, dtype=np.uint8))
    options = {"out": tmp_path / "p", "size": 16, "workers": 1}
    kontrast.prepare(tmp_path, **options)
    assert (tmp_path / "p/preview.png").is_file()
    assert kontrast.prepare(tmp_path, **options).status == "already done"
    assert "1 folder passed over that kontrast itself wrote" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"holds no raw images: kontrast wrote it \(pack\)"):
        kontrast.prepare(tmp_path / "p", out=tmp_path / "q")


def test_nothing_is_written_before_the_source_was_understood(src, tmp_path):
    for wrong in ({"labels": tmp_path / "none.csv"}, {"layout": "chexpret"}, {"column": "patient=Patient"}):
        with pytest.raises((DataError, UsageError)):
            kontrast.prepare(src, out=tmp_path / "p", **wrong)
        assert not (tmp_path / "p").exists()
    with pytest.raises(DataError):
        kontrast.prepare(tmp_path / "nowhere", out=tmp_path / "p")
    assert kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1).status == "done"


@pytest.mark.parametrize("dry_run", [True, False])
def test_folders_that_may_be_people_are_refused_without_their_names(tmp_path, capfd, dry_run):
    src = make_source(tmp_path / "src", labels=False)
    (src / "a").rename(src / "Anna")
    (src / "b").rename(src / "Hans")
    with pytest.raises(UsageError, match=r"2 folders with about 15 images each may be classes or people") as error:
        kontrast.prepare(src, out=tmp_path / "p", dry_run=dry_run)
    assert "--layout folder" in error.value.fix and "--layout plain" in error.value.fix
    said = capfd.readouterr()
    assert not any(name in str(error.value) + said.out + said.err for name in ("Anna", "Hans"))
    assert not (tmp_path / "p").exists()
    asked = kontrast.prepare(src, out=tmp_path / "p", layout="folder", dry_run=dry_run)
    assert list(asked.summary["findings"]) == ["Anna", "Hans"]
    assert "findings = the names of the 2 class folders: Anna, Hans" in capfd.readouterr().out


def test_free_text_in_a_table_is_refused_without_its_words(tmp_path, capfd):
    src = make_source(tmp_path / "src", 6)
    table = pd.read_csv(src / "labels.csv").drop(columns=["Edema", "Pneumonia"])
    table["diagnosis"] = ["Anna Muster: Pneumonia", "normal", "normal"] * 2
    table.to_csv(src / "labels.csv", index=False)
    with pytest.raises(UsageError, match="1 of which may be free text or people's names") as error:
        kontrast.prepare(src, out=tmp_path / "p")
    kontrast.scan(src)
    said = capfd.readouterr()
    assert "may be free text" in " ".join(said.out.split()) and not (tmp_path / "p").exists()
    assert "Muster" not in str(error.value) + said.out + said.err
    asked = kontrast.prepare(src, out=tmp_path / "p", column="classes=diagnosis", dry_run=True)
    assert asked.summary["findings"] == ["Anna Muster: Pneumonia", "normal"]


def test_dry_run_writes_nothing(src, tmp_path, capsys):
    outcome = kontrast.prepare(src, out=tmp_path / "p", dry_run=True)
    assert outcome.status == "planned" and not (tmp_path / "p").exists()
    assert outcome.summary["rows"] == 30 and sum(outcome.summary["splits"].values()) == 30
    assert outcome.summary["findings"] == ["Edema", "Pneumonia"] and outcome.summary["size"] == 32
    assert "Would pack 30 images" in capsys.readouterr().out
    done = kontrast.prepare(src, out=tmp_path / "p", workers=1)
    assert {k: v["images"] for k, v in done.summary["splits"].items()} == outcome.summary["splits"]


def test_given_splits_stay_and_leaks_are_refused_or_repaired(tmp_path):
    split = ["train"] * 20 + ["test"] * 10
    pack = Pack.open(kontrast.prepare(make_source(tmp_path / "a", split=split), out=tmp_path / "p", workers=1))
    assert [int(s[-7:-4]) >= 20 for s in pack.table["source"]] == list(pack.table["split"] == "test")
    leaky = make_source(tmp_path / "b", split=["train"] * 21 + ["test"] * 9)
    with pytest.raises(LeakageError, match="1 patient in all"):
        kontrast.prepare(leaky, out=tmp_path / "q")
    assert not (tmp_path / "q").exists()
    outcome = kontrast.prepare(leaky, out=tmp_path / "q", repair_splits=True, workers=1)
    assert outcome.summary["moved"] == 1
    assert (tmp_path / "q" / "moved.csv").read_text().splitlines() == ["source,from,to", "b/image021.png,test,train"]
    assert "moved.csv" in Pack.open(outcome).card.files


def test_without_labels_or_patients_all_is_train_and_that_is_said(tmp_path, capsys):
    src = make_source(tmp_path / "src", labels=False)
    pack = Pack.open(kontrast.prepare(src, out=tmp_path / "p", layout="plain", workers=1))
    assert not pack.patients_known and pack.findings == () and len(pack.rows("train")) == 30
    assert pack.table["patient_id"].nunique() == 30 and pack.labels([0, 1]).shape == (2, 0)
    said = capsys.readouterr()
    assert "each image counts as its own patient" in said.err and "counts as one" in said.out


def test_positives_are_counted_by_split_and_what_no_split_can_tell_is_warned_of(tmp_path, capsys):
    src = make_source(tmp_path / "src", split=["train"] * 14 + ["val"] * 8 + ["test"] * 8)
    table = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    table["Edema"] = ["1", "0"] * 7 + ["0", ""] * 4 + ["1"] * 8
    table.to_csv(src / "labels.csv", index=False)
    counts = {"Edema": {"train": 7, "val": 0, "test": 8}, "Pneumonia": {"train": 4, "val": 2, "test": 2}}
    for dry_run in (True, False):
        made = kontrast.prepare(src, out=tmp_path / "p", size=32, dry_run=dry_run)
        assert made.summary["positives"] == counts
        said = capsys.readouterr()
        assert re.search(r"Edema +7 +0 +8 +11 +0 +4 *$", said.out, re.M), said.out
        assert all(len(line) <= 80 for line in said.out.splitlines() if "Edema  " in line)
        assert "val has no positive image of Edema: no threshold can be chosen there." in said.err
        assert "test has no negative image of Edema: no score can be given there." in said.err
        assert "Pneumonia" not in said.err
    kontrast.prepare(make_source(tmp_path / "b"), out=tmp_path / "q", size=32, test_fraction=0.0)
    assert "test has no images: no score can be given." in capsys.readouterr().err


def test_views_limit_and_uint16(src, tmp_path):
    ap = Pack.open(kontrast.prepare(src, out=tmp_path / "v", views="frontal", limit=10, dtype="uint16", workers=1))
    assert ap.images([0]).dtype == np.uint16 and len(ap) == 10
    assert (ap.table.groupby("patient_id").size() == 2).all()
    with pytest.raises(DataError, match="--views lateral"):
        kontrast.prepare(src, out=tmp_path / "w", views="lateral")


def chexpert(root, n=8):
    base = root / "CheXpert-v1.0-small"
    rows = []
    for i in range(n):
        name = f"train/patient{i:05d}/study1/view1_frontal"
        for file in (base / f"{name}.jpg", base / "masks" / f"{name}.png"):
            file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(base / f"{name}.jpg"), np.full((30, 40), 100, np.uint8))
        planes = np.zeros((30, 40), np.uint16)
        planes[:15] |= 1
        if i % 2:
            planes[:, 20:] |= 4
        cv2.imwrite(str(base / "masks" / f"{name}.png"), planes)
        labels = dict.fromkeys(FINDINGS, "") | {"Edema": float(i % 2)}
        rows.append({"Path": f"CheXpert-v1.0-small/{name}.jpg", "Sex": "Male", "Age": 50, "Frontal/Lateral": "Frontal",
                     "AP/PA": "AP", **labels})  # fmt: skip
    (base / "masks" / "legend.json").write_text(json.dumps(["Lungs", "Heart", "Edema"]))
    pd.DataFrame(rows).to_csv(base / "train.csv", index=False)
    return root


def test_masks_come_along(tmp_path):
    outcome = kontrast.prepare(chexpert(tmp_path / "src"), out=tmp_path / "p", size=40, workers=1)
    pack = Pack.open(outcome)
    assert len(pack) == 8 and pack.mask_names == ("Lungs", "Heart", "Edema") == tuple(outcome.summary["masks"])
    assert pack.findings == FINDINGS
    lungs, edema = pack.mask("Lungs", pack.rows()), pack.mask("Edema", pack.rows())
    assert lungs[:, 5:20].all() and not lungs[:, :5].any() and not lungs[:, 20:].any()
    np.testing.assert_array_equal(edema.any((1, 2)), pack.labels(pack.rows())[:, FINDINGS.index("Edema")] == 1)
    assert not pack.mask("Heart", pack.rows()).any()
    assert sorted(p.name for p in outcome.out.glob("masks-*")) == [
        "masks-edema-00000.npy", "masks-edema-00001.npy", "masks-lungs-00000.npy", "masks-lungs-00001.npy"
    ]  # fmt: skip


def test_raw_patient_ids_are_never_written(src, tmp_path, monkeypatch, capfd):
    from pydicom.data import get_testdata_file
    from pydicom.filereader import dcmread

    dicom = dcmread(get_testdata_file("CT_small.dcm"))
    dicom.PatientID, dicom.PatientName, dicom.StudyInstanceUID = PATIENT, f"{PATIENT}^X", f"1.2.{STUDY}"
    (tmp_path / "scans").mkdir()
    dicom.save_as(tmp_path / "scans" / "a.dcm")

    def look():
        for file, content in files(tmp_path / "out").items():
            assert b"CANARY" not in content, file

    tidy = pack_writer.tidy
    monkeypatch.setattr(pack_writer, "tidy", lambda folder: (look(), tidy(folder)))
    (src / "a" / "image002.png").write_bytes(b"")
    kontrast.prepare(src, out=tmp_path / "out" / "table", size=32, workers=1)
    kontrast.prepare(tmp_path / "scans", out=tmp_path / "out" / "dicom", size=32, workers=1)
    look()
    assert Pack.open(tmp_path / "out" / "dicom").patients_known
    said = capfd.readouterr()
    assert "CANARY" not in said.out + said.err


def test_wrong_values_are_refused_in_the_words_that_were_typed(src, tmp_path):
    for wrong, words in (
        ({"size": 4}, "--size should be auto or 16 to 2048, got 4"),
        ({"val_fraction": 1.5}, "--val-fraction should be 0 to below 1, got 1.5"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"limit": 0}, "--limit"),
        ({"workers": 0}, "--workers"),
        ({"dtype": "uint16", "denoise": "nlm"}, "--denoise nlm"),
        ({"denoise": "nml"}, "denoise 'nml' does not fit"),
        ({"sise": 3}, "no option 'sise'"),
    ):
        with pytest.raises(UsageError, match=words):
            kontrast.prepare(src, out=tmp_path / "p", **wrong)


def test_the_command_line(src, tmp_path):
    shutil.move(src / "labels.csv", tmp_path / "labels.csv")
    words = ["prepare", src, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "p", "--size", "32", "--json"]
    done = subprocess.run([sys.executable, "-m", "kontrast", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["verb"] == "prepare" and facts["rows"] == 30 and facts["out"] == str(tmp_path / "p")
    assert kontrast.prepare(src, out=tmp_path / "p", size=32, labels=tmp_path / "labels.csv").status == "already done"


def test_real_radiographs(tmp_path):
    src = SHARED / "nih_256"
    if not src.is_dir():
        pytest.skip("../shared/data is not here")
    outcome = kontrast.prepare(src, out=tmp_path / "p", size=64, workers=1)
    pack = Pack.open(outcome)
    assert len(pack) == 683 and outcome.summary["rejects"] == 0 and pack.patients_known
    assert outcome.summary["findings"]["Edema"]["1"] == 61
    assert 0.4 < pack.mean < 0.7 and 0.15 < pack.std < 0.35
