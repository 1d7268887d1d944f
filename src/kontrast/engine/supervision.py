"""Labels made ready for training: which patients, findings and cells count; and what came out on validation."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from kontrast import console
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.config import choose
from kontrast.data.labels import described, for_scoring, left_open
from kontrast.data.labels import targets as make_targets
from kontrast.data.splits import draw_patients
from kontrast.errors import TrainingError, UsageError
from kontrast.metrics.calibration import corrected, fit
from kontrast.metrics.scores import auroc, macro_auroc
from kontrast.metrics.thresholds import choose_all
from kontrast.types import by_reason, counted


@dataclass(frozen=True)
class Labelled:
    """The labelled part of a Pack that one run uses.

    Attributes:
        pack: the Pack.
        findings: what is learnt, F names.
        dropped: findings left out, with the reason.
        train: rows of the drawn training patients.
        val: rows of the validation split, all of them: choosing is done on it, training never.
        targets: (N, F) float32 in [0, 1], for every row of the Pack; read at `train` and `val` only.
        weights: (N, F) float32, 0 = ignored.
        third: (N, F) bool, the uncertain cells of `train` that are a class of their own (policy `multiclass`); their
            weight is 0.
        untold: (N, F) bool, those that a model trained without them is to fill (policy `selftrained`); their weight
            is 0 until it has.
        policy: the label policy, printed beside every figure.
        fraction: share of training patients drawn.
        earlier: images whose labels made or chose the encoder before; `fraction` does not count them.
    """

    pack: Pack
    findings: tuple[str, ...]
    dropped: dict[str, str]
    train: np.ndarray
    val: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    third: np.ndarray
    untold: np.ndarray
    policy: dict[str, str]
    fraction: float
    earlier: int = 0

    def counts(self) -> dict[str, Any]:
        """Images and patients used, for cards and summaries."""
        patients = self.pack.table["patient_id"].to_numpy()
        return {
            "label_policy": self.policy,
            "label_fraction": self.fraction,
            "train_images": len(self.train),
            "train_patients": len(np.unique(patients[self.train])),
            "val_images": len(self.val),
            "val_patients": len(np.unique(patients[self.val])),
            "positives": dict(zip(self.findings, self._positives(), strict=True)),
            "dropped": self.dropped,
            **({"earlier_labels": self.earlier} if self.earlier else {}),
        }

    def _positives(self) -> list[int]:
        """Training images labelled 1, of each finding: uncertain ones are none, whatever target a policy gives them."""
        columns = [self.pack.findings.index(name) for name in self.findings]
        return [int(n) for n in (self.pack.labels(self.train)[:, columns] == 1).sum(axis=0)]

    def _shares(self) -> list[list[str]]:
        """For each finding the images labelled 1 of those whose label counts, in words, of `train` and of `val`."""
        columns = [self.pack.findings.index(name) for name in self.findings]
        counting = (self.weights > 0) | self.third | self.untold
        parts = [
            [
                f"{int(n):,} / {int(of):,}"
                for n, of in zip(
                    (self.pack.labels(rows)[:, columns] == 1).sum(axis=0), counting[rows].sum(axis=0), strict=True
                )
            ]
            for rows in (self.train, self.val)
        ]
        return [list(row) for row in zip(self.findings, *parts, strict=True)]

    def describe(self) -> None:
        """Say what is used."""
        counts = self.counts()
        console.say(
            f"Training on {counted(counts['train_images'], 'image')} of {counted(counts['train_patients'], 'patient')} "
            f"({100 * self.fraction:.4g} % of the training patients); "
            f"choosing on {counted(counts['val_images'], 'image')} of val."
        )
        console.say(f"Labels: uncertain = {self.policy['uncertain']}, blank = {self.policy['blank']}.")
        if not self.pack.patients_known:
            console.warn("this Pack has no patient ids: each image counts as its own patient.")
        if self.earlier:
            console.warn(f"the labels of {counted(self.earlier, 'image')} made or chose this encoder before.")
        console.table("Positives / labels that count", ["finding", "train", "val"], self._shares())
        if self.dropped:
            console.warn(f"left out: {by_reason(self.dropped)}.")

    @property
    def three(self) -> np.ndarray:
        """The columns of findings that are trained with three classes: (M,) int, empty where no label is uncertain."""
        return np.flatnonzero(self.third.any(axis=0))

    def filled(self, probabilities: np.ndarray) -> "Labelled":
        """The same labels with soft targets where a model was to fill them (U-SelfTrained, Irvin et al. 2019).

        Args:
            probabilities: (len(self.train), F) of the training images, by a model that ignored these cells.
        """
        targets, weights = self.targets.copy(), self.weights.copy()
        cells = self.untold[self.train]
        targets[self.train] = np.where(cells, probabilities, targets[self.train])
        weights[self.train] = np.where(cells, 1, weights[self.train])
        return replace(self, targets=targets, weights=weights, untold=np.zeros_like(self.untold))

    def permuted(self, seed: int) -> "Labelled":
        """The same with the rows of labels permuted among the training images, and without validation.

        Rows stay whole, so that each finding keeps its prevalence and its company. A classifier of such labels is what
        the maps of one of true labels are compared with (data randomisation of Adebayo et al. 2018, arXiv:1810.03292);
        it is to fit them, so nothing chooses an earlier epoch.
        """
        order = self.train[np.random.default_rng([seed, 2]).permutation(len(self.train))]
        moved = {}
        for name in ("targets", "weights", "third", "untold"):
            moved[name] = getattr(self, name).copy()
            moved[name][self.train] = getattr(self, name)[order]
        return replace(self, val=self.val[:0], **moved)

    def seen(self) -> Seen:
        """What the classifier's weights and choices were made with."""
        return Seen.of(self.pack, self.train, "train") + Seen.of(self.pack, self.val, "val")


