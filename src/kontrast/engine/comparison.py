"""Comparing arms on the same test cases: the grid's tables, paired differences, and folds on frozen features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast import console
from kontrast.artifacts.card import parent
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.evaluation import Evaluation, read_evaluation
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.data.labels import targets as make_targets
from kontrast.data.splits import folds as make_folds
from kontrast.engine.features import embed
from kontrast.engine.linear import fit_path
from kontrast.errors import DataError
from kontrast.metrics.evaluation import score_table
from kontrast.metrics.intervals import paired_difference
from kontrast.metrics.scores import auroc

SCORED = ("auroc", "ap", "f1", "kappa")


Cells = Mapping[tuple[str, str, float, int], Path]
"""(arm, protocol, fraction, seed) → the folder of its evaluation."""


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


def gather(evaluations: Cells) -> pd.DataFrame:
    """One row a cell: its place in the grid, how many findings it learnt, and scores on test averaged over the
    findings common to all cells (`common` of them); NaN where undefined.
    """
    rows = []
    names = common_findings(evaluations)
    for (arm, protocol, fraction, seed), folder in evaluations.items():
        found = read_evaluation(folder)
        row: dict[str, Any] = {"arm": arm, "protocol": protocol, "fraction": fraction, "seed": seed}
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
        One row a (protocol, fraction, arm): `value, low, high, p, seeds, findings, sd_over_seeds`.
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
    columns = ["protocol", "fraction", "arm", "baseline", "value", "low", "high", "p", "seeds", "findings"]
    return pd.DataFrame(rows, columns=[*columns, "sd_over_seeds"])


def _paired(pairs: Sequence[tuple[Evaluation, Evaluation]], names: Sequence[str], replicates: int) -> dict[str, Any]:
    y, one, two, each = [], [], [], []
    for first, second in pairs:
        if list(first.predictions["image_id"]) != list(second.predictions["image_id"]):
            raise DataError("Two evaluations of one study scored different images.", fix="Run the study anew.")
        y.append(scored_targets(first, names))
        one.append(first.predictions[list(names)].to_numpy())
        two.append(second.predictions[list(names)].to_numpy())
        each.append(_macro(y[-1], one[-1]) - _macro(y[-1], two[-1]))
    patients = pairs[0][0].truth["patient_id"].to_numpy()
    seeds = np.repeat(np.arange(len(pairs)), len(names))
    stacked = [np.concatenate(part, axis=1) for part in (y, one, two)]
    found = paired_difference(
        stacked[0], stacked[1], stacked[2], list(patients), groups=list(seeds), replicates=replicates
    )
    kept = {name: found.get(name) for name in ("value", "low", "high", "p")}
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else np.nan
    return kept | {"seeds": len(pairs), "findings": len(names), "sd_over_seeds": spread}


def scored_targets(evaluation: Evaluation, findings: Sequence[str]) -> np.ndarray:
    """Truth as it was scored: (n, F) of 1, 0 and NaN = ignored, by the evaluation's own label policy."""
    policy = evaluation.scores["label_policy"]
    values = evaluation.truth[list(evaluation.findings)].to_numpy(dtype=np.float64)
    y, w = make_targets(values, evaluation.findings, policy["uncertain"], policy["blank"])
    columns = [evaluation.findings.index(name) for name in findings]
    return np.where(w > 0, y, np.nan)[:, columns]


