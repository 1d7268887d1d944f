"""Every study file in configs/ is read, and those that need nothing but files are run, small."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.config import from_dict, load_yaml
from kontrast.engine.grid import Study, cells_of, filled
from kontrast.errors import LeakageError
from kontrast.stages.finetune import FinetuneConfig
from kontrast.stages.prepare import PrepareConfig
from kontrast.stages.pretrain import PretrainConfig
from kontrast.stages.probe import ProbeConfig

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "configs" / "study").glob("*.yaml"))
CHEXPERT = ROOT / "configs" / "study" / "chexpert.yaml"
SELF_SUPERVISED = ("moco", "simclr", "byol", "swav")
REAL = ROOT.parent / "shared" / "data"
SEED_SPLITS = ROOT.parent / "shared" / "data" / "chexpert_labels" / "seed"


@pytest.fixture(autouse=True)
def own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "patient.key"))
    (tmp_path / "patient.key").write_text("5a" * 32)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_read(path):
    plan = from_dict(Study, load_yaml(path), where=path.name)
    assert cells_of(plan)
    for options in plan.prepare.values():
        from_dict(PrepareConfig, {k: v for k, v in options.items() if k != "source"}, where=path.name)
    for arm in plan.arms.values():
        from_dict(PretrainConfig, plan.pretrain | arm.pretrain, where=path.name)
    from_dict(ProbeConfig, plan.probe, where=path.name)
    from_dict(FinetuneConfig, plan.finetune, where=path.name)


def test_chexpert_is_the_experiment_that_it_says():
    plan = from_dict(Study, load_yaml(CHEXPERT))
    assert {arm.method for arm in plan.arms.values()} >= {"moco", "simclr", "byol", "swav"}
    assert plan.fractions == (0.1, 0.5, 1.0)
    assert plan.encoder == "resnet50" and plan.arms["densenet121"].encoder == "densenet121"
    cells = [cell.protocol for cell in cells_of(plan)]
    # the counts in the file's comment: 7 arms fine-tuned, 6 probed; 3 seeds of 3 fractions, one of them drawn 5 times
    assert cells.count("finetune") == 147 and cells.count("probe") == 126


def prepare_as(path, out, **changes):
    """Run the `prepare` section of a study file."""
    (options,) = load_yaml(path)["prepare"].values()
    options = {name: filled(value) for name, value in (options | changes).items()}
    return kontrast.prepare(options.pop("source"), out=out, **options)


@pytest.fixture
def split_by_image(tmp_path, monkeypatch):
    """A phantom whose tables were divided by image, as the first version divided CheXpert."""
    kontrast.phantom(tmp_path / "chexpert", patients=40, size=32)
    table = pd.read_csv(tmp_path / "chexpert" / "CheXpert-v1.0-small" / "train.csv")
    test = np.random.default_rng(0).random(len(table)) < 0.4
    (tmp_path / "splits").mkdir()
    table[~test].to_csv(tmp_path / "splits" / "train_split.csv", index=False)
    table[test].to_csv(tmp_path / "splits" / "test_split.csv", index=False)
    monkeypatch.setenv("CHEXPERT", str(tmp_path / "chexpert"))
    monkeypatch.setenv("SPLITS", str(tmp_path / "splits"))
    patient = table["Path"].str.extract(r"(patient\d+)")[0]
    return table["Path"], patient, test


def test_chexpert_refuses_splits_by_image_and_repairs_them_when_told(split_by_image, tmp_path):
    paths, patient, test = split_by_image
    with pytest.raises(LeakageError, match="share patients"):
        prepare_as(CHEXPERT, tmp_path / "pack", size=32)
    assert not (tmp_path / "pack" / "card.json").exists()

    pack = Pack.open(prepare_as(CHEXPERT, tmp_path / "pack", size=32, repair_splits=True))
    both = set(patient[test]) & set(patient[~test])
    moved = pd.read_csv(tmp_path / "pack" / "moved.csv")
    assert both and sorted(moved["source"]) == sorted(paths[test & patient.isin(both)])
    assert set(moved["from"]) == {"test"} and set(moved["to"]) == {"train"}
    assert len(pack) == len(paths)
    left = paths[test & ~patient.isin(both)]
    assert sorted(pack.table["source"].iloc[pack.rows("test")]) == sorted(left)


@pytest.mark.skipif(not SEED_SPLITS.is_dir(), reason="the first version's split files are not here")
def test_the_first_versions_own_files_are_accepted(tmp_path, monkeypatch):
    """Both files as they are; images exist for the first rows of each, and for all of their patients."""
    tables = [pd.read_csv(SEED_SPLITS / f"{part}_split.csv") for part in ("train", "test")]
    patients = [table["Path"].str.extract(r"(patient\d+)")[0] for table in tables]
    chosen = set(patients[1][:40]) | set(patients[0][:20])
    there = [table["Path"][ids.isin(chosen)] for table, ids in zip(tables, patients, strict=True)]
    rng = np.random.default_rng(0)
    for path in pd.concat(there):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / path), rng.integers(0, 255, (20, 24), dtype=np.uint8))
    monkeypatch.setenv("CHEXPERT", str(tmp_path))
    monkeypatch.setenv("SPLITS", str(SEED_SPLITS))
    with pytest.raises(LeakageError):
        prepare_as(CHEXPERT, tmp_path / "pack", size=16)
    pack = Pack.open(prepare_as(CHEXPERT, tmp_path / "pack", size=16, repair_splits=True))
    both = set(patients[0]) & set(patients[1]) & chosen
    moved = pd.read_csv(tmp_path / "pack" / "moved.csv")
    wanted = there[1][patients[1].isin(both)[there[1].index]]
    assert sorted(moved["source"]) == sorted(wanted) and len(moved) > 10
    assert len(pack) == sum(map(len, there))


def small(path, folder, **changes):
    """A study file at toy size, written to a folder: every arm and protocol of it, one seed, an epoch, few images."""
    values = load_yaml(path)
    for options in values.get("prepare", {}).values():
        options |= {"size": 32} | changes.get("prepare", {})
    values |= {
        "encoder": "resnet18", "fractions": [1.0], "seeds": [0], "replicates": 20,
        "pretrain": {"epochs": 1, "batch_size": 16}, "finetune": {"epochs": 1, "batch_size": 16},
    }  # fmt: skip
    values |= {name: value for name, value in changes.items() if name != "prepare"}
    (folder / path.name).write_text(yaml.safe_dump(values, sort_keys=False))
    return folder / path.name


def cells(folder):
    """The arms and protocols in a study's table."""
    table = pd.read_csv(folder / "cells.csv")
    return set(zip(table["arm"], table["protocol"], strict=True))