def labelled(
    pack: Pack,
    *,
    label_fraction: float,
    uncertain: str,
    blank: Literal["negative", "ignore"],
    findings: tuple[str, ...],
    seed: int,
    draw: int | None = None,
    stratify: bool = False,
) -> Labelled:
    """Draw the training patients and turn their labels into targets.

    Patients are drawn in an order that the seed fixes, so that a smaller fraction lies within a larger one; `draw` is
    a seed of its own for that order, and with `stratify` each finding keeps its share (`data.splits.stratified_order`).

    Raises:
        UsageError: the Pack has no labels, or not that finding.
        TrainingError: no finding has both classes among the labels drawn.
    """
    if not pack.findings:
        raise UsageError("This Pack has no labels.", fix="Give `kontrast prepare` a table with --labels.")
    chosen = [choose(name, pack.findings, "--findings") for name in findings] or list(pack.findings)
    train = pack.rows("train")
    if len(train) == 0:
        raise UsageError("This Pack has no training images.", fix="Prepare it with a smaller --test-fraction.")
    positive = pack.labels(train) == 1 if stratify else None
    order = seed if draw is None else draw
    drawn = draw_patients(pack.table["patient_id"].to_numpy()[train], label_fraction, order, positive)
    train, val = train[drawn], pack.rows("val")
    targets, weights = _targets(pack, train, val, uncertain, blank, seed)
    third, untold = (_left_open(pack, train, uncertain, policy) for policy in ("multiclass", "selftrained"))
    kept, dropped = _scorable(targets, weights, train, pack.findings, chosen)
    if not kept:
        raise TrainingError(
            f"None of the findings has both classes among the labels of {len(train)} training images.",
            fix="Raise --label-fraction, try another --seed, or --blank negative.",
        )
    columns = [pack.findings.index(name) for name in kept]
    return Labelled(
        pack=pack,
        findings=tuple(kept),
        dropped=dropped,
        train=train,
        val=val,
        targets=targets[:, columns],
        weights=weights[:, columns],
        third=third[:, columns],
        untold=untold[:, columns],
        policy={"uncertain": described(uncertain, pack.findings), "blank": blank},
        fraction=label_fraction,
    )


