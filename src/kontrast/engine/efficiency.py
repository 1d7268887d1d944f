"""The tables of a label-efficiency study: curves with bands, labels saved, and what could be learnt from how much."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import read_card
from kontrast.artifacts.evaluation import read_evaluation, scored_targets
from kontrast.artifacts.wording import labels_needed, no_interval
from kontrast.engine.comparison import Cells, Run, common_findings
from kontrast.metrics.efficiency import RUNS, band, labels_saved, resample_runs
from kontrast.metrics.intervals import bootstrap, index_units, mean_defined
from kontrast.metrics.scores import Array, Ranks
from kontrast.types import counted

Place = tuple[str, str, float]
"""(arm, protocol, fraction)."""


def curves(evaluations: Cells, baseline: str, *, replicates: int = 1000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Macro AUROC over the runs (draws and seeds) of each place in the grid, and the labels that arms save.

    Every cell is resampled on the same patients, so a curve and its baseline move together. What is saved is resampled
    over runs too, those of one draw and seed together: another run would have had another curve.

    Args:
        evaluations: the grid.
        baseline: its score with the most labels is what the others are to reach.
        replicates: bootstrap replicates.

    Returns:
        One row a place: `arm, protocol, fraction, runs, auroc, low, high` (of the test sample) and `sd_over_runs`.
        One row an arm and protocol that has several fractions and a baseline: as `metrics.efficiency.labels_saved`;
        without interval and with a `reason` where some fraction has fewer than RUNS runs.
    """
    names = common_findings(evaluations)
    places: dict[Place, dict[Run, Path]] = {}
    for (arm, protocol, fraction, run), folder in evaluations.items():
        places.setdefault((arm, protocol, fraction), {})[run] = folder
    columns = ["arm", "protocol", "fraction", "runs", "auroc", "low", "high", "sd_over_runs"]
    if not names:
        return pd.DataFrame(columns=columns), pd.DataFrame(columns=SAVED)
    each, drawn = _scored([list(runs.values()) for runs in places.values()], names, replicates)
    points = np.array([np.mean(one) for one in each])
    rows = [
        {"arm": arm, "protocol": protocol, "fraction": fraction, "runs": len(each[i]), "auroc": points[i]}
        | dict[str, Any](band(drawn[i].mean(axis=0)))
        | {"sd_over_runs": float(np.std(each[i], ddof=1)) if len(each[i]) > 1 else np.nan}
        for i, (arm, protocol, fraction) in enumerate(places)
    ]
    at = {place: i for i, place in enumerate(places)}
    weights = resample_runs([list(runs) for runs in places.values()], replicates)
    moved = np.stack([(one * w).sum(axis=0) for one, w in zip(drawn, weights, strict=True)])
    return pd.DataFrame(rows, columns=columns), _saved(at, points, moved, [len(runs) for runs in each], baseline)


SAVED = [
    "protocol", "arm", "baseline", "goal", "fraction", "low", "high", "saved", "saved_low", "saved_high", "censored",
    "never", "reason",
]  # fmt: skip


def _saved(at: Mapping[Place, int], points: Array, drawn: Array, runs: Sequence[int], baseline: str) -> pd.DataFrame:
    rows = []
    for arm, protocol in dict.fromkeys((arm, protocol) for arm, protocol, _ in at):
        fractions = sorted(f for a, p, f in at if (a, p) == (arm, protocol))
        goal = at.get((baseline, protocol, fractions[-1]))
        if arm == baseline or goal is None or len(fractions) < 2:
            continue
        mine = [at[arm, protocol, fraction] for fraction in fractions]
        fewest, reason = min(runs[i] for i in [*mine, goal]), ""
        if fewest < RUNS:
            reason = f"no interval: {counted(fewest, 'run')} at some fraction, fewer than {RUNS}"
        kept = drawn[:, :0] if reason else drawn
        found = labels_saved(fractions, points[mine], kept[mine], float(points[goal]), kept[goal])
        about = {"protocol": protocol, "arm": arm, "baseline": baseline, "goal": points[goal]}
        rows.append(about | found | {"reason": reason})
    return pd.DataFrame(rows, columns=SAVED)


def _scored(places: Sequence[Sequence[Path]], names: Sequence[str], replicates: int) -> tuple[list[Array], list[Array]]:
    """Macro AUROC of each run of each place: (runs,) on the data, and (runs, R) in replicates of the patients."""
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
        return np.stack([macro(one, w) for ranks in runs for one in ranks])

    ends = np.cumsum([len(ranks) for ranks in runs])[:-1]
    points = everything(np.ones((total, 1)))[:, 0]
    return np.split(points, ends), np.split(bootstrap(everything, total, replicates=replicates), ends)


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
    reasons = dict.fromkeys(filter(None, map(no_interval, records)))
    if rows:
        title = f"Labels with which {saved['baseline'].iloc[0]}'s score on the most labels is reached"
        console.table(title, ["arm", "protocol", "share [95 %]", "saved"], rows)
        for reason in reasons:
            console.say(f"  {reason[:1].upper()}{reason[1:]}.")
