"""What is left open of a pretraining run, chosen for the data and the machine and said; what cannot go together."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch

from kontrast import console, distributed
from kontrast.config import choose, flag, from_dict
from kontrast.engine.batches import Batches
from kontrast.errors import UsageError
from kontrast.methods import METHODS
from kontrast.methods.method import Chunkable
from kontrast.nn.batchnorm import batchnorms
from kontrast.nn.encoders import Encoder, EncoderSpec
from kontrast.views.recipes import local_size

Auto = Literal["auto"]

IMAGES_SEEN = {"cpu": 200_000, "cuda": 2_000_000}
"""How many images an `auto` run looks at: half an hour or so of a ResNet-18 at 64 px on two cores, hours on a GPU."""

LARGEST_BATCH = {"cpu": 128, "cuda": 256}
OPTIONS = ("queue_length", "momentum", "temperature", "prototypes", "same_patient_negatives")
"""Fields of methods' configurations that are options of the command by themselves; others go through --options."""

PLAIN_LR = {"adamw": 1e-3, "sgd": 0.03, "lars": 0.3}
"""Peak learning rates for a batch of 256, for an optimiser of which the method says nothing."""


def choose_method(name: str) -> str:
    """The method, said where it was left open.

    Raises:
        UsageError: no such method.
    """
    if name == "auto":
        console.decided("--method", "moco", "its queue makes small batches enough, so it suits any machine")
        return "moco"
    return choose(name, METHODS, "--method")


def choose_encoder(name: str | None, device: torch.device, method: str) -> str:
    """The architecture, said where it was left open (None)."""
    if name is None and METHODS[method].needs_vit:
        console.decided("--encoder", "vit_small", f"{method} hides patches, which only a Vision Transformer has")
        return "vit_small"
    if name is None:
        found = "resnet50" if device.type == "cuda" else "resnet18"
        console.decided("--encoder", found, f"suits a {device.type.upper()}")
        return found
    return name


def check_encoder(method: str, encoder: str) -> None:
    """Refuse an architecture that the method cannot train.

    Raises:
        UsageError: patches are to be hidden from a network that has none.
    """
    if METHODS[method].needs_vit and not encoder.startswith("vit"):
        raise UsageError(
            f"{method} hides patches of the image, which only a Vision Transformer has, but the encoder is {encoder}.",
            fix="Choose --encoder vit_small, or another --method: dino is the nearest that takes any encoder.",
        )


