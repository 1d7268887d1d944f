"""Comparing arms on the same test cases: the grid's tables and paired differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast.artifacts.evaluation import Evaluation, read_evaluation, scored_targets
from kontrast.errors import DataError
from kontrast.metrics.differences import holm
from kontrast.metrics.intervals import paired_difference
from kontrast.metrics.scores import macro_auroc

SCORED = ("auroc", "ap", "f1", "kappa")


Run = int | tuple[int, int]
"""The seed of a training; or, where patients are drawn several times, the draw and the seed."""

Cells = Mapping[tuple[str, str, float, Any], Path]
"""(arm, protocol, fraction, `Run`) → the folder of its evaluation."""


def common_findings(evaluations: Cells) -> list[str]:
    """The findings that every cell could learn and be scored on, so that means over them compare like with like.

    At a small fraction a rare finding may have no positive label and be left out of that cell; a mean over what is
    left would mix the gain of more labels with a change of findings. Empty where the cells share none.
    """
    shared: list[str] | None = None
    for folder in evaluations.values():
        found = read_evaluation(folder)
        scored = [f for f in found.findings if found.scores["findings"][f]["auroc"]["value"] is not None]
        shared = scored if shared is None else [f for f in shared if f in scored]
    return shared or []


def left_out(evaluations: Cells) -> dict[str, str]:
    """The findings that some cell learnt, or was to learn, and that the cells do not share: finding → why not."""
    cells = [read_evaluation(folder) for folder in evaluations.values()]
    every = dict.fromkeys(name for cell in cells for name in (*cell.findings, *cell.scores.get("not_learnt", {})))
    reasons = {}
    for name in every:
        scored = [cell.scores["findings"][name]["auroc"] for cell in cells if name in cell.findings]
        undefined = next((entry.get("reason") for entry in scored if entry["value"] is None), None)
        if undefined:
            reasons[name] = undefined
        elif len(scored) < len(cells):
            reasons[name] = f"not learnt in {len(cells) - len(scored)} of {len(cells)} trainings"
    return reasons


def gather(evaluations: Cells) -> pd.DataFrame:
    """One row a cell: its place in the grid, how many findings it learnt, and scores on test averaged over the
    findings common to all cells (`common` of them); NaN where undefined.
    """
    rows = []
    names = common_findings(evaluations)
    several = any(isinstance(run, tuple) for *_, run in evaluations)
    for (arm, protocol, fraction, run), folder in evaluations.items():
        found = read_evaluation(folder)
        draw, seed = run if isinstance(run, tuple) else ("", run)
        row: dict[str, Any] = {"arm": arm, "protocol": protocol, "fraction": fraction}
        row |= {"draw": draw, "seed": seed} if several else {"seed": seed}
        row |= {"findings": len(found.findings), "common": len(names)}
        for score in SCORED:
            values = [found.scores["findings"][name][score]["value"] for name in names]
            defined = [value for value in values if value is not None]
            row[score] = float(np.mean(defined)) if defined else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def compare(evaluations: Cells, baseline: str, *, replicates: int = 1000) -> pd.DataFrame:
    """Each arm less the baseline, paired: the same test cases, the same resampled patients, the same seeds.

    The difference is of macro AUROC, averaged over seeds; its interval is of the test sample alone. The spread over
    seeds is another thing and stands apart (`sd_over_seeds`, n - 1 in the denominator, NaN for one seed). Findings
    that one of the two could not learn at a seed are left out of that seed for both.

    Returns:
        One row a (protocol, fraction, arm): `value, low, high, p, p_holm, seeds, findings, incomplete, replicates,
        sd_over_seeds`; `p_holm` is adjusted over all rows, and `incomplete` of the `replicates` lacked some finding
        (see `metrics.evaluation.mixed`).
    """
    rows = []
    names = common_findings(evaluations)
    places = dict.fromkeys((p, f, a) for a, p, f, _ in evaluations if a != baseline)
    for protocol, fraction, arm in places:
        pairs = [
            (read_evaluation(folder), read_evaluation(evaluations[baseline, protocol, fraction, seed]))
            for (a, p, f, seed), folder in evaluations.items()
            if (a, p, f) == (arm, protocol, fraction) and (baseline, protocol, fraction, seed) in evaluations
        ]
        if pairs and names:
            found = _paired(pairs, names, replicates)
            rows.append({"protocol": protocol, "fraction": fraction, "arm": arm, "baseline": baseline, **found})
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    columns = ["protocol", "fraction", "arm", "baseline", "value", "low", "high", "p", "p_holm", "seeds", "findings"]
    return pd.DataFrame(rows, columns=[*columns, "incomplete", "replicates", "sd_over_seeds"])


def _paired(pairs: Sequence[tuple[Evaluation, Evaluation]], names: Sequence[str], replicates: int) -> dict[str, Any]:
    y, one, two, each = [], [], [], []
    for first, second in pairs:
        if list(first.predictions["image_id"]) != list(second.predictions["image_id"]):
            raise DataError("Two evaluations of one study scored different images.", fix="Run the study anew.")
        y.append(scored_targets(first, names))
        one.append(first.predictions[list(names)].to_numpy())
        two.append(second.predictions[list(names)].to_numpy())
        each.append(macro_auroc(y[-1], one[-1]) - macro_auroc(y[-1], two[-1]))
    patients = pairs[0][0].truth["patient_id"].to_numpy()
    seeds = np.repeat(np.arange(len(pairs)), len(names))
    stacked = [np.concatenate(part, axis=1) for part in (y, one, two)]
    found = paired_difference(
        stacked[0], stacked[1], stacked[2], list(patients), groups=list(seeds), replicates=replicates
    )
    kept = {name: found.get(name) for name in ("value", "low", "high", "p")}
    kept |= {"incomplete": found.get("incomplete", 0), "replicates": replicates}
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else np.nan
    return kept | {"seeds": len(pairs), "findings": len(names), "sd_over_seeds": spread}
