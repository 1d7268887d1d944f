"""`kontrast pretrain`: an encoder from images without labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import choose, require, to_dict, verb
from kontrast.types import Outcome, counted

if TYPE_CHECKING:
    import torch

    from kontrast.engine.planning import Plan
    from kontrast.nn.encoders import Encoder, EncoderSpec

Auto = Literal["auto"]

_METHODS = sorted(f.stem for f in (Path(__file__).parents[1] / "methods").glob("[a-z]*.py") if f.stem != "method")
"""Every method is a file; importing them to ask for their names would make --help wait for torch."""

NAMED = f"auto, {', '.join(_METHODS[:-1])} or {_METHODS[-1]}."


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """How an encoder is pretrained. What is left at auto is chosen for the data and the machine, and said."""

    method: Annotated[str, Parameter(help=NAMED)] = "auto"
    """auto, or a method of docs/methods."""
    encoder: str = "auto"
    """auto, resnet18, resnet34, resnet50, densenet121, vit_small or vit_base."""
    init: str = "random"
    """Weights to start from: random, imagenet, an Encoder or a file of weights."""
    recipe: Literal["xray", "natural"] = "xray"
    """Views for X-rays, or those of the method's own paper (for photographs)."""
    size: int | Auto = "auto"
    """Side of the views in pixels; auto: the smallest Pack's."""
    epochs: float | Auto = "auto"
    """Passes over the images; auto: as many as the machine bears, 10 to 400."""
    minutes: float | None = None
    """Time there is, in place of --epochs; a few measured steps say how many fit."""
    batch_size: int | Auto = "auto"
    """Images a step, over all processes; auto: up to 128 on a CPU, 256 on a GPU."""
    chunk_size: int | None = None
    """Images a process embeds at a time, for batches that the memory does not hold; they are compared whole."""
    lr: float | Auto = "auto"
    """Peak learning rate at this batch size; auto: the method's, scaled."""
    optimizer: Literal["auto", "adamw", "sgd", "lars"] = "auto"
    """auto: the method's."""
    weight_decay: float | Auto = "auto"
    """Of weights, not of biases and norms; auto: the method's."""
    warmup_epochs: float | Auto = "auto"
    """Linear warm-up before the cosine; auto: 5 % of the run, at most 10 epochs."""
    clip: float = 0.0
    """Largest gradient norm over all weights; 0 for any."""
    queue_length: int | Auto = "auto"
    """Negatives in MoCo's queue, or images in SwAV's."""
    momentum: float | Auto = "auto"
    """Of a teacher that follows (MoCo's key encoder, BYOL's target), 0 to 1; auto: from the run's length."""
    temperature: float | Auto = "auto"
    """Of similarities or predictions, above 0; auto: the paper's."""
    prototypes: int | Auto = "auto"
    """Of SwAV, DINO and DINOv2; auto: from the number of images."""
    options: dict[str, float | str] = field(default_factory=dict)
    """More of the method, by the names of its configuration: --options.dim 256. docs/methods has each method's."""
    positives: Literal["image", "study", "patient"] = "image"
    """Two views of one image, or of two images of a study or a patient; images without another keep to themselves."""
    same_patient_negatives: Literal["auto", "mask", "keep"] = "auto"
    """Whether other images of a patient are negatives (MoCo, MoCo v3, SimCLR); auto: mask where patients are known."""
    watch: str | None = None
    """A labelled Pack to score the encoder with while it trains: its train labels fit kNN and a linear probe, its val
    labels score them. The weights that score best are kept beside the last ones, as OUT/best."""
    watch_every: int | Auto = "auto"
    """Steps between those scores; auto: about twenty in the run."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """auto: bf16 where the hardware computes it, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: int = 0
    """Of weights, order and views."""

    def __post_init__(self) -> None:
        limits = {
            "epochs": 0, "minutes": 0, "batch_size": 1, "lr": 0, "size": 15, "temperature": 0, "queue_length": 0,
            "prototypes": 1, "chunk_size": 1, "watch_every": 0,
        }  # fmt: skip
        for name, low in limits.items():
            value = getattr(self, name)
            option = f"--{name.replace('_', '-')}"
            require(value in ("auto", None) or value > low, f"{option} should be above {low}, got {value}.", _LEAVE)
        for name in ("weight_decay", "warmup_epochs", "clip", "seed"):
            value = getattr(self, name)
            require(value == "auto" or value >= 0, f"--{name.replace('_', '-')} {value} is negative.", _LEAVE)
        require(
            self.momentum == "auto" or 0 <= self.momentum < 1,
            f"--momentum should be at least 0 and below 1, got {self.momentum}.",
            _LEAVE,
        )
        require(
            self.minutes is None or self.epochs == "auto",
            "--epochs and --minutes were both given.",
            "Give one: --epochs for a fixed run, --minutes for a fixed time.",
        )
        require(
            self.watch is not None or self.watch_every == "auto",
            "--watch-every was given without --watch.",
            "Name a labelled Pack with --watch, or leave --watch-every out.",
        )


_LEAVE = "Leave it out to have it chosen."


