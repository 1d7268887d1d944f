"""`kontrast evaluate`: a Classifier on a split that it has not met."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import to_dict, verb
from kontrast.errors import ArtifactError, DataError, LeakageError, UsageError
from kontrast.options import (
    Device,
    ImagesAtATime,
    Interval,
    OverViews,
    Prevalence,
    Replicates,
    ScoredBlank,
    ScoredBy,
    ScoredUncertain,
    at_least,
)
from kontrast.types import SPLITS, Outcome

if TYPE_CHECKING:
    import numpy as np
    import torch

    from kontrast.artifacts.card import Card
    from kontrast.artifacts.classifier import Classifier
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.seen import Seen


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How a Classifier is evaluated."""

    split: Literal["train", "val", "test"] = "test"
    """Split to score. val chose the thresholds and train the weights, so both flatter; that is marked."""
    uncertain: ScoredUncertain = "zeros"
    blank: ScoredBlank = "negative"
    by: ScoredBy = "image"
    over_views: OverViews = "max"
    prevalence: Prevalence = None
    interval: Interval = "bca"
    replicates: Replicates = 1000
    batch_size: ImagesAtATime = 256
    device: Device = "auto"
    seed: int = 0
    """Seed of the bootstrap; the same seed gives two classifiers the same replicates."""
    allow_overlap: bool = False
    """Score even though patients or images were met in training; every figure is then marked."""

    def __post_init__(self) -> None:
        at_least(self, replicates=0, batch_size=1, seed=0)


