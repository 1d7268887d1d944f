"""The vocabulary of the package, written once: findings, outcomes and the shapes that travel between layers."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

PathLike = str | os.PathLike[str]

CARD, CLAIM = "card.json", "run.json"
"""What describes an artifact in its folder: finished, and begun."""

FINDINGS: tuple[str, ...] = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""CheXpert's 14 observations, in the order of its tables (Irvin et al. 2019, arXiv:1901.07031)."""

COMPETITION_FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
)
"""The five findings that CheXpert's competition scored."""

TABLE_COLUMNS: tuple[str, ...] = (
    "image_id",
    "patient_id",
    "study_id",
    "split",
    "view",
    "sex",
    "age",
    "source",
    "sha256",
    "height",
    "width",
)
"""The columns of a Pack's `table.csv` before its findings."""

EXTRA_COLUMNS: tuple[str, ...] = ("laterality", "device", "burned_in")
"""Columns after the findings, where a source gives them: `L`, `R` or `B`; maker and model; whether there is text in the
pixels (`yes`, `no`)."""

CROP = "crop"
"""Column after those, of a Pack made with `--crop`: the part of the source image that is shown, as
`FIRST:END,LEFT:RIGHT` in its rows and columns; blank: all of it, since the lungs were not found with confidence."""

TRUTH_COLUMNS: tuple[str, ...] = ("image_id", "patient_id", "study_id", "split", "view", "sex", "age")
"""The columns of an evaluation's `truth.csv` before its findings."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def counted(number: int, noun: str) -> str:
    """`1 patient`, `2,000 studies`: a number with its noun, in the number that it asks for."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def by_reason(reasons: Mapping[str, str]) -> str:
    """`Edema, Fracture (no positive image); Nodule (…)`: names by what holds of them, each reason once."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(those)} ({reason})" for reason, those in names.items())


@dataclass(frozen=True)
class Outcome(os.PathLike[str]):
    """What a command did. Stands for its output path, so that one command's outcome is the next one's input.

    Attributes:
        verb: the command.
        out: the artifact or file it wrote, or would write; None when it writes nothing.
        status: `done`, `already done` (the same command had finished before) or `planned` (`dry_run`).
        summary: what is worth knowing, ready for JSON.
        exit_code: what the command line ends with; other than 0 when the outcome is itself bad news (`doctor`).
    """

    verb: str
    out: Path | None
    status: Literal["done", "already done", "planned"] = "done"
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0

    def __fspath__(self) -> str:
        if self.out is None:
            raise TypeError(f"{self.verb} wrote nothing, so its outcome is no path")
        return os.fspath(self.out)

    def to_json(self) -> str:
        """One JSON object, the same as `--json` prints."""
        out = None if self.out is None else str(self.out)
        return json.dumps({"verb": self.verb, "status": self.status, "out": out, **self.summary}, allow_nan=False)
