"""`kontrast finetune`: encoder and classifier trained together on labels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import require, verb
from kontrast.options import Calibrate, Device, at_least
from kontrast.types import Outcome

if TYPE_CHECKING:
    from kontrast.artifacts.classifier import Classifier
    from kontrast.engine.finetuning import BestOnValidation, Supervised
    from kontrast.engine.loop import FitResult
    from kontrast.engine.starting import Start
    from kontrast.engine.supervision import Labelled

TEACHER = "teacher"
"""Folder within the Classifier's, of the Classifier that filled labels for it."""

LEAST_STEPS = 200
"""A tenth of the labels is a tenth of the steps in an epoch; below this many in all, more epochs are run."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How an encoder is fine-tuned."""

    label_fraction: float = 1.0
    """Share of the training patients whose labels are used, in (0, 1]; smaller shares lie within larger ones."""
    draw: int | None = None
    """Seed of the draw of patients alone; --seed when left out."""
    stratify: bool | None = None
    """Draw patients so that each finding keeps its share of positives, as far as there are enough."""
    loss: Literal["bce", "focal"] = "bce"
    """bce: binary cross-entropy; focal: the same, each cell weighted (1 - p)^gamma."""
    focal_gamma: float = 2.0
    """Focus of the focal loss, at least 0."""
    pos_weight: Literal["none", "balanced"] = "none"
    """balanced: positives weigh negatives over positives, at most 20. None by default: no gain in AUROC is known."""
    sampler: Literal["uniform", "weighted"] = "uniform"
    """weighted: images with rare findings are drawn more often. It shifts the learnt priors."""
    uncertain: str = "zeros"
    """What -1 means: zeros, ones, ignore, soft, multiclass (a third class in training) or selftrained (a model that
    ignores such labels fills them); per finding as `zeros,Edema=ones`; or `chexpert-best`."""
    blank: Literal["negative", "ignore"] = "negative"
    """What a blank label means: the finding is absent, or nothing is known."""
    findings: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """Findings to learn; all that have both classes among the training labels when left out."""
    epochs: int | None = None
    """Passes over the drawn images; left out: 15, or as many as make 200 steps."""
    batch_size: int = 32
    """Images a step, over all processes; lowered to the number of images drawn."""
    lr: float = 1e-4
    """Peak learning rate of the encoder."""
    head_lr_scale: float = 10.0
    """The head's learning rate over the encoder's."""
    start_head: Literal["probe", "random"] = "probe"
    """probe: start from the linear probe's head, which keeps the features from being torn (arXiv:2202.10054)."""
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    """Optimiser."""
    weight_decay: float = 0.01
    """Of tensors with two dimensions or more."""
    schedule: Literal["cosine", "onecycle", "constant"] = "cosine"
    """Learning rate over the run; cosine begins with a twentieth of warm-up."""
    clip: float = 1.0
    """Largest global gradient norm."""
    recipe: Literal["xray", "natural", "none"] = "xray"
    """Augmentation: gentle for X-rays, the usual for photographs, or none."""
    patience: int = 0
    """Epochs without a better validation AUROC before stopping; 0: run them all. The best epoch is kept either way."""
    threshold_rule: Literal["f1", "youden"] = "f1"
    """How thresholds are chosen on the validation split."""
    calibrate: Calibrate = "platt"
    permute_labels: bool | None = None
    """Train on labels permuted among the images: a Classifier that knows nothing, for `explain --permuted` alone."""
    encoder: str | None = None
    """Architecture, when ENCODER is `random`, `imagenet` or a file of weights."""
    size: int | None = None
    """Input size in pixels, when ENCODER is no artifact; the Pack's own when left out."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Arithmetic; auto: bf16 where the machine has it."""
    device: Device = "auto"
    seed: int = 0
    """Seed of the draw of patients, the order, the augmentation and a random encoder."""

    def __post_init__(self) -> None:
        require(
            0 < self.label_fraction <= 1,
            f"--label-fraction should be above 0 and at most 1, got {self.label_fraction}.",
            "Write 0.1 for a tenth of the patients.",
        )
        for name in ("batch_size", "lr", "head_lr_scale", "clip"):
            value = getattr(self, name)
            require(value > 0, f"--{name.replace('_', '-')} should be above 0, got {value}.", "Leave it out.")
        at_least(self, epochs=1, focal_gamma=0, patience=0, weight_decay=0, draw=0, size=1, seed=0)