@pytest.mark.slow
def test_chexpert_runs_small(split_by_image, tmp_path, monkeypatch):
    monkeypatch.setenv("KONTRAST_WEIGHTS", str(tmp_path))  # the optional arm is left out wherever this runs
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    findings = ["Lung Opacity", "Pleural Effusion", "Support Devices"]
    study = small(CHEXPERT, tmp_path, prepare={"repair_splits": True}, findings=findings)
    made = kontrast.study(study, out=tmp_path / "run")
    assert made.status == "done" and made.summary["left_out"] == ["imagenet"]
    both = {(arm, protocol) for arm in ("random", *SELF_SUPERVISED) for protocol in ("probe", "finetune")}
    assert cells(tmp_path / "run") == both | {("densenet121", "finetune")}
    assert (tmp_path / "run" / "packs" / "chexpert" / "moved.csv").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not REAL.is_dir(), reason="the real radiographs are not here (../shared/data)")
def test_the_studies_of_real_radiographs_run_small_one_after_the_other(tmp_path, monkeypatch):
    """As their comments say: the second takes the first one's Pack and encoders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KONTRAST_DATA", str(REAL))
    monkeypatch.setenv("KONTRAST_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    both = {(arm, protocol) for arm in ("random", *SELF_SUPERVISED) for protocol in ("probe", "finetune")}
    for name, out in (("real-nih", "nih"), ("real-kermany", "kermany")):
        study = small(ROOT / "configs" / "study" / f"{name}.yaml", tmp_path, prepare={"limit": 90}, folds=2)
        made = kontrast.study(study, out=f"runs/{out}")
        assert made.status == "done" and made.summary["left_out"] == ["imagenet"]
        assert cells(tmp_path / "runs" / out) == both
        assert (tmp_path / "runs" / out / "folds.json").is_file()


@pytest.mark.slow
def test_the_demo_study_runs_as_its_comment_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    shutil.copytree(ROOT / "configs" / "study", tmp_path / "configs" / "study")
    kontrast.phantom("runs/xrays", patients=40, size=64)
    made = kontrast.study("configs/study/demo.yaml", out="runs/demo-study")
    assert made.summary["cells"] == 4
    page = kontrast.report("runs/demo-study", out="runs/demo-study.html")
    assert "simclr" in Path(page).read_text(encoding="utf-8")
