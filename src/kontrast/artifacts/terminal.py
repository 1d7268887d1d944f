"""The scores of an evaluation on the terminal."""

from collections.abc import Mapping
from typing import Any

from kontrast import console
from kontrast.artifacts.wording import (
    DIFFERENCES,
    MARK,
    beneath,
    calibrated,
    cases,
    decimal,
    differences,
    means,
    remarks,
    trained_with,
    with_ends,
)
from kontrast.metrics.evaluation import mixed

READERS = {"sensitivity": "sensitivity", "specificity": "specificity", "system_sensitivity": "system"}
"""What is shown of a reader's operating point, and its words."""


def say_scores(scores: Mapping[str, Any]) -> None:
    """Print the scores, 80 columns wide, with what a reader must know beside them."""
    how, policy = scores["interval"], scores["label_policy"]
    rows = [_row(name, entry) for name, entry in scores["findings"].items()]
    rows += [_row(name, entry, mixed(entry["auroc"], how["replicates"])) for name, entry in means(scores).items()]
    console.table(
        f"Scores on {scores['split'] or 'these predictions'}",
        ["finding", "n", "pos", "AUROC [95 %]", "AP", "F1", "kappa"],
        rows,
    )
    console.say(f"Labels: {', '.join(f'{name} = {value}' for name, value in policy.items())}{trained_with(scores)}.")
    console.say(f"Intervals: {how['replicates']:,} bootstrap replicates of {how['resampled']}, seed {how['seed']}.")
    for text in [*cases(scores), *calibrated(scores), *remarks(scores), *beneath(scores)]:
        console.say(f"  {text}")
    for reader, points in scores.get("readers", {}).items():
        console.table(f"Reader {reader}", ["finding", "n", *READERS.values()], _operating_points(points))
    if scores.get("readers"):
        console.say("  system: its sensitivity at the reader's own specificity, over the cases that the reader called.")
    if "against" in scores:
        rows = [[name, *cells.values()] for name, cells in differences(scores).items()]
        console.table("Less the other system, on the same cases", ["finding", *DIFFERENCES], rows)


def _row(name: str, entry: Mapping[str, Any], marked: bool = False) -> list[str]:
    area = with_ends(entry["auroc"]) + (MARK if marked and entry["auroc"]["low"] is not None else "")
    counts = [str(entry.get("n", "")), str(entry.get("positives", ""))]
    return [name, *counts, area, *(decimal(entry[score]["value"]) for score in ("ap", "f1", "kappa"))]


def _operating_points(points: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A line a finding that a reader called, from `metrics.roc.reader_point`; dashes where undefined."""
    return [[name, f"{at['n']:,}", *(decimal(at.get(key)) for key in READERS)] for name, at in points.items()]