@verb
def finetune(
    encoder: Path,
    pack: Path,
    /,
    *,
    out: Path,
    config: Annotated[FinetuneConfig, Parameter(name="*")] = FinetuneConfig(),
    dry_run: bool = False,
    allow_changes: bool = False,
    allow_overlap: bool = False,
) -> Outcome:
    """Train encoder and classifier together on labelled images.

    The epoch with the best macro AUROC on the Pack's validation split is kept, and thresholds are chosen there; the
    test split is not touched. Every run starts from a fresh copy of the weights. The same command again resumes; under
    torchrun the processes share each batch.

    Args:
        encoder: an Encoder, `random`, `imagenet`, or a file of weights.
        pack: a labelled Pack.
        out: folder for the Classifier.
        config: how to train.
        dry_run: say what would be done, write nothing.
        allow_changes: go on with an unfinished run although settings or the Pack are others now; the card keeps which.
        allow_overlap: train though val or test share patients or images with what trains; every figure is marked.

    Raises:
        LeakageError: they do, and it was not allowed.
        TrainingError: no finding has both classes among the labels used, or the loss is not finite.
    """
    import contextlib

    from kontrast import distributed
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.classifier import Classifier
    from kontrast.artifacts.lock import locked
    from kontrast.engine.finetuning import reset_head
    from kontrast.engine.probing import start_from_probe
    from kontrast.engine.starting import Start, start

    allowed = {"allow_changes": allow_changes, "allow_overlap": allow_overlap}
    begun = start("finetune", encoder, pack, out, config, dry_run=dry_run, **allowed)
    if not isinstance(begun, Start):
        return begun
    folder = Path(out)
    if distributed.is_main() and begun.state == "new":
        claim(folder, "classifier", config=begun.asked, parents=begun.parents)
    with locked(folder) if distributed.is_main() else contextlib.nullcontext():
        if config.permute_labels:
            begun = replace(begun, task=begun.task.permuted(config.seed))
        begun = _self_trained(begun, encoder, pack, config, folder, allowed)
        model = _model(Classifier(begun.encoder, begun.spec, begun.task.findings), begun.task, config)
        if config.start_head == "random":
            reset_head(model.classifier.linear, config.seed)
        else:
            start_from_probe(model, begun.task, begun.device, min(config.batch_size, len(begun.task.train)))
        result, best = _train(model, begun, config, folder, allow_changes=allow_changes)
        summary = _close(model.classifier, begun, result, best, config, folder)
    distributed.barrier()
    return Outcome("finetune", Path(out), "done", summary)


def _self_trained(
    begun: "Start", encoder: Path, pack: Path, config: FinetuneConfig, folder: Path, allowed: dict[str, bool]
) -> "Start":
    """What to train on, with the labels that are left to another model filled by it (U-SelfTrained).

    The other is trained by this very command with these labels ignored, and stays in `teacher`: an artifact like any
    other, which resumes and is done like any other.
    """
    from kontrast.artifacts.classifier import load_classifier
    from kontrast.data.labels import untaught
    from kontrast.engine.features import predict

    task = begun.task
    if not task.untold.any():
        return begun
    console.say(f"Self-training: a model without them fills {int(task.untold.sum()):,} uncertain labels.")
    without = replace(config, uncertain=untaught(config.uncertain, task.pack.findings), findings=task.findings)
    made = finetune(encoder, pack, out=folder / TEACHER, config=without, **allowed)
    teacher, _, _ = load_classifier(made, permuted=bool(config.permute_labels))
    columns = [teacher.findings.index(name) for name in task.findings]
    filled = predict(teacher, task.pack, task.train, begun.device, raw=True)[:, columns]
    return replace(begun, task=task.filled(filled))


