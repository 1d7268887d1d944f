"""`kontrast score`: any system's predictions, scored as kontrast's own are."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kontrast import console
from kontrast.config import to_dict, verb
from kontrast.options import (
    Interval,
    OverViews,
    Prevalence,
    Replicates,
    ScoredBlank,
    ScoredBy,
    ScoredUncertain,
    at_least,
)
from kontrast.types import Outcome

if TYPE_CHECKING:
    import numpy as np

    from kontrast.artifacts.card import Parent
    from kontrast.artifacts.foreign import Matched


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How predictions are scored."""

    thresholds: Path | None = None
    """JSON {finding: value}, CSV with finding,threshold, or a Classifier; without it F1, kappa and such are null."""
    against: Path | None = None
    """CSV of another system's scores of the same cases: paired differences, PREDICTIONS less these."""
    readers: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] | None = None
    """CSV files of readers' calls (1 or 0) of the same cases: their operating points, drawn on the ROC curves."""
    id: str | None = None
    """The column that both files share, recognised when left out (image_id, Study, Path …)."""
    patient: str | None = None
    """The column that names patients, recognised when left out; without one rows are resampled."""
    uncertain: ScoredUncertain = "zeros"
    blank: ScoredBlank = "negative"
    by: ScoredBy = "image"
    over_views: OverViews = "max"
    prevalence: Prevalence = None
    interval: Interval = "bca"
    replicates: Replicates = 1000
    seed: int = 0
    """Seed of the bootstrap; the same seed gives two systems the same replicates."""

    def __post_init__(self) -> None:
        at_least(self, replicates=0, seed=0)