def choose_batch_size(wanted: int | Auto, images: int, device: torch.device) -> int:
    """The global batch size: an eighth of the images at most, a power of two.

    Raises:
        UsageError: more than there are images, or too small to contrast.
    """
    world = distributed.world_size()
    if wanted != "auto":
        if wanted > images:
            raise UsageError(
                f"--batch-size {wanted} is more than the {images} training images.",
                fix=f"Choose at most --batch-size {images}, or leave it at auto.",
            )
        return wanted
    most = LARGEST_BATCH[device.type]
    size = min(most, max(8, 2 ** int(math.log2(max(images / 8, 1)))), images)
    size = max(size // world, 1) * world
    reason = f"suits a {device.type.upper()}" if size == most else f"about an eighth of {images:,} images"
    console.decided("--batch-size", size, reason)
    return size


def check_chunks(method: str, chunk_size: int | None, batch_size: int) -> None:
    """Refuse chunks where a method has none, or where they are no equal parts of a process's batch.

    Raises:
        UsageError: says which methods have them, or which size would do.
    """
    if chunk_size is None:
        return
    if not issubclass(METHODS[method], Chunkable):
        able = ", ".join(name for name, kind in METHODS.items() if issubclass(kind, Chunkable))
        raise UsageError(
            f"--chunk-size is not for {method}: it does not embed a batch first and compare it then.",
            fix=f"Leave it out, or choose a --method that does: {able}.",
        )
    share = batch_size // distributed.world_size()
    if share % chunk_size:
        divisors = [n for n in range(2, min(chunk_size, share) + 1) if share % n == 0]
        other = f", or --chunk-size {divisors[-1]}" if divisors else ""
        raise UsageError(
            f"--chunk-size {chunk_size} does not divide the {share} images of a batch that a process has.",
            fix=f"Choose a --batch-size that is a multiple of it{other}.",
        )


def choose_optimizer(
    method: str, optimizer: str, lr: float | Auto, weight_decay: float | Auto, batch_size: int
) -> tuple[str, float, float]:
    """Optimiser, peak learning rate for this batch size, weight decay; what was left open is said."""
    advice = METHODS[method].recommended
    if optimizer == "auto":
        optimizer = str(advice["optimizer"])
        console.decided("--optimizer", optimizer, f"recommended for {method}")
    elif optimizer != advice["optimizer"]:
        published = METHODS[method].published
        known = published if published["optimizer"] == optimizer else {}
        advice = {"lr": PLAIN_LR[optimizer], "weight_decay": 1e-4, "per": 256, **known}
    if lr == "auto":
        share = batch_size / advice["per"]
        # Gradients of Adam's kind are scaled to unit size, so noise alone counts: the root (Malladi et al. 2022,
        # arXiv:2205.10287). For SGD and LARS the linear rule of their papers.
        scale, rule = (math.sqrt(share), "root") if optimizer == "adamw" else (share, "linear")
        lr = float(f"{advice['lr'] * scale:.4g}")
        console.decided("--lr", lr, f"{advice['lr']:g} for a batch of {advice['per']}, {rule} rule")
    if weight_decay == "auto":
        weight_decay = float(advice["weight_decay"])
        console.decided("--weight-decay", weight_decay, f"recommended for {method}")
    return optimizer, lr, weight_decay


def choose_steps(
    epochs: float | Auto, minutes: float | None, batches: Batches, rate: Callable[[], float] | None
) -> int:
    """How many steps the run has; what was left open is said.

    Args:
        epochs: wanted, or `auto`.
        minutes: the time there is; None for any.
        batches: whose steps.
        rate: measures steps a second; None where nothing may be run, which leaves `minutes` unanswered.
    """
    per_epoch = batches.steps_per_epoch
    if minutes is not None:
        if rate is None:
            console.say(f"  --epochs will be chosen for {minutes:g} minutes after a few measured steps.")
            return per_epoch
        speed = rate()
        # a twentieth is left for starting, saving and other work on the machine
        steps = max(int(0.95 * 60 * minutes * speed), 1)
        images = speed * batches.batch_size
        console.decided(
            "--epochs", f"{steps / per_epoch:.3g}", f"{minutes:g} minutes at {images:.3g} images/s, {steps:,} steps"
        )
        return steps
    if epochs == "auto":
        wanted = IMAGES_SEEN[batches.device.type] / (per_epoch * batches.batch_size)
        epochs = min(max(round(wanted), 10), 400)
        seen = epochs * per_epoch * batches.batch_size
        console.decided("--epochs", epochs, f"{seen:,} images seen in {epochs * per_epoch:,} steps; 10 to 400")
    return max(round(float(epochs) * per_epoch), 1)


def method_options(method: str, wanted: Mapping[str, Any], more: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The method's configuration from the options a user gave; `auto` stays open.

    Args:
        method: its name.
        wanted: OPTIONS, `auto` where left out.
        more: what was given by --options, by any name that the method's configuration has.

    Raises:
        UsageError: an option that the method does not have.
    """
    config = METHODS[method].Config
    names = {f.name for f in dataclasses.fields(config)}
    given = {name: value for name, value in wanted.items() if value != "auto"}
    for name in given:
        if name not in names:
            has = ", ".join(flag(n) for n in wanted if n in names) or "none of these"
            raise UsageError(f"{flag(name)} is no option of {method}.", fix=f"It has: {has}.")
    try:
        return from_dict(config, given | dict(more), where=f"--options of {method}")
    except UsageError as error:  # a method names its options as if each were the command's own
        problem, fix = error.problem, error.fix
        for name in more:
            problem, fix = (text.replace(flag(name), f"--options.{name}") for text in (problem, fix))
        raise UsageError(problem, fix=fix) from None


def settle_options(
    method: str, config: Any, *, images: int, steps: int, batch_size: int, size: int, quiet: bool = False
) -> Any:
    """The method's configuration with nothing left open; each decision is said unless `quiet`."""
    config, decisions = METHODS[method].fit_config(config, images=images, steps=steps, batch_size=batch_size, size=size)
    for name, value, reason in () if quiet else decisions:
        shown = flag(name) if name in OPTIONS else f"--options.{name}"
        console.decided(shown, f"{value:.6g}" if isinstance(value, float) else value, reason)
    return config


def check_crops(options: Any, spec: EncoderSpec) -> None:
    """Refuse local crops of which the encoder would leave nothing.

    Raises:
        UsageError: they have fewer pixels than its stride.
    """
    side, count = local_size(spec.size), getattr(options, "local_views", 0)
    if count not in (0, "auto") and side < spec.stride:  # auto takes none where they are small
        raise UsageError(
            f"At --size {spec.size} local crops have {side} px, which {spec.name} reduces {spec.stride}-fold.",
            fix="Set --options.local_views 0, or a larger --size: crops have three sevenths of it.",
        )


def warn_of_leak(options: Mapping[str, Any], encoder: Encoder) -> None:
    """Say where a query and its key have batch statistics in common, by which they can be told apart from others."""
    if options.get("bn_groups") == 1 and batchnorms(encoder) and distributed.world_size() == 1:
        console.warn(
            "queries and keys of one process with one batch-norm group share its statistics, from which a network can "
            "learn which belong together in place of what they show (MoCo, section 3.3). "
            "Set --options.bn_groups 2 and a --batch-size that it divides."
        )


def check_pairs(method: str, positives: str) -> None:
    """Refuse pairs to a method of one view, which says so in its class."""
    views = getattr(METHODS[method], "views", None)
    if positives != "image" and views is not None and views.globals + views.locals < 2:
        raise UsageError(
            f"{method} learns from one view of an image at a time, so --positives {positives} has nothing to pair.",
            fix="Set --positives image, or choose another --method.",
        )
