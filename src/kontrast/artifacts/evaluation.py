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
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import Card, Parent, atomic, read_card, verify_files, write_card, write_json
from kontrast.errors import ArtifactError
from kontrast.types import COMPETITION_FINDINGS, TRUTH_COLUMNS, PathLike

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
    labels = {name: [_label(value) for value in truth[name]] for name in findings}
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


def summary(scores: Mapping[str, Any]) -> dict[str, Any]:
    """What a command reports of an evaluation: macro scores, and what must stand beside them."""
    macro = {name: {k: entry[k] for k in ("value", "low", "high")} for name, entry in scores["macro"].items()}
    result = {name: scores.get(name) for name in ("split", "label_policy", "rows", "patients", "interval")}
    extra = {name: scores[name] for name in ("overlap", "note") if scores.get(name)}
    if "competition" in scores:
        extra["competition_auroc"] = {k: scores["competition"]["auroc"][k] for k in ("value", "low", "high")}
    return result | {"macro": macro} | extra


def say_scores(scores: Mapping[str, Any]) -> None:
    """Print the scores, 80 columns wide, with what a reader must know beside them."""
    rows = [_row(name, entry) for name, entry in scores["findings"].items()]
    rows.append(_row("macro", scores["macro"]))
    if "competition" in scores and len(scores["findings"]) > len(COMPETITION_FINDINGS):
        rows.append(_row("macro of CheXpert's 5", scores["competition"]))
    console.table(
        f"Scores on {scores['split'] or 'these predictions'}",
        ["finding", "n", "pos", "AUROC [95 %]", "AP", "F1", "kappa"],
        rows,
    )
    policy, how = scores["label_policy"], scores["interval"]
    console.say(f"Labels: {', '.join(f'{name} = {value}' for name, value in policy.items())}.")
    console.say(f"Intervals: {how['replicates']:,} bootstrap replicates of {how['resampled']}, seed {how['seed']}.")
    remarks: dict[str, list[str]] = {}
    for name, entry in scores["findings"].items():
        # Without both classes nothing else matters; a threshold's absence is then no news.
        undefined = entry["auroc"]["reason"] if entry["auroc"]["value"] is None else None
        said = (
            [undefined]
            if undefined
            else [entry["auroc"].get("reason"), entry.get("note"), entry.get("threshold_reason")]
        )
        for remark in filter(None, said):
            remarks.setdefault(remark, []).append(name)
    for remark, names in remarks.items():
        who = "all findings" if len(names) == len(scores["findings"]) > 1 else ", ".join(names)
        console.say(f"  {who}: {remark}.")


def decimal(value: float | None) -> str:
    """Three decimals as papers print shares: `.874`; a dash for what is undefined."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text[:-1]


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    auroc = entry["auroc"]
    area = decimal(auroc["value"])
    if auroc["low"] is not None:
        area += f" [{decimal(auroc['low'])}, {decimal(auroc['high'])}]"
    counts = [str(entry.get("n", "")), str(entry.get("positives", ""))]
    return [name, *counts, area, *(decimal(entry[score]["value"]) for score in ("ap", "f1", "kappa"))]


def _label(value: float) -> str:
    return "" if np.isnan(value) else str(int(value))
