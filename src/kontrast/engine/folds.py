"""Frozen features compared in patient-grouped folds of the images that no encoder has met."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kontrast import console
from kontrast.artifacts.card import parent
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.data.labels import for_scoring
from kontrast.data.labels import targets as make_targets
from kontrast.data.splits import folds as make_folds
from kontrast.engine.features import embed
from kontrast.engine.linear import fit_path
from kontrast.metrics.evaluation import repeated_auroc
from kontrast.metrics.intervals import mean_defined, paired_difference
from kontrast.metrics.scores import macro_auroc

INITIALISATIONS = 3
"""Random encoders that stand for an arm of random weights: a single one may be lucky."""

WITHIN = "within folds"
"""How AUROC is taken, in the file: version 0.1.0 pooled scores over folds and said nothing."""


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
    are known). The penalty is chosen within each fold's training part, by inner folds. AUROC is taken within each
    fold, whose scores come from one probe, and averaged over folds (`metrics.scores.auroc_within`). An arm of random
    weights is the mean over three initialisations; an arm with weights of its own has but one.

    Args:
        pack: labelled.
        encoders: arm → what it starts from.
        architectures: arm → architecture, where the start names none.
        baseline: the arm that the others are compared with.
        folds: number of folds.
        findings: which; all with both classes when empty.
        uncertain: label policy of training and scoring; what only training can use is ignored in both.
        blank: likewise.
        seed: of the folds, and the first of random weights.
        replicates: bootstrap replicates.

    Returns:
        Per arm `macro` and per finding AUROC with intervals and the number of `initialisations`, differences from the
        baseline, and what was used.
    """
    loaded = {arm: _load(source, architectures[arm], seed, pack) for arm, source in encoders.items()}
    rows = _unseen(pack, [seen for runs in loaded.values() for _, _, seen in runs])
    patients = pack.table["patient_id"].to_numpy()[rows]
    policy = {"uncertain": for_scoring(uncertain, pack.findings), "blank": blank}
    names, y, w = _targets(pack, rows, list(findings) or list(pack.findings), policy)
    truth = np.where(w > 0, y, np.nan)
    fold = make_folds(patients, folds, seed)
    scores, arms = {}, {}
    for arm, runs in loaded.items():
        console.say(f"  {arm}: {len(rows):,} images no encoder has met, {folds} folds by patient")
        scores[arm] = [
            out_of_fold(embed(network, spec, pack, rows), y, w, patients, fold, seed) for network, spec, _ in runs
        ]
        found = repeated_auroc(truth, scores[arm], names, patients=patients, strata=fold, replicates=replicates)
        arms[arm] = found | {"initialisations": len(runs)}
    differences = {
        arm: _difference(truth, scores[arm], scores[baseline], patients, fold, replicates)
        for arm in scores
        if arm != baseline and baseline in scores
    }
    return {
        "folds": folds, "images": len(rows), "patients": len(set(patients)), "findings": names, "baseline": baseline,
        "auroc": WITHIN, "label_policy": policy,
        "pack": parent("pack", pack.path).sha256, "replicates": replicates, "arms": arms,
        "differences": differences,
    }  # fmt: skip


def _load(source: str, architecture: str, seed: int, pack: Pack) -> list[tuple[Any, Any, Seen]]:
    """The encoders that an arm stands for: one, or several initialisations of random weights."""
    named = None if Path(source).is_dir() else architecture
    count = INITIALISATIONS if source == "random" else 1
    return [load_encoder(source, encoder=named, seed=seed + i, pack=pack) for i in range(count)]


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


def _targets(
    pack: Pack, rows: np.ndarray, findings: Sequence[str], policy: Mapping[str, Any]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The findings that have both classes among the rows, their targets and weights (n, F)."""
    y, w = make_targets(pack.labels(rows), pack.findings, policy["uncertain"], policy["blank"])
    columns = [pack.findings.index(name) for name in findings]
    both = [i for i in columns if 0 < (y[:, i] * w[:, i]).sum() < w[:, i].sum()]
    return [pack.findings[i] for i in both], y[:, both], w[:, both]


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
            tried.append([macro_auroc(known, linear.probabilities(x[check])) for linear in path])
        best = int(np.argmax(np.nan_to_num(mean_defined(np.array(tried)), nan=0.0)))
        linear = fit_path(x[inside], y[inside], w[inside])[best]
        out[outside] = linear.probabilities(x[outside])
    return out


def _difference(
    truth: np.ndarray,
    one: Sequence[np.ndarray],
    two: Sequence[np.ndarray],
    patients: np.ndarray,
    fold: np.ndarray,
    replicates: int,
) -> dict[str, Any]:
    """One arm less another, paired on the same patients, averaged over their initialisations."""
    count = max(len(one), len(two))
    first, second = (np.hstack([runs[i % len(runs)] for i in range(count)]) for runs in (one, two))
    groups = np.repeat(np.arange(count), truth.shape[1])
    return paired_difference(
        np.tile(truth, count), first, second, list(patients), groups=list(groups), strata=fold, replicates=replicates
    )
