"""Artifacts with known numbers, written without training anything."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from helpers import make_pack
from kontrast.artifacts.card import parent, read_card, write_card
from kontrast.artifacts.evaluation import write_evaluation
from kontrast.artifacts.pack import Pack
from kontrast.metrics.evaluation import score_table
from kontrast.pages.sections import Found


def found(folder: Path, name: str | None = None) -> Found:
    """The artifact as a page knows it."""
    return Found(name or folder.name, folder, read_card(folder), "0" * 64)


def add_evaluation(folder: Path, pack: Path, *, seed: int = 0, parents=(), note: str | None = None, **options) -> Path:
    """Random predictions of a Pack's test split, and their scores."""
    folder.mkdir(parents=True)
    data = Pack.open(pack)
    table = data.table.iloc[data.rows("test")].reset_index(drop=True)
    guesses = np.random.default_rng(seed).random((len(table), len(data.findings)))
    truth = np.nan_to_num(data.labels(data.rows("test"))).clip(0, 1)
    scores = score_table(
        truth, guesses, data.findings, patients=table["patient_id"].to_numpy(), split="test", replicates=50,
        label_policy={"uncertain": "zeros", "blank": "negative"}, **options,
    )  # fmt: skip
    scores |= {"overlap": {"patients": 0, "images": 0, "text": "0 patients shared"}} | ({"note": note} if note else {})
    write_evaluation(
        folder, truth=table, predictions=guesses, findings=data.findings, scores=scores, config={}, parents=parents
    )
    return folder


def add_encoder(folder: Path, pack: Path, method: str = "moco", steps: int = 10) -> Path:
    """An Encoder's card, curve and picture; no weights."""
    folder.mkdir(parents=True)
    lines = [
        {"step": i + 1, "loss": 4 - i / 10, "feature_std_ratio": 0.3, "effective_rank": 5 + i} for i in range(steps)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cv2.imwrite(str(folder / "views.png"), np.full((20, 30), 90, np.uint8))
    summary = {
        "method": method, "encoder": "resnet18", "size": 32, "images": 1234, "patients": 56, "steps": steps,
        "epochs": 2.5, "images_seen": 98765, "loss": lines[-1]["loss"], "feature_std_ratio": 0.321,
        "effective_rank": 14.2, "below_chance": 0.75,
    }  # fmt: skip
    content = {
        "encoder": {"name": "resnet18", "size": 32, "stem": "small", "mean": 0.5, "std": 0.2}, "feature_dim": 8,
        "summary": summary, "plan": {"batch_size": 77, "optimizer": "adamw", "lr": 0.001},
    }  # fmt: skip
    config = {"init": str(folder.resolve() / "before")}
    write_card(folder, "encoder", config=config, parents=[parent("pack", pack)], content=content, files=["views.png"])
    return folder


def add_study(folder: Path, cells, differences=(), arms=("random", "moco"), **config) -> Path:
    """A study's tables: cells are (arm, protocol, fraction, seed, auroc)."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["arm", "protocol", "fraction", "seed", "auroc"]
    pd.DataFrame(list(cells), columns=names).to_csv(folder / "cells.csv", index=False)
    names = ["protocol", "fraction", "arm", "value", "low", "high", "p"]
    pd.DataFrame(list(differences), columns=names).to_csv(folder / "differences.csv", index=False)
    asked = {
        "arms": {arm: {} for arm in arms}, "baseline": "random", "seeds": [0, 1], "uncertain": "zeros",
        "blank": "negative", "prepare": {"x": {"source": "/secret/place/of images"}}, **config,
    }  # fmt: skip
    content = {"summary": {"left_out": ["imagenet"]}}
    write_card(folder, "study", config=asked, content=content, files=["cells.csv", "differences.csv"])
    return folder


@pytest.fixture(scope="session")
def pack(tmp_path_factory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pages") / "chest", n=60, size=16, masks=True)
