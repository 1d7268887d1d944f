"""The tables of a label-efficiency study: curves with bands, labels saved, and what could be learnt from how much."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import read_card
from kontrast.artifacts.evaluation import read_evaluation, scored_targets
from kontrast.artifacts.wording import labels_needed
from kontrast.engine.comparison import Cells, common_findings
from kontrast.metrics.efficiency import band, labels_saved
from kontrast.metrics.intervals import bootstrap, index_units, mean_defined
from kontrast.metrics.scores import Array, Ranks

Place = tuple[str, str, float]
"""(arm, protocol, fraction)."""


def curves(evaluations: Cells, baseline: str, *, replicates: int = 1000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Macro AUROC over the runs (draws and seeds) of each place in the grid, and the labels that arms save.

    Every cell is resampled on the same patients, so a curve and its baseline move together.

    Args:
        evaluations: the grid.
        baseline: its score with the most labels is what the others are to reach.
        replicates: bootstrap replicates.

    Returns:
        One row a place: `arm, protocol, fraction, runs, auroc, low, high` (of the test sample) and `sd_over_runs`.
        One row an arm and protocol that has several fractions and a baseline: as `metrics.efficiency.labels_saved`.
    """
    names = common_findings(evaluations)
    places: dict[Place, list[Path]] = {}
    for (arm, protocol, fraction, _), folder in evaluations.items():
        places.setdefault((arm, protocol, fraction), []).append(folder)
    columns = ["arm", "protocol", "fraction", "runs", "auroc", "low", "high", "sd_over_runs"]
    if not names:
        return pd.DataFrame(columns=columns), pd.DataFrame(columns=SAVED)
    points, drawn, each = _scored(list(places.values()), names, replicates)
    rows = [
        {"arm": arm, "protocol": protocol, "fraction": fraction, "runs": len(each[i]), "auroc": points[i]}
        | dict[str, Any](band(drawn[i]))
        | {"sd_over_runs": float(np.std(each[i], ddof=1)) if len(each[i]) > 1 else np.nan}
        for i, (arm, protocol, fraction) in enumerate(places)
    ]
    at = {place: i for i, place in enumerate(places)}
    return pd.DataFrame(rows, columns=columns), _saved(at, points, drawn, baseline)


SAVED = [
    "protocol", "arm", "baseline", "goal", "fraction", "low", "high", "saved", "saved_low", "saved_high", "censored",
    "never",
]  # fmt: skip


def _saved(at: Mapping[Place, int], points: Array, drawn: Array, baseline: str) -> pd.DataFrame:
    rows = []
    for arm, protocol in dict.fromkeys((arm, protocol) for arm, protocol, _ in at):
        fractions = sorted(f for a, p, f in at if (a, p) == (arm, protocol))
        goal = at.get((baseline, protocol, fractions[-1]))
        if arm == baseline or goal is None or len(fractions) < 2:
            continue
        mine = [at[arm, protocol, fraction] for fraction in fractions]
        found = labels_saved(fractions, points[mine], drawn[mine], float(points[goal]), drawn[goal])
        rows.append({"protocol": protocol, "arm": arm, "baseline": baseline, "goal": points[goal], **found})
    return pd.DataFrame(rows, columns=SAVED)


def _scored(
    places: Sequence[Sequence[Path]], names: Sequence[str], replicates: int
) -> tuple[Array, Array, list[list[float]]]:
    """Macro AUROC averaged over the runs of each place: (K,) on the data, (K, R) in replicates; and each run's."""
    runs = []
    patients = read_evaluation(places[0][0]).truth["patient_id"].to_numpy()
    units, total = index_units(patients)
    for folders in places:
        ranks = []
        for folder in folders:
            found = read_evaluation(folder)
            y, s = scored_targets(found, names), found.predictions[list(names)].to_numpy()
            known = ~np.isnan(y)
            ranks.append([Ranks.of(y[k, f], s[k, f], units[k], total) for f, k in enumerate(known.T)])
        runs.append(ranks)

    def macro(one: Sequence[Ranks], w: Array) -> Array:
        return mean_defined(np.stack([ranks.areas(w)[0] for ranks in one]))

    def everything(w: Array) -> Array:
        return np.stack([np.mean([macro(one, w) for one in ranks], axis=0) for ranks in runs])

    ones = np.ones((total, 1))
    each = [[float(macro(one, ones)[0]) for one in ranks] for ranks in runs]
    return everything(ones)[:, 0], bootstrap(everything, total, replicates=replicates), each


def learnt(classifiers: Mapping[tuple[str, str, float, Any], Path]) -> pd.DataFrame:
    """What each fraction of the labels could teach: one row a fraction and finding.

    Args:
        classifiers: the grid → folders of the Classifiers.

    Returns:
        `fraction, finding, trainings, learnt` (in how many of them), `fewest` and `most` positives among the training
        images where it was, and `reason` (why not, of the first where it was not).
    """
    found: dict[tuple[float, str], dict[str, Any]] = {}
    for (_, _, fraction, _), folder in classifiers.items():
        summary = read_card(folder).content["summary"]
        for name, positives in summary["positives"].items():
            found.setdefault((fraction, name), {"positives": [], "reasons": []})["positives"].append(positives)
        for name, reason in summary["dropped"].items():
            found.setdefault((fraction, name), {"positives": [], "reasons": []})["reasons"].append(reason)
    rows = [
        {
            "fraction": fraction, "finding": name, "trainings": len(one["positives"]) + len(one["reasons"]),
            "learnt": len(one["positives"]), "fewest": min(one["positives"], default=0),
            "most": max(one["positives"], default=0), "reason": next(iter(one["reasons"]), ""),
        }
        for (fraction, name), one in sorted(found.items(), key=lambda item: item[0][0])
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["fraction", "finding", "trainings", "learnt", "fewest", "most", "reason"])


def best_of_search(
    scored: Sequence[tuple[Any, Mapping[str, Any], float | None]],
) -> tuple[pd.DataFrame, dict[Place, dict[str, Any]]]:
    """What validation prefers of the options tried, for each place in the grid; of equals the first.

    Args:
        scored: the cell that was trained (`engine.grid.Cell`), the options, and macro AUROC on validation (None where
            it is undefined, which loses to any number).

    Returns:
        One row a training (`arm, protocol, fraction`, the options, `val_auroc`, `chosen`), and the options by place.
    """
    best: dict[Place, int] = {}
    for number, (cell, _, value) in enumerate(scored):
        place = (cell.arm, cell.protocol, cell.fraction)
        before = best.get(place)
        if before is None or (value is not None and value > _or_least(scored[before][2])):
            best[place] = number
    rows = [
        {"arm": cell.arm, "protocol": cell.protocol, "fraction": cell.fraction, **tried}
        | {"val_auroc": value, "chosen": int(best[cell.arm, cell.protocol, cell.fraction] == number)}
        for number, (cell, tried, value) in enumerate(scored)
    ]
    return pd.DataFrame(rows), {place: dict(scored[number][1]) for place, number in best.items()}


def _or_least(value: float | None) -> float:
    return -np.inf if value is None else value


def say_saved(saved: pd.DataFrame) -> None:
    """Print with what share of the labels each arm reaches the baseline's score with the most."""
    records: list[dict[str, Any]] = [{str(k): v for k, v in one.items()} for one in saved.to_dict("records")]
    rows = [[one["arm"], one["protocol"], *labels_needed(one)] for one in records]
    if rows:
        title = f"Labels with which {saved['baseline'].iloc[0]}'s score on the most labels is reached"
        console.table(title, ["arm", "protocol", "share [95 %]", "saved"], rows)
