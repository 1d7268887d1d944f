"""`kontrast score`: any system's predictions, scored as kontrast's own are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import require, to_dict, verb
from kontrast.types import Outcome


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How predictions are scored."""

    thresholds: Path | None = None
    """JSON {finding: value}, CSV with finding,threshold, or a Classifier; without it F1, kappa and such are null."""
    id: str | None = None
    """The column that both files share, recognised when left out (image_id, Study, Path …)."""
    patient: str | None = None
    """The column that names patients, recognised when left out; without one rows are resampled."""
    uncertain: str = "zeros"
    """What -1 counts as: zeros, ones or ignore; per finding as `zeros,Edema=ones`."""
    blank: Literal["negative", "ignore"] = "negative"
    """What a blank label counts as: the finding is absent, or the case is not scored for it."""
    replicates: int = 1000
    """Bootstrap replicates behind the 95 % intervals; 0 for no intervals."""
    seed: int = 0
    """Seed of the bootstrap; the same seed gives two systems the same replicates."""

    def __post_init__(self) -> None:
        require(self.replicates >= 0, f"--replicates should be 0 or more, got {self.replicates}.", "Try 1000.")


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
    import numpy as np

    from kontrast.artifacts.card import claim, read_card, sha256_file
    from kontrast.artifacts.evaluation import say_scores, write_evaluation
    from kontrast.artifacts.foreign import match, read_thresholds
    from kontrast.artifacts.lock import locked
    from kontrast.data.labels import targets
    from kontrast.metrics.evaluation import score_table

    predictions, truth = Path(predictions), Path(truth)
    matched = match(predictions, truth, id_column=config.id, patient=config.patient)
    limits = read_thresholds(Path(config.thresholds), matched.findings) if config.thresholds else None
    y, w = targets(matched.truth[list(matched.findings)].to_numpy(), matched.findings, config.uncertain, config.blank)
    # The files have no cards, so their checksums stand for parents: the same command on changed files is another.
    inputs = {"predictions": predictions, "truth": truth, "thresholds": _file(config.thresholds)}
    asked = to_dict(config) | {"sha256": {name: sha256_file(path) for name, path in inputs.items() if path}}
    taken = claim(out, "evaluation", config=asked, dry_run=dry_run)
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("score", Path(out), "already done", read_card(out).content["summary"])
    for note in matched.notes:
        console.say(f"  {note}.")
    if dry_run:
        console.say(f"Would score {len(y):,} rows for {', '.join(matched.findings)}.")
        return Outcome("score", Path(out), "planned", {"rows": len(y), "findings": list(matched.findings)})
    with locked(taken.folder):
        scores: dict[str, Any] = score_table(
            np.where(w > 0, y, np.nan), matched.scores, matched.findings,
            patients=matched.truth["patient_id"].to_numpy() if matched.patients_known else None,
            thresholds=limits, split=_one(matched.truth["split"]), replicates=config.replicates, seed=config.seed,
            label_policy={"uncertain": config.uncertain, "blank": config.blank},
        )  # fmt: skip
        scores["note"] = "; ".join(matched.notes)
        done = write_evaluation(
            taken.folder, truth=matched.truth, predictions=matched.scores, findings=matched.findings, scores=scores,
            config=asked, content={"seed": config.seed, "patients_known": matched.patients_known},
        )  # fmt: skip
    say_scores(scores)
    return Outcome("score", Path(out), "done", done.content["summary"])


def _file(thresholds: Path | None) -> Path | None:
    path = Path(thresholds) if thresholds else None
    return path / "card.json" if path is not None and path.is_dir() else path


def _one(values: Any) -> str | None:
    """The one word in a column, or None."""
    found = set(values)
    return found.pop() if len(found) == 1 and found != {""} else None