@verb
def pretrain(
    *packs: Path,
    out: Path,
    config: Annotated[PretrainConfig, Parameter(name="*")] = PretrainConfig(),
    on_collapse: Literal["warn", "stop"] = "warn",
    dry_run: bool = False,
    allow_changes: bool = False,
) -> Outcome:
    """Train an encoder on Packs without labels.

    Reads the train split only, and no label enters the weights. The same command again resumes; under torchrun the
    processes share each batch.

    Args:
        packs: one Pack or several.
        out: folder for the Encoder; progress is in its metrics.jsonl.
        config: how to train.
        on_collapse: at a sign of collapse say it and its likely cause (warn), or end there as well, all saved (stop).
        dry_run: say what would be done, write nothing.
        allow_changes: go on with an unfinished run although settings or Packs are others now; the card keeps which.

    Raises:
        UsageError: too few images or patients, or settings that do not fit them.
        LeakageError: pretraining meets patients of the watch's val split.
        TrainingError: the loss is not finite, or the run is collapsing and --on-collapse is stop.
        Interrupted: stopped by a signal after saving; exit code 75, or 130 for Ctrl-C.
    """
    import contextlib

    from kontrast import distributed
    from kontrast.artifacts.card import parent, read_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.encoder import source_name, source_parents
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.engine.precision import resolve_device
    from kontrast.engine.pretraining import train
    from kontrast.engine.watching import watcher
    from kontrast.methods import METHODS
    from kontrast.nn.encoders import ENCODERS

    require(len(packs) > 0, "No Pack was named.", "Name one: kontrast pretrain PACK --out ENCODER.")
    # Words first: a Pack can take a while to open.
    choose(config.method, ["auto", *METHODS], "--method")
    choose(config.encoder, ["auto", *ENCODERS], "--encoder")
    start = source_parents(config.init)
    device = resolve_device(config.device)
    out = Path(out)
    data = [Pack.open(pack) for pack in packs]
    parents = [parent("pack", pack) for pack in packs] + start
    parents += [parent("watch", config.watch)] if config.watch else []
    made: dict[str, Any] = {"config": to_dict(config) | {"start": source_name(config.init)}, "parents": parents}
    # A look first: a mistake that only shows while the run is planned must not leave the folder taken.
    look = claim(out, "encoder", **made, dry_run=True, allow_changes=allow_changes)
    distributed.barrier()  # all have looked before the first process writes
    state = distributed.broadcast_object(look.state)
    if state == "done":
        console.say(f"{out} is already done.")
        if distributed.is_main() and not dry_run:
            _tidy(out)
        return Outcome("pretrain", out, "already done", read_card(out).content["summary"])
    prepared = _prepare(data, config, device, out, measuring=not dry_run, anew=state == "changed")
    watch = watcher(prepared, config.watch, config.watch_every, device, out)
    if dry_run:
        return Outcome("pretrain", out, "planned", {"plan": _planned(prepared[0], prepared[2], out, config.minutes)})
    if distributed.is_main() and state == "new":
        claim(out, "encoder", **made)
    with locked(out) if distributed.is_main() else contextlib.nullcontext():
        stop = on_collapse == "stop"
        summary = train(*prepared, device, out, made, watch=watch, stop=stop, allow_changes=allow_changes)
        if distributed.is_main():
            _tidy(out)
    return Outcome("pretrain", out, "done", summary)


def _prepare(
    data: list[Any], config: PretrainConfig, device: "torch.device", out: Path, *, measuring: bool, anew: bool
) -> tuple["Plan", tuple["Encoder", "EncoderSpec", Any], list[Any]]:
    """The plan (read back in a run that was begun, unless made anew), the encoder to begin with, and the rows."""
    from kontrast import distributed
    from kontrast.artifacts.encoder import source_name
    from kontrast.engine import choices, planning
    from kontrast.engine.pretraining import starting_encoder, training_rows
    from kontrast.engine.sizes import common_size

    found = training_rows(data)
    plan = distributed.broadcast_object(None if anew else planning.read_plan(out))
    if plan is not None:
        start = starting_encoder(config.init, plan.encoder, plan.size, plan.seed, found)
        console.say(f"Going on by the plan that was made at the start ({planning.PLAN}).")
        return plan, start, found
    method = choices.choose_method(config.method)
    flat = {name: getattr(config, name) for name in choices.OPTIONS}
    options = choices.method_options(method, flat, config.options)
    named = None if config.encoder == "auto" else config.encoder
    if source_name(config.init) != "artifact":
        named = choices.choose_encoder(named, device, method)
    size = common_size([pack for pack, _ in found], None if config.size == "auto" else config.size)
    start = starting_encoder(config.init, named, size, config.seed, found)
    choices.check_encoder(method, start[1].name)
    plan = planning.make_plan(method, options, config, start[0], start[1], found, device, measuring=measuring)
    return plan, start, found


def _planned(plan: "Plan", found: list[Any], out: Path, minutes: float | None) -> dict[str, Any]:
    """Say what a run would be; how long it is stays open where --minutes decides it."""
    images = sum(len(rows) for _, rows in found)
    console.say(
        f"Would pretrain a {plan.encoder} with {plan.method} on {images:,} images at {plan.size} px into {out}:"
    )
    length = f"{counted(plan.steps, 'step')}, {plan.epochs:g} epoch{'s' * (plan.epochs != 1)}"
    if minutes is not None:
        length = f"as many steps as a few measured ones say fit into {minutes:g} minutes"
    console.say(f"  {length}, of {plan.batch_size} images each, in {plan.precision};")
    console.say(f"  {plan.optimizer} with lr {plan.lr:g} and weight decay {plan.weight_decay:g}; seed {plan.seed}.")
    return to_dict(plan) | ({"steps": None, "epochs": None, "warmup": None} if minutes is not None else {})


def _tidy(out: Path) -> None:
    """Drop what only an unfinished run needs."""
    from kontrast.artifacts.card import CLAIM
    from kontrast.artifacts.lock import LOCK
    from kontrast.engine.checkpoint import remove_checkpoints
    from kontrast.engine.planning import PLAN

    remove_checkpoints(out, PLAN, CLAIM, LOCK)
