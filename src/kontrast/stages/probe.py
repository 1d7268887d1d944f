"""`kontrast probe`: a linear classifier on frozen features."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kontrast.config import require, verb
from kontrast.options import Calibrate, Device, at_least
from kontrast.types import Outcome


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """How a linear probe is trained."""

    label_fraction: float = 1.0
    """Share of the training patients whose labels are used, in (0, 1]; smaller shares lie within larger ones."""
    draw: int | None = None
    """Seed of the draw of patients alone; --seed when left out."""
    stratify: bool | None = None
    """Draw patients so that each finding keeps its share of positives, as far as there are enough."""
    uncertain: str = "zeros"
    """What -1 means: zeros, ones, ignore, soft, multiclass (a third class in training) or selftrained (a probe that
    ignores such labels fills them); per finding as `zeros,Edema=ones`; or `chexpert-best`."""
    blank: Literal["negative", "ignore"] = "negative"
    """What a blank label means: the finding is absent, or nothing is known."""
    findings: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """Findings to learn; all that have both classes among the training labels when left out."""
    threshold_rule: Literal["f1", "youden"] = "f1"
    """How thresholds are chosen on the validation split."""
    calibrate: Calibrate = "platt"
    neighbours: int = 20
    """Neighbours of the kNN that is reported beside the linear probe."""
    head: Literal["linear", "knn"] | None = None
    """knn: the Classifier is kNN itself, which keeps the features of its training images; left out: linear."""
    encoder: str | None = None
    """Architecture, when ENCODER is `random`, `imagenet` or a file of weights."""
    size: int | None = None
    """Input size in pixels, when ENCODER is no artifact; the Pack's own when left out."""
    batch_size: int = 256
    """Images at a time while features are computed; no effect on the result."""
    device: Device = "auto"
    seed: int = 0
    """Seed of the draw of patients and of a random encoder."""

    def __post_init__(self) -> None:
        require(
            0 < self.label_fraction <= 1,
            f"--label-fraction should be above 0 and at most 1, got {self.label_fraction}.",
            "Write 0.1 for a tenth of the patients.",
        )
        at_least(self, neighbours=1, batch_size=1, draw=0, size=1, seed=0)


@verb
def probe(
    encoder: Path,
    pack: Path,
    /,
    *,
    out: Path,
    config: Annotated[ProbeConfig, Parameter(name="*")] = ProbeConfig(),
    dry_run: bool = False,
    allow_overlap: bool = False,
) -> Outcome:
    """Train a linear classifier on frozen features (kNN beside it).

    Logistic regressions with an L2 penalty that is chosen by macro AUROC on the Pack's validation split; thresholds
    come from there too. The test split is not touched.

    Args:
        encoder: an Encoder, `random`, `imagenet`, or a file of weights.
        pack: a labelled Pack.
        out: folder for the Classifier.
        config: how to train.
        dry_run: say what would be done, write nothing.
        allow_overlap: train though val or test share patients or images with what trains; every figure is marked.

    Raises:
        LeakageError: they do, and it was not allowed.
        TrainingError: no finding has both classes among the labels used.
    """
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.classifier import save_classifier
    from kontrast.artifacts.lock import locked
    from kontrast.engine.probing import fit_probe
    from kontrast.engine.starting import Start, start
    from kontrast.engine.supervision import say_validation

    begun = start("probe", encoder, pack, out, config, dry_run=dry_run, allow_overlap=allow_overlap)
    if not isinstance(begun, Start):
        return begun
    folder = claim(out, "classifier", config=begun.asked, parents=begun.parents).folder
    with locked(folder):
        fitted = fit_probe(
            begun.encoder, begun.spec, begun.task, device=begun.device, batch_size=config.batch_size,
            neighbours=config.neighbours, rule=config.threshold_rule, calibrate=config.calibrate,
            near=config.head == "knn",
        )  # fmt: skip
        mine = "kNN" if config.head == "knn" else "linear"
        say_validation({mine: fitted.summary["val"], fitted.other: fitted.summary[f"val_{fitted.other.lower()}"]})
        summary = begun.task.counts() | fitted.summary
        protocol = "knn" if config.head == "knn" else "probe"
        content = {"summary": summary, "protocol": protocol, "label_policy": begun.task.policy}
        content |= begun.marks()
        save_classifier(
            folder, fitted.classifier, **fitted.frozen, config=begun.asked, parents=begun.parents,
            content=content, seen=begun.seen,
        )  # fmt: skip
    return Outcome("probe", Path(out), "done", summary)
