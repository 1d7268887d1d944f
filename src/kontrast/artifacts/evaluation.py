"""An evaluation on disk: what was predicted, what was true, and the scores; anyone's program can read all three.

predictions.csv   image_id and one score column per finding, in full precision
truth.csv         image_id, patient_id, study_id, split, view, sex, age and one label column per finding: 1, 0,
                  -1 (uncertain) or blank, as given, before any policy; rows in the order of predictions.csv
scores.json       see metrics.evaluation
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kontrast.artifacts.card import Card, Parent, read_card, verify_files, write_card
from kontrast.artifacts.disk import atomic, write_json
from kontrast.artifacts.files import cell
from kontrast.data.labels import targets as make_targets
from kontrast.errors import ArtifactError
from kontrast.metrics.studies import by_study
from kontrast.types import TRUTH_COLUMNS, PathLike

PREDICTIONS, TRUTH, SCORES = "predictions.csv", "truth.csv", "scores.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """An evaluation that was read.

    Attributes:
        path: its folder.
        card: its card.
        findings: F names.
        predictions: `image_id` (str) and F float columns.
        truth: TRUTH_COLUMNS (str, `age` float) and F float columns: 1, 0, -1, NaN for blank.
        scores: the content of `scores.json`.
    """

    path: Path
    card: Card
    findings: tuple[str, ...]
    predictions: pd.DataFrame
    truth: pd.DataFrame
    scores: dict[str, Any]


def write_evaluation(
    folder: Path,
    *,
    truth: pd.DataFrame,
    predictions: np.ndarray,
    findings: Sequence[str],
    scores: Mapping[str, Any],
    config: Mapping[str, Any],
    parents: Sequence[Parent] = (),
    content: Mapping[str, Any] | None = None,
) -> Card:
    """Write the three files and the card into a claimed folder.

    Args:
        folder: claimed for an `evaluation`.
        truth: n rows with TRUTH_COLUMNS and the findings (1, 0, -1, NaN); other columns are left out.
        predictions: (n, F) float64.
        findings: F names.
        scores: what `metrics.evaluation.score_table` gave, and what the command adds.
        config: what the user asked.
        parents: what it was made from.
        content: for the card; `findings`, `rows` and `summary` are added.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    ids = truth["image_id"].to_numpy()
    predicted = pd.DataFrame(predictions, columns=list(findings))
    predicted.insert(0, "image_id", ids)
    labels = {name: [cell(value) for value in truth[name]] for name in ("age", *findings)}
    table = truth[list(TRUTH_COLUMNS)].reset_index(drop=True).assign(**labels)
    for name, frame in ((PREDICTIONS, predicted), (TRUTH, table)):
        with atomic(folder / name) as stream:
            stream.write(frame.to_csv(index=False, lineterminator="\n").encode(errors="surrogateescape"))
    write_json(folder / SCORES, dict(scores))
    about = {"findings": list(findings), "rows": len(truth), "summary": summary(scores)}
    return write_card(
        folder, "evaluation", config=config, parents=parents, content=about | dict(content or {}),
        files=[PREDICTIONS, TRUTH, SCORES],
    )  # fmt: skip


def read_evaluation(folder: PathLike) -> Evaluation:
    """Open an evaluation, checking its files against the card.

    Raises:
        ArtifactError: no evaluation, or one that is damaged.
    """
    folder = Path(folder)
    card = read_card(folder, "evaluation")
    verify_files(folder)
    try:
        findings = tuple(card.content["findings"])
        frames = [pd.read_csv(folder / name, dtype=str, keep_default_na=False) for name in (PREDICTIONS, TRUTH)]
        for frame in frames:
            for name in (*findings, *(("age",) if "age" in frame else ())):
                # float() reads what repr() wrote to the last bit; not every pandas' parser does.
                frame[name] = np.array([float(text) if text else np.nan for text in frame[name]], dtype=np.float64)
        scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        truth = frames[1][[*TRUTH_COLUMNS, *findings]]
    except (ValueError, KeyError):
        raise ArtifactError(
            f"{folder} is damaged: its files are not those of an evaluation.", fix="Run the evaluation again."
        ) from None
    return Evaluation(
        path=folder, card=card, findings=findings, predictions=frames[0], truth=truth, scores=scores
    )  # fmt: skip


def scored_targets(evaluation: Evaluation, findings: Sequence[str]) -> np.ndarray:
    """Truth of the images as it was scored: (n, F) of 1, 0 and NaN = ignored, by the evaluation's own label policy.

    Raises:
        UsageError: that is none that is known.
    """
    policy = evaluation.scores["label_policy"]
    values = evaluation.truth[list(evaluation.findings)].to_numpy(dtype=np.float64)
    y, w = make_targets(values, evaluation.findings, str(policy.get("uncertain")), str(policy.get("blank")))
    columns = [evaluation.findings.index(name) for name in findings]
    return np.where(w > 0, y, np.nan)[:, columns]


class Cases(NamedTuple):
    """What an evaluation scored: images, or studies.

    Attributes:
        table: n rows with TRUTH_COLUMNS; of a study its first image's.
        truth: (n, F) of 1, 0 and NaN = ignored.
        scores: (n, F).
        patients: (n,) whose rows are resampled together; None: rows are.
    """

    table: pd.DataFrame
    truth: np.ndarray
    scores: np.ndarray
    patients: np.ndarray | None


def scored_cases(evaluation: Evaluation) -> Cases:
    """The cases that `scores.json` is about, from the files of the evaluation.

    Raises:
        UsageError: the label policy of the scores is none that is known.
    """
    table, about = evaluation.truth, evaluation.scores
    truth = scored_targets(evaluation, evaluation.findings)
    scores = evaluation.predictions[list(evaluation.findings)].to_numpy(dtype=np.float64)
    known = (about.get("interval") or {}).get("resampled") == "patients"
    people = table["patient_id"].to_numpy() if known else None
    if about.get("by") == "study":
        studies = table["study_id"].to_numpy(str)
        truth, scores, first = by_study(truth, scores, studies, about["over_views"], people)
        table, people = table.iloc[first].reset_index(drop=True), None if people is None else people[first]
    return Cases(table, truth, scores, people)


def summary(scores: Mapping[str, Any]) -> dict[str, Any]:
    """What a command reports of an evaluation: macro scores, and what must stand beside them."""
    macro = {name: {k: entry[k] for k in ("value", "low", "high")} for name, entry in scores["macro"].items()}
    result = {name: scores.get(name) for name in ("split", "label_policy", "rows", "patients", "interval")}
    result |= {name: scores[name] for name in ("by", "over_views") if name in scores}
    extra = {name: scores[name] for name in ("overlap", "note", "not_learnt") if scores.get(name)}
    if "competition" in scores:
        extra["competition_auroc"] = {k: scores["competition"]["auroc"][k] for k in ("value", "low", "high")}
    return result | {"macro": macro} | extra