@verb
def score(
    predictions: Path,
    truth: Path,
    /,
    *,
    out: Path,
    config: Annotated[ScoreConfig, Parameter(name="*")] = ScoreConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Score any system's predictions from CSV files, the same way.

    Columns are matched by name and rows by id, in whatever order they stand. Scores outside 0 to 1 are ranked as they
    are. The evaluation that is written holds ids and patients as the files give them.

    Args:
        predictions: CSV with an id column and one column of scores per finding.
        truth: CSV with the same id column and 1, 0, -1 (uncertain) or blank per finding.
        out: folder for the evaluation.
        config: how to match and to score.
        dry_run: say what would be done, write nothing.

    Raises:
        DataError: files, ids, labels or scores that do not fit; the message says which.
        UsageError: --id or --patient is no column, or a label policy is unknown.
    """
    from kontrast.artifacts.card import read_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.evaluation import write_evaluation
    from kontrast.artifacts.foreign import match
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.terminal import say_scores
    from kontrast.engine.scoring import check_request

    predictions, truth = Path(predictions), Path(truth)
    matched = match(predictions, truth, id_column=config.id, patient=config.patient)
    targets, limits = _targets(matched, config)
    other = _other(matched, truth, config)
    people = _readers(truth, config)
    check_request(matched.truth, matched.findings, config.by, config.prevalence)
    inputs = _inputs(predictions, truth, config)
    taken = claim(out, "evaluation", config=to_dict(config), parents=inputs, dry_run=dry_run)
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("score", Path(out), "already done", read_card(out).content["summary"])
    for note in matched.notes:
        console.say(f"  {note}.")
    console.say(f"  Overlap with training: {UNKNOWN['text']}.")
    for note in _marks(_one(matched.truth["split"])):
        console.warn(f"{note}.")
    if dry_run:
        console.say(f"Would score {len(targets):,} rows for {', '.join(matched.findings)}.")
        return Outcome("score", Path(out), "planned", {"rows": len(targets), "findings": list(matched.findings)})
    with locked(taken.folder):
        scores = _score(matched, targets, limits, config) | _against(matched, other, targets, config)
        scores |= _points(matched, people, targets, config)
        done = write_evaluation(
            taken.folder, truth=matched.truth, predictions=matched.scores, findings=matched.findings, scores=scores,
            config=to_dict(config), parents=inputs,
            content={"seed": config.seed, "patients_known": matched.patients_known},
        )  # fmt: skip
    say_scores(scores)
    return Outcome("score", Path(out), "done", done.content["summary"])


def _targets(matched: "Matched", config: ScoreConfig) -> "tuple[np.ndarray, dict[str, Any] | None]":
    """Targets by the label policy, (n, F) of 1, 0 and NaN = ignored, and thresholds by finding."""
    import numpy as np

    from kontrast.artifacts.foreign import read_thresholds
    from kontrast.data.labels import targets

    limits = read_thresholds(Path(config.thresholds), matched.findings) if config.thresholds else None
    y, w = targets(matched.truth[list(matched.findings)].to_numpy(), matched.findings, config.uncertain, config.blank)
    return np.where(w > 0, y, np.nan), limits


def _other(matched: "Matched", truth: Path, config: ScoreConfig) -> "Matched | None":
    """The other system's scores beside the same truth."""
    from kontrast.artifacts.foreign import match
    from kontrast.errors import DataError

    if config.against is None:
        return None
    other = match(Path(config.against), truth, id_column=config.id, patient=config.patient)
    if not set(other.findings) & set(matched.findings):
        raise DataError(
            f"--against {config.against} scores {', '.join(other.findings)}, of which PREDICTIONS has none.",
            fix="Name columns alike in both files.",
        )
    return other


def _inputs(predictions: Path, truth: Path, config: ScoreConfig) -> "list[Parent]":
    """What the scores are made from: the files have no cards, so their own checksums stand for them."""
    from kontrast.artifacts.card import CARD, Parent, sha256_file

    paths = {"predictions": predictions, "truth": truth}
    if config.against:
        paths["against"] = Path(config.against)
    paths |= {f"reader {i + 1}": Path(path) for i, path in enumerate(config.readers or ())}
    if config.thresholds:
        given = Path(config.thresholds)
        paths["thresholds"] = given / CARD if given.is_dir() else given
    return [Parent(role=role, kind="file", sha256=sha256_file(path)) for role, path in paths.items()]


def _score(
    matched: "Matched", targets: "np.ndarray", limits: dict[str, Any] | None, config: ScoreConfig
) -> dict[str, Any]:
    from kontrast.engine.scoring import score_rows

    split = _one(matched.truth["split"])
    scores = score_rows(
        matched.truth, targets, matched.scores, matched.findings, patients_known=matched.patients_known,
        by=config.by, over_views=config.over_views, prevalence=config.prevalence, method=config.interval,
        thresholds=limits, split=split, replicates=config.replicates, seed=config.seed,
        label_policy={"uncertain": config.uncertain, "blank": config.blank},
    )  # fmt: skip
    return scores | {"overlap": UNKNOWN, "note": "; ".join([*matched.notes, *_marks(split)])}


UNKNOWN = dict.fromkeys(("patients", "images", "near_copies"), "unknown") | {
    "text": "unknown, since the files do not tell what the system was trained on"
}
"""What these cases share with the training of a system of which there is nothing but its scores."""

HELPED = {"train": "train the system", "val": "choose its thresholds or settings"}
"""What cases of a split may have been used for, by its name in the truth."""


def _marks(split: str | None) -> list[str]:
    """What must stand beside scores of a split that is no test."""
    return (
        [f"these cases are of {split}: if they helped to {HELPED[split]}, the figures flatter"]
        if split in HELPED
        else []
    )


def _against(matched: "Matched", other: "Matched | None", targets: "np.ndarray", config: ScoreConfig) -> dict[str, Any]:
    """Paired differences from the other system over the findings that both score."""
    from kontrast.engine.scoring import compare_rows

    if other is None:
        return {}
    both = [name for name in matched.findings if name in other.findings]
    ours, theirs = ([one.findings.index(name) for name in both] for one in (matched, other))
    found = compare_rows(
        matched.truth, targets[:, ours], matched.scores[:, ours], other.scores[:, theirs], both,
        patients_known=matched.patients_known, by=config.by, over_views=config.over_views,
        replicates=config.replicates, seed=config.seed,
    )  # fmt: skip
    return {"against": found}


def _readers(truth: Path, config: ScoreConfig) -> "dict[str, Matched]":
    """Each reader's calls beside the same truth, by the name of the file."""
    import numpy as np

    from kontrast.artifacts.foreign import match
    from kontrast.errors import DataError

    found = {}
    for path in map(Path, config.readers or ()):
        reader = match(path, truth, id_column=config.id, patient=config.patient)
        bad = int((~np.isin(reader.scores, (0, 1))).sum())
        if bad:
            raise DataError(
                f"--readers {path} holds {bad:,} values that are neither 0 nor 1.",
                fix="A reader calls a finding or does not; give scores between as PREDICTIONS or --against.",
            )
        if path.stem in found:
            raise DataError(f"Two of --readers are called {path.stem}.", fix="Name the files apart.")
        found[path.stem] = reader
    return found


def _points(
    matched: "Matched", readers: "dict[str, Matched]", targets: "np.ndarray", config: ScoreConfig
) -> dict[str, Any]:
    """Where each reader stands for each finding, and the system at the same specificity, over the cases scored.

    With `by` study a reader calls a study where any of its images is called, whatever is made of the system's scores.
    """
    from kontrast.metrics.roc import reader_point
    from kontrast.metrics.studies import by_study

    truth, scores = targets, matched.scores
    calls = {name: reader.scores for name, reader in readers.items()}
    if config.by == "study":
        studies = matched.truth["study_id"].fillna("").astype(str).to_numpy()
        people = matched.truth["patient_id"].to_numpy() if matched.patients_known else None
        truth, scores, _ = by_study(targets, matched.scores, studies, config.over_views, people)
        calls = {name: by_study(called, called, studies, "max", people)[1] for name, called in calls.items()}
    found = {
        name: {
            finding: reader_point(truth[:, f], scores[:, f], calls[name][:, reader.findings.index(finding)])
            for f, finding in enumerate(matched.findings)
            if finding in reader.findings
        }
        for name, reader in readers.items()
    }
    return {"readers": found} if found else {}


def _one(values: Any) -> str | None:
    """The one word in a column, or None."""
    found = set(values)
    return found.pop() if len(found) == 1 and found != {""} else None