@verb
def evaluate(
    classifier: Path,
    pack: Path,
    /,
    *,
    out: Path,
    config: Annotated[EvaluateConfig, Parameter(name="*")] = EvaluateConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Predict a split and score it, with intervals by patient.

    AUROC, average precision, F1, Cohen's kappa, sensitivity, specificity, calibration and more, for each finding, their
    mean and their pool; calls at the thresholds that the Classifier carries from validation. Writes predictions.csv,
    truth.csv and scores.json, which `kontrast score` or any other program can check.

    Args:
        classifier: a Classifier.
        pack: a labelled Pack.
        out: folder for the evaluation.
        config: what to score, and how.
        dry_run: say what would be done, write nothing.

    Raises:
        UsageError: the Pack lacks findings of the Classifier, or a label policy is unknown.
        DataError: the split is empty.
        LeakageError: patients or images of the split were met in training.
    """
    from kontrast.artifacts.card import parent, read_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.classifier import load_classifier
    from kontrast.artifacts.evaluation import write_evaluation
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.terminal import say_scores
    from kontrast.engine.precision import resolve_device
    from kontrast.engine.scoring import check_request

    model, card, seen = load_classifier(classifier)
    data = Pack.open(pack)
    # What can be refused is refused before the folder is claimed, so that it stays free for the mended command.
    rows = _rows(data, config.split)
    truth = _truth(data, rows, model.findings, config)
    check_request(data.table.iloc[rows], model.findings, config.by, config.prevalence)
    marks = _overlap(seen, card, data, rows, config)
    parents = [parent("classifier", classifier), parent("pack", pack)]
    device = resolve_device(config.device)
    taken = claim(out, "evaluation", config=to_dict(config), parents=parents, dry_run=dry_run)
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("evaluate", Path(out), "already done", read_card(out).content["summary"])
    _say_marks(marks)
    if dry_run:
        console.say(f"Would score {len(rows):,} images of {config.split} for {', '.join(model.findings)}.")
        return Outcome("evaluate", Path(out), "planned", {"rows": len(rows), "findings": list(model.findings)} | marks)
    with locked(taken.folder):
        raw = _predict(model, data, rows, device, config.batch_size)
        probabilities = model.calibrated(raw)
        scores = _score(data, rows, truth, probabilities, card, config) | marks
        if model.calibration:
            scores |= _before(data, rows, truth, raw, model, config)
        done = write_evaluation(
            taken.folder, truth=data.table.iloc[rows], predictions=probabilities, findings=model.findings,
            scores=scores, config=to_dict(config), parents=parents,
            content={"seed": config.seed, "patients_known": data.patients_known, "key_id": data.key_id},
        )  # fmt: skip
    say_scores(scores)
    return Outcome("evaluate", Path(out), "done", done.content["summary"])


def _rows(pack: "Pack", split: str) -> "np.ndarray":
    rows = pack.rows(split)
    if len(rows) == 0:
        held = {name: len(pack.rows(name)) for name in SPLITS}
        raise DataError(
            f"The split {split!r} of this Pack is empty ({', '.join(f'{k} {v:,}' for k, v in held.items())} images).",
            fix="Name another with --split, or prepare the Pack with a share for it.",
        )
    return rows


def _truth(pack: "Pack", rows: "np.ndarray", findings: tuple[str, ...], config: EvaluateConfig) -> "np.ndarray":
    """Targets of the Classifier's findings by the label policy: (n, F) of 1, 0 and NaN = ignored."""
    import numpy as np

    from kontrast.data.labels import targets

    missing = [name for name in findings if name not in pack.findings]
    if missing:
        raise UsageError(
            f"The Classifier knows {', '.join(missing)}, of which this Pack has no labels "
            f"(it has: {', '.join(pack.findings) or 'none'}).",
            fix="Prepare the Pack from a table with these columns; `--column` renames them.",
        )
    columns = [pack.findings.index(name) for name in findings]
    # By the Pack's findings: a policy may name one that this Classifier could not learn.
    y, w = targets(pack.labels(rows), pack.findings, config.uncertain, config.blank)
    return np.where(w > 0, y, np.nan)[:, columns]


def _overlap(seen: "Seen", card: "Card", pack: "Pack", rows: "np.ndarray", config: EvaluateConfig) -> dict[str, Any]:
    """What must stand beside every figure: `overlap`, and `note` where the figures flatter.

    Refused is a shared patient in what claims to be a test. The training and validation splits of the Classifier's
    own Pack can't but be shared, and nobody takes them for a test: those are marked.
    """
    from kontrast.artifacts.card import hashes_of
    from kontrast.artifacts.wording import CHOSEN_HERE

    found = seen.overlap(pack, rows)
    own = bool(hashes_of(pack.path) & {p.sha256 for p in card.parents}) and config.split != "test"
    if found.shared and not own and not config.allow_overlap:
        raise LeakageError(
            f"The split {config.split!r} is no test of this Classifier: {found.text}.",
            fix="Score patients that training has not met; --allow-overlap scores these and marks every figure.",
        )
    notes = []
    if config.split == "val" and own:
        notes.append(CHOSEN_HERE)
    if config.split == "train" and own:
        notes.append("train made the weights of this Classifier: these figures flatter")
    if found.shared:
        notes.append(f"not independent of training: {found.text}")
    earlier = (card.content.get("summary") or {}).get("earlier_labels")
    if card.content.get("overlap_note"):
        notes.append(card.content["overlap_note"])
    if earlier:
        notes.append(f"the labels of {earlier:,} images made or chose the encoder, beside those of the label fraction")
    if not pack.patients_known:
        notes.append("this Pack names no patients: each image counts as its own, and intervals are too narrow")
    patients = "unknown" if found.patients is None else found.patients
    near = "unknown" if found.near is None else found.near
    overlap = {"patients": patients, "images": found.images, "near_copies": near, "text": found.text}
    marks: dict[str, Any] = {"overlap": overlap}
    return marks | ({"note": "; ".join(notes)} if notes else {})


def _say_marks(marks: dict[str, Any]) -> None:
    overlap = marks["overlap"]
    console.say(f"Overlap with training: {overlap['text']}.")
    if overlap["patients"] == "unknown":
        console.warn("whether training has met these patients is unknown, which is not the same as no.")
    if "note" in marks:
        console.warn(f"{marks['note']}.")


def _predict(
    model: "Classifier", pack: "Pack", rows: "np.ndarray", device: "torch.device", batch_size: int
) -> "np.ndarray":
    import numpy as np

    from kontrast.engine.features import predict

    probabilities = predict(model, pack, rows, device, batch_size, raw=True)
    bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if bad:
        raise ArtifactError(
            f"The Classifier gives no finite probability for {bad:,} of {len(probabilities):,} images.",
            fix="Its weights are unusable: train it again, with a lower learning rate.",
        )
    return probabilities


def _before(
    pack: "Pack",
    rows: "np.ndarray",
    truth: "np.ndarray",
    raw: "np.ndarray",
    model: "Classifier",
    config: EvaluateConfig,
) -> dict[str, Any]:
    """The probabilities before their correction, and which that is."""
    from kontrast.engine.scoring import before_calibration

    options = {"patients_known": pack.patients_known, "by": config.by, "over_views": config.over_views}
    before = before_calibration(pack.table.iloc[rows], truth, raw, model.findings, **options)
    return {"calibration": dict(model.calibration), "before_calibration": before}


def _score(
    pack: "Pack",
    rows: "np.ndarray",
    truth: "np.ndarray",
    probabilities: "np.ndarray",
    card: "Card",
    config: EvaluateConfig,
) -> dict[str, Any]:
    """The table, and in `not_learnt` the findings that the Classifier was to learn and could not, with the reason."""
    from kontrast.data.labels import only
    from kontrast.engine.scoring import score_rows

    scores = score_rows(
        pack.table.iloc[rows], truth, probabilities, card.content["findings"], patients_known=pack.patients_known,
        by=config.by, over_views=config.over_views, prevalence=config.prevalence, method=config.interval,
        thresholds=card.content["thresholds"], split=config.split, replicates=config.replicates, seed=config.seed,
        label_policy={"uncertain": only(config.uncertain, card.content["findings"]), "blank": config.blank},
    )  # fmt: skip
    if config.split != "train":
        scores |= {"floor": _floor(pack, rows, truth, card.content["findings"], config)}
    scores |= {"trained_with": card.content["label_policy"]} if "label_policy" in card.content else {}
    absent = (card.content.get("summary") or {}).get("dropped")
    return scores | ({"not_learnt": absent} if absent else {})


def _floor(
    pack: "Pack", rows: "np.ndarray", truth: "np.ndarray", findings: list[str], config: EvaluateConfig
) -> dict[str, Any]:
    """What metadata alone reach on the same images, to stand beneath the AUROCs."""
    from kontrast.engine.floors import floor

    policy = {"uncertain": config.uncertain, "blank": config.blank}
    return floor(
        pack, rows, truth, findings, policy, over_views=config.over_views if config.by == "study" else None,
        replicates=config.replicates, seed=config.seed,
    )  # fmt: skip