def _train(
    model: "Supervised", begun: "Start", config: FinetuneConfig, folder: Path, *, allow_changes: bool
) -> "tuple[FitResult, BestOnValidation]":
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.seen import keep_seen
    from kontrast.engine.batches import Batches
    from kontrast.engine.checkpoint import described
    from kontrast.engine.finetuning import BestOnValidation, restore_best
    from kontrast.engine.loop import LoopConfig, fit
    from kontrast.engine.sampling import balanced_sampling_weights

    def take() -> None:
        keep_seen(folder, begun.seen)
        claim(folder, "classifier", config=begun.asked, parents=begun.parents, allow_changes=allow_changes)

    spec, task, device = begun.spec, begun.task, begun.device
    drawing = None
    if config.sampler == "weighted":
        drawing = balanced_sampling_weights(task.targets[task.train], task.weights[task.train])
    batch_size = min(config.batch_size, len(task.train))
    batches = Batches([(task.pack, task.train)], batch_size, config.seed, device, weights=drawing, size=spec.size)
    epochs = config.epochs
    if epochs is None:
        epochs = max(15, -(-LEAST_STEPS // batches.steps_per_epoch))
        console.decided("--epochs", epochs, f"{epochs * batches.steps_per_epoch} steps of {batch_size} images")
    steps = epochs * batches.steps_per_epoch
    best = BestOnValidation(task, config.patience, epochs, device)
    loop = LoopConfig(
        steps=steps, lr=config.lr, optimizer=config.optimizer, weight_decay=config.weight_decay,
        schedule=config.schedule, warmup=steps / 20, clip=config.clip, precision=config.precision,
    )  # fmt: skip
    result = fit(
        model, batches, loop, out=folder, device=device, hooks=[best], title="finetune",
        settings=described(begun.asked, begun.parents, encoder=spec.name, findings=list(task.findings)),
        allow_changes=allow_changes, settled=take,
    )  # fmt: skip
    restore_best(model.classifier, best)
    return result, best


def _model(classifier: "Classifier", task: "Labelled", config: FinetuneConfig) -> "Supervised":
    """The classifier with its loss and its views, as the training loop takes it."""
    from functools import partial

    from kontrast.engine.finetuning import Supervised
    from kontrast.engine.losses import LOSSES, focal
    from kontrast.views.recipes import FINETUNE

    loss: Any = partial(focal, gamma=config.focal_gamma) if config.loss == "focal" else LOSSES[config.loss]
    return Supervised(
        classifier, task, loss, FINETUNE[config.recipe].at(classifier.spec.size),
        balance=config.pos_weight == "balanced", head_lr_scale=config.head_lr_scale,
        gamma=config.focal_gamma if config.loss == "focal" else 0.0,
    )  # fmt: skip


def _close(
    classifier: "Classifier",
    begun: "Start",
    result: "FitResult",
    best: "BestOnValidation",
    config: FinetuneConfig,
    folder: Path,
) -> dict[str, Any]:
    """Choose thresholds, write the artifact, drop the checkpoints."""
    from kontrast import distributed
    from kontrast.artifacts.card import CLAIM
    from kontrast.artifacts.classifier import PERMUTED, save_classifier
    from kontrast.artifacts.seen import Seen
    from kontrast.engine.checkpoint import remove_checkpoints
    from kontrast.engine.features import predict
    from kontrast.engine.supervision import fit_of, frozen, say_validation, validate

    task = begun.task
    probabilities = predict(classifier, task.pack, task.val, begun.device)
    scores = validate(task, probabilities)
    summary = task.counts() | {
        "steps": result.steps,
        "images_seen": result.steps * min(config.batch_size, len(task.train)),
        "best_epoch": best.epoch or None,
        "val": scores,
    }
    if config.permute_labels:
        fit = fit_of(task, predict(classifier, task.pack, task.train, begun.device, raw=True))
        summary |= {"fit": fit}
        console.say(f"Fit of the permuted labels: macro AUROC {fit:.3f} on the very images that were trained on.")
    elif not best.weights:
        console.warn("validation could not choose an epoch: the last one is kept.")
    if distributed.is_main():
        if len(task.val):
            say_validation({"AUROC": scores})
        content = {"summary": summary, "protocol": "finetune", "label_policy": task.policy, **result.provenance()}
        content |= begun.marks() | ({PERMUTED: True} if config.permute_labels else {})
        save_classifier(
            folder, classifier, **frozen(task, probabilities, config.threshold_rule, config.calibrate),
            config=begun.asked, parents=begun.parents, content=content, seen=Seen.load(folder),
        )  # fmt: skip
        remove_checkpoints(folder, CLAIM)
    return summary
