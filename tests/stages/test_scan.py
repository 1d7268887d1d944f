"""`kontrast scan`: what it says, what it hides, and that it writes nothing."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.errors import DataError, OutputError, UsageError
from miniatures import dicom

SHARED = Path(__file__).parents[3] / "shared" / "data"
RNG = np.random.default_rng(0)


@pytest.fixture
def src(tmp_path):
    root = tmp_path / "src"
    (root / "images").mkdir(parents=True)
    lines = ["image,patient_id,view,Mass,<b>Edema</b>"]
    for i in range(12):
        name = f"4711{i:02d}.png"
        cv2.imwrite(str(root / "images" / name), RNG.integers(0, 256, (40, 30 + i), dtype=np.uint8))
        lines.append(f"{name},patient{8100 + i // 2},{'AP' if i % 2 else 'PA'},{i % 2},{['1', '0', '-1', ''][i % 4]}")
    (root / "labels.csv").write_text("\n".join(lines))
    (root / "images" / "471103.png").write_bytes(b"")
    (root / "images" / "471104.png").unlink()
    return root


def listing(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_counts_and_problems(src, capsys):
    before = listing(src.parent)
    outcome = kontrast.scan(src)
    found = outcome.summary
    assert (found["images"], found["patients"], found["views"]) == (11, 6, {"AP": 6, "PA": 5})
    assert found["findings"]["Mass"] == {"1": 6, "0": 5, "-1": 0, "blank": 0}
    assert found["findings"]["<b>Edema</b>"] == {"1": 2, "0": 3, "-1": 3, "blank": 3}
    assert found["formats"] == {"PNG": 10} and found["bits"] == {"8": 10}
    assert found["sizes"] == {"smallest": [40, 30], "median": [40, 36], "largest": [40, 41], "different": 10}
    assert {(p["reason"], p["count"]) for p in found["problems"]} == {("no such file", 1), ("empty file", 1)}
    text = capsys.readouterr().out
    assert "kontrast prepare" in text and "--out packs/src" in text
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("  kontrast prepare"))
    assert listing(src.parent) == before
    json.loads(outcome.to_json())


def test_ids_are_shown_only_when_asked(src, capsys):
    outcome = kontrast.scan(src)
    assert not re.search(r"patient8|4711", capsys.readouterr().out + outcome.to_json())
    kontrast.scan(src, show_names=True)
    assert "471103.png" in capsys.readouterr().out


def test_page(src, tmp_path):
    page = tmp_path / "made" / "scan.html"
    assert kontrast.scan(src, html=page).out == page
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 10 and "http" not in text
    assert "&lt;b&gt;Edema" in text and "<b>Edema" not in text
    assert "patient81" not in text and "4711" not in re.sub(r"base64,[^\"]*", "", text)
    kontrast.scan(src, html=page)  # its own page is made again
    page.write_text("my notes")
    with pytest.raises(OutputError, match="no scan wrote it"):
        kontrast.scan(src, html=page)
    assert page.read_text() == "my notes"


def test_dry_run_opens_and_writes_nothing(src, tmp_path, monkeypatch):
    monkeypatch.setattr("kontrast.data.survey.look", lambda *_, **__: pytest.fail("opened"))
    page = tmp_path / "scan.html"
    outcome = kontrast.scan(src, html=page, dry_run=True)
    assert outcome.status == "planned" and not page.exists()


def test_limit_says_how_much_was_opened(src, capsys):
    assert kontrast.scan(src, limit=3).summary["looked_at"] == 3
    assert "opened 3 of 11 images" in capsys.readouterr().out


def test_shared_patients_are_said_and_the_repair_is_proposed(src):
    lines = (src / "labels.csv").read_text().splitlines()
    split = ["split", *("test" if i % 2 else "train" for i in range(12))]
    (src / "labels.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, split, strict=True)))
    found = kontrast.scan(src).summary
    assert found["overlap"] == {"patients": 5, "images": 5}
    assert found["command"].endswith("--repair-splits")


def test_the_proposed_command_repeats_the_options(src):
    command = kontrast.scan(src, column=("patient=none", "rename=Mass:Big Mass"), layout="table").summary["command"]
    assert command.endswith("--layout table --column patient=none --column 'rename=Mass:Big Mass'")


def test_copies_are_counted_and_named(tmp_path, capsys):
    for name in ("image1", "image22", "Mueller"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((5, 5), 7, np.uint8))
    (found,) = kontrast.scan(tmp_path).summary["problems"]
    assert (found["count"], found["examples"]) == (2, ["imageN.png of X.png"])
    said = capsys.readouterr().out
    assert "2 × byte-for-byte copy of another file: imageN.png of X.png" in said and "--show-names shows them" in said
    (found,) = kontrast.scan(tmp_path, show_names=True).summary["problems"]
    assert "--show-names" not in capsys.readouterr().out
    assert found["examples"] == ["image1.png of Mueller.png", "image22.png of Mueller.png"]


def smooth(seed):
    coarse = np.random.default_rng(seed).integers(20, 230, (8, 7), dtype=np.uint8)
    return cv2.resize(coarse, (60, 72), interpolation=cv2.INTER_CUBIC)


def test_what_looks_the_same_is_counted_named_and_shown(tmp_path, capsys):
    src = tmp_path / "src"
    src.mkdir()
    lines = ["path,patient_id"]
    for i in range(6):
        cv2.imwrite(str(src / f"{i}.png"), smooth(i))
        lines.append(f"{i}.png,A{i}")
    small = cv2.resize(smooth(0), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(src / "small.jpg"), small)  # another size and format, said to be of another person
    cv2.imwrite(str(src / "brighter.png"), np.clip(smooth(1) * 1.1, 0, 255).astype(np.uint8))
    shutil.copy(src / "2.png", src / "again.png")
    lines += ["small.jpg,B", "brighter.png,A1", "again.png,A2"]
    (src / "labels.csv").write_text("\n".join(lines))
    page = tmp_path / "scan.html"
    found = kontrast.scan(src, html=page, show_names=True).summary
    assert found["copies"] == {"bytes": 1, "compared": 9, "similar": 2}
    assert {(p["reason"], p["examples"][0]) for p in found["problems"]} == {
        ("byte-for-byte copy of another file", "again.png of 2.png"),
        ("looks the same as another patient's file", "small.jpg and 0.png"),
        ("looks the same as another file", "brighter.png and 1.png"),
    }
    said = capsys.readouterr().out
    assert "copies     1 by their bytes among 9 files, 2 more by their looks among 9" in said
    assert page.read_text().count("data:image/jpeg;base64,") == 9 + 4 and "Looks the same" in page.read_text()


def test_polarity_is_counted(tmp_path, capsys):
    for i, word in enumerate(("MONOCHROME1", "MONOCHROME2", "MONOCHROME1")):
        dicom(tmp_path / f"{i}.dcm", PhotometricInterpretation=word)
    cv2.imwrite(str(tmp_path / "x.png"), smooth(0))
    found = kontrast.scan(tmp_path, layout="plain").summary
    assert found["polarities"] == {"MONOCHROME1": 2, "MONOCHROME2": 1, "not said": 1}
    assert "polarity   MONOCHROME1 2, MONOCHROME2 1, not said 1" in capsys.readouterr().out


def test_a_large_source_is_sampled_and_the_sample_said(src, monkeypatch, capsys):
    monkeypatch.setattr("kontrast.stages.scan.SECONDS", -1.0)
    monkeypatch.setattr("kontrast.data.survey.AT_A_TIME", 2)
    monkeypatch.setattr("kontrast.data.survey.LEAST", 4)
    found = kontrast.scan(src).summary
    assert found["looked_at"] == 4 and found["images"] == 11 and found["copies"]["compared"] == 0
    assert "opened 4 of 11 images, drawn evenly" in " ".join(capsys.readouterr().out.split())
    assert kontrast.scan(src, limit=11).summary["looked_at"] == 11  # asked for, however long it takes


def test_another_modality_among_radiographs_is_a_problem(tmp_path, capsys):
    kontrast.phantom(tmp_path / "p", patients=3, size=16, format="dicom")
    radiographs = sorted((tmp_path / "p").rglob("*.dcm"))
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "p" / "slice7.dcm")
    found = kontrast.scan(tmp_path / "p", layout="plain")
    assert found.summary["modalities"] == {"CT": 1, "DX": len(radiographs)}
    (problem,) = found.summary["problems"]
    assert problem["reason"].startswith("modality CT among radiographs") and problem["examples"] == ["sliceN.dcm"]
    said = capsys.readouterr().out
    assert f"modality   CT 1, DX {len(radiographs)} (DICOM)" in said and "CT among radiographs" in said
    (tmp_path / "p" / "slice7.dcm").unlink()
    assert not kontrast.scan(tmp_path / "p", layout="plain").summary["problems"]


def test_folders_that_may_be_people_are_said_and_not_named(tmp_path, capsys):
    for i in range(8):
        path = tmp_path / ("Anna", "Hans", "Lea")[i % 3] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), RNG.integers(0, 256, (20, 20), dtype=np.uint8))
    outcome = kontrast.scan(tmp_path)
    said = capsys.readouterr().out + outcome.to_json()
    assert outcome.summary["findings"] == {} and outcome.summary["command"].endswith("--layout plain")
    assert "3 folders with about 3 images each may be classes or people" in " ".join(said.split())
    assert not any(name in said for name in ("Anna", "Hans", "Lea"))
    assert set(kontrast.scan(tmp_path, layout="folder").summary["findings"]) == {"Anna", "Hans", "Lea"}
    assert "findings = the names of the 3 class folders: Anna, Hans, Lea" in capsys.readouterr().out


def test_wrong_input(src, tmp_path):
    with pytest.raises(UsageError, match="--limit 0"):
        kontrast.scan(src, limit=0)
    with pytest.raises(UsageError, match="Did you mean 'patient_id'"):
        kontrast.scan(src, column=("patient=Patient",))
    with pytest.raises(DataError, match="does not exist"):
        kontrast.scan(tmp_path / "no")
    with pytest.raises(UsageError, match="Did you mean 'labels'"):
        kontrast.scan(src, lables=())


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_radiographs(capsys):
    found = kontrast.scan(SHARED / "nih_256", limit=40).summary
    assert found["views"] == {"AP": 388, "PA": 295} and found["findings"]["Effusion"]["1"] == 61
    (copy,) = found["problems"]  # one that the set really holds, found among all files
    assert (
        copy["count"] == 1
        and copy["reason"].startswith("byte-for-byte")
        and any("Hernia" in n and "one class" in n for n in found["notes"])
    )
    assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines() if "kontrast prepare" not in line)


def test_dicom_of_any_name_is_opened_and_what_is_passed_over_is_said(tmp_path, capsys, monkeypatch):
    """Also by `prepare`, whose Pack keeps the note; patients come from the headers as of any DICOM file."""
    src = tmp_path / "src"
    for folder, name in (("p1", "scan.IMA"), ("p2", "plain.img")):
        dicom(src / folder / name, PatientID=folder)
    for name in ("a.bmp", "b.bmp", "c.jp2", "d.mueller"):
        (src / name).write_bytes(b"no image that is read")
    found = kontrast.scan(src).summary
    assert (found["layout"], found["images"], found["patients"], found["formats"]) == ("pacs", 2, 2, {"DICOM": 2})
    assert found["passed_over"] == {".bmp": 2, ".jp2": 1, "another suffix": 1}
    said = " ".join(capsys.readouterr().out.split())
    assert "4 files passed over" in said and "2 .bmp, 1 .jp2, 1 another suffix" in said and "mueller" not in said
    (tmp_path / "key").write_text("5a" * 32)
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "key"))
    pack = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=32))
    assert len(pack) == 2 and any("4 files passed over" in note for note in pack.card.content["notes"])