def _targets(
    pack: Pack, train: np.ndarray, val: np.ndarray, uncertain: str, blank: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    shape = (len(pack), len(pack.findings))
    targets, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    rng = np.random.default_rng([seed, 1])
    # Soft labels are a way to train. Where something is chosen, an uncertain label counts for nothing instead.
    for rows, policy in ((train, uncertain), (val, for_scoring(uncertain, pack.findings))):
        targets[rows], weights[rows] = make_targets(pack.labels(rows), pack.findings, policy, blank, rng)
    return targets, weights


def _left_open(pack: Pack, train: np.ndarray, uncertain: str, policy: str) -> np.ndarray:
    cells = np.zeros((len(pack), len(pack.findings)), dtype=bool)
    cells[train] = left_open(pack.labels(train), pack.findings, uncertain, policy)
    return cells


def _scorable(
    targets: np.ndarray, weights: np.ndarray, train: np.ndarray, findings: tuple[str, ...], chosen: list[str]
) -> tuple[list[str], dict[str, str]]:
    kept, dropped = [], {}
    for name in chosen:
        column = findings.index(name)
        known = targets[train, column][weights[train, column] > 0]
        positives = int((known > 0.5).sum())
        if len(known) == 0:
            dropped[name] = "no training label counts under this policy"
        elif positives in (0, len(known)):
            dropped[name] = f"all {len(known)} training labels are {'negative' if positives == 0 else 'positive'}"
        else:
            kept.append(name)
    return kept, dropped


def validate(task: Labelled, probabilities: np.ndarray) -> dict[str, Any]:
    """AUROC on validation for each finding and their mean, None where it is undefined, and what it rests on.

    Args:
        task: the labels.
        probabilities: (len(task.val), F).

    Returns:
        `macro_auroc`, and by finding `auroc`, `n` (images whose label counts) and `positives` among them.
    """
    y, w = task.targets[task.val], task.weights[task.val]
    values = [auroc(y[:, i], probabilities[:, i], w[:, i]) for i in range(len(task.findings))]
    defined = [float(v) for v in values if not np.isnan(v)]
    return {
        "macro_auroc": float(np.mean(defined)) if defined else None,
        "auroc": {f: None if np.isnan(v) else float(v) for f, v in zip(task.findings, values, strict=True)},
        "n": {f: int((w[:, i] > 0).sum()) for i, f in enumerate(task.findings)},
        "positives": {f: int(((y[:, i] > 0.5) & (w[:, i] > 0)).sum()) for i, f in enumerate(task.findings)},
    }


def fit_of(task: Labelled, probabilities: np.ndarray) -> float:
    """Macro AUROC on the training images themselves: how well their labels are fitted, not how well anything is known.

    Args:
        task: the labels; soft ones count as positive above a half.
        probabilities: (len(task.train), F).
    """
    y, w = task.targets[task.train], task.weights[task.train]
    return macro_auroc(np.where(w > 0, y > 0.5, np.nan), probabilities)


def frozen(task: Labelled, probabilities: np.ndarray, rule: str, calibrate: str) -> dict[str, dict[str, Any]]:
    """What validation fixes in the Classifier: `calibration`, and `thresholds` on the probabilities it corrects.

    Args:
        task: the labels.
        probabilities: of `task.val`, (n, F), as the network gives them.
        rule: of the thresholds.
        calibrate: one of `metrics.calibration.CALIBRATE`.
    """
    y, w = task.targets[task.val], task.weights[task.val]
    truth = np.where(w > 0, y, np.nan)
    fits = {name: fit(truth[:, f], probabilities[:, f], calibrate) for f, name in enumerate(task.findings)}
    slopes, intercepts = ([one[key] for one in fits.values()] for key in ("slope", "intercept"))
    chosen = choose_all(truth, corrected(probabilities, slopes, intercepts), task.findings, rule)
    return {"thresholds": chosen, "calibration": {} if calibrate == "none" else {"method": calibrate, "findings": fits}}


def say_validation(scores: dict[str, dict[str, Any]]) -> None:
    """Print AUROC on validation, one line a finding with how many images it rests on, a column for each classifier.

    Args:
        scores: from `validate`, by what stands over the column; the first is of the Classifier that is made.
    """
    first = next(iter(scores.values()))

    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = [
        [f, str(n), str(first["positives"][f]), *(text(one["auroc"][f]) for one in scores.values())]
        for f, n in first["n"].items()
    ]
    held = sum(value is not None for value in first["auroc"].values())
    rows.append([f"macro of {held}", "", "", *(text(one["macro_auroc"]) for one in scores.values())])
    console.table("AUROC on validation", ["finding", "n", "pos", *scores], rows)