def _macro(y: np.ndarray, s: np.ndarray) -> float:
    values = np.array([auroc(y[:, f], s[:, f], (~np.isnan(y[:, f])).astype(float)) for f in range(y.shape[1])])
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def crossvalidate(
    pack: Pack,
    encoders: Mapping[str, str],
    architectures: Mapping[str, str],
    *,
    baseline: str,
    folds: int,
    findings: Sequence[str] = (),
    uncertain: str = "zeros",
    blank: str = "negative",
    seed: int = 0,
    replicates: int = 1000,
) -> dict[str, Any]:
    """Linear probes on frozen features in patient-grouped folds: no image is scored by a probe that met its patient.

    Only rows that no encoder has met are used, so the folds hold nothing that pretraining saw (as far as patients
    are known). The penalty is chosen within each fold's training part, by inner folds.

    Args:
        pack: labelled.
        encoders: arm → what it starts from.
        architectures: arm → architecture, where the start names none.
        baseline: the arm that the others are compared with.
        folds: number of folds.
        findings: which; all with both classes when empty.
        uncertain: label policy of training and scoring (soft: ignored).
        blank: likewise.
        seed: of the folds and of random weights.
        replicates: bootstrap replicates.

    Returns:
        Per arm `macro` and per finding AUROC with intervals, differences from the baseline, and what was used.
    """
    loaded = {}
    for arm, source in encoders.items():
        named = architectures[arm] if not Path(source).is_dir() else None
        loaded[arm] = load_encoder(source, encoder=named, seed=seed, pack=pack)
    rows = _unseen(pack, [seen for _, _, seen in loaded.values()])
    patients = pack.table["patient_id"].to_numpy()[rows]
    names = list(findings) or list(pack.findings)
    columns = [pack.findings.index(name) for name in names]
    policy = uncertain.replace("soft", "ignore")
    y, w = make_targets(pack.labels(rows), pack.findings, policy, blank)
    y, w = y[:, columns], w[:, columns]
    both = [i for i in range(len(names)) if 0 < (y[:, i] * w[:, i]).sum() < w[:, i].sum()]
    y, w, names = y[:, both], w[:, both], [names[i] for i in both]
    fold = make_folds(patients, folds, seed)
    truth = np.where(w > 0, y, np.nan)
    result: dict[str, Any] = {
        "folds": folds, "images": len(rows), "patients": len(set(patients)), "findings": names, "baseline": baseline,
        "label_policy": {"uncertain": policy, "blank": blank}, "pack": parent("pack", pack.path).sha256,
        "arms": {}, "differences": {},
    }  # fmt: skip
    scores = {}
    for arm, (network, spec, _) in loaded.items():
        console.say(f"  {arm}: {len(rows):,} images no encoder has met, {folds} folds by patient")
        x = embed(network, spec, pack, rows)
        scores[arm] = out_of_fold(x, y, w, patients, fold, seed)
        table = score_table(truth, scores[arm], names, patients=patients, replicates=replicates)
        result["arms"][arm] = {
            "macro": table["macro"]["auroc"],
            "findings": {name: table["findings"][name]["auroc"] for name in names},
        }
    for arm in (a for a in scores if a != baseline and baseline in scores):
        result["differences"][arm] = paired_difference(
            truth, scores[arm], scores[baseline], list(patients), replicates=replicates
        )
    return result


def _unseen(pack: Pack, seen: Sequence[Seen]) -> np.ndarray:
    """Rows of patients and images that none of the encoders has met."""
    table = pack.table
    fresh = np.ones(len(pack), dtype=bool)
    for one in seen:
        met = one.table
        fresh &= ~table["sha256"].str[:16].isin(set(met["sha256"])).to_numpy()
        if pack.patients_known:
            known = set(met.loc[met["key_id"] == pack.key_id, "patient_id"])
            fresh &= ~table["patient_id"].isin(known).to_numpy()
    return np.flatnonzero(fresh)


def out_of_fold(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, patients: np.ndarray, fold: np.ndarray, seed: int
) -> np.ndarray:
    """Probabilities (n, F) of each image from a probe fitted on the other folds; penalty by three inner folds."""
    out = np.zeros(y.shape)
    for number in np.unique(fold):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        inner = make_folds(list(patients[inside]), 3, seed)
        tried = []
        for part in np.unique(inner):
            fit, check = inside[inner != part], inside[inner == part]
            path = fit_path(x[fit], y[fit], w[fit])
            known = np.where(w[check] > 0, y[check], np.nan)
            tried.append([_macro(known, linear.probabilities(x[check])) for linear in path])
        best = int(np.argmax(np.nan_to_num(np.nanmean(tried, axis=0), nan=0.0)))
        linear = fit_path(x[inside], y[inside], w[inside])[best]
        out[outside] = linear.probabilities(x[outside])
    return out
