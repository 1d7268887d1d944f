"""Pretraining on Packs: the images and the weights that it begins with, and the run itself by its plan."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kontrast import console, distributed
from kontrast.artifacts.claims import claim
from kontrast.artifacts.encoder import load_encoder, save_encoder, source_name
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen, keep_seen
from kontrast.config import to_dict
from kontrast.engine.batches import Batches
from kontrast.engine.checkpoint import described
from kontrast.engine.diagnosis import likely_cause
from kontrast.engine.loop import FitResult, Hook, fit
from kontrast.engine.monitor import Collapse
from kontrast.engine.patients import partner_groups, patient_numbers
from kontrast.engine.planning import Plan, write_plan
from kontrast.engine.selfsupervised import build_model, write_views
from kontrast.errors import UsageError
from kontrast.nn.encoders import Encoder, EncoderSpec

if TYPE_CHECKING:
    from kontrast.engine.watching import Watch


def training_rows(packs: Sequence[Pack]) -> list[tuple[Pack, np.ndarray]]:
    """Each Pack with the rows to learn from: its `train` split, never another.

    Raises:
        UsageError: a Pack named twice, no training images, or all of them from one patient.
    """
    if len({pack.path.resolve() for pack in packs}) < len(packs):
        raise UsageError("A Pack is named twice.", fix="Name each Pack once.")
    found = [(pack, pack.rows("train")) for pack in packs]
    for pack, rows in found:
        if len(rows) == 0:
            console.warn(f"{pack.path} has no training images; it adds nothing.")
    found = [(pack, rows) for pack, rows in found if len(rows)]
    if not found:
        raise UsageError("None of the Packs has training images.", fix="Prepare a Pack with a training part.")
    patients = {p for pack, rows in found for p in pack.table["patient_id"].to_numpy()[rows]}
    if len(patients) < 2:
        raise UsageError(
            f"All {sum(len(rows) for _, rows in found)} training images are of one patient.",
            fix="Give images of at least two patients; of some hundred, to learn something.",
        )
    _warn_of_leaks(found)
    for pack, rows in found:
        known = "" if pack.patients_known else "; patients unknown, each image counts as its own"
        count = pack.table["patient_id"].iloc[rows].nunique()
        console.say(f"  {pack.path}: {len(rows):,} training images of {count:,} patients{known}.")
    return found


def _warn_of_leaks(found: Sequence[tuple[Pack, np.ndarray]]) -> None:
    """Say where one Pack's training patients are kept for testing in another."""
    for pack, rows in found:
        trained = Seen.of(pack, rows, "pretrain")
        for other, _ in found:
            if other is pack:
                continue
            kept = np.concatenate([other.rows("val"), other.rows("test")])
            overlap = trained.overlap(other, kept)
            if overlap.shared:
                console.warn(
                    f"training images of {pack.path} and held-out images of {other.path}: {overlap.text}. "
                    "Scores on those will be too good; `kontrast audit` shows which."
                )


def seen_by(found: Sequence[tuple[Pack, np.ndarray]], before: Seen) -> Seen:
    """Everyone whom the weights have met after pretraining."""
    for pack, rows in found:
        before = before + Seen.of(pack, rows, "pretrain")
    return before


def pooled_statistics(found: Sequence[tuple[Pack, np.ndarray]]) -> tuple[float, float]:
    """Mean and standard deviation of the training pixels of several Packs, each weighing as many images as it gives."""
    n = np.array([len(rows) for _, rows in found], float)
    mean, std = (np.array([getattr(pack, name) for pack, _ in found]) for name in ("mean", "std"))
    centre = float((n * mean).sum() / n.sum())
    return centre, float(np.sqrt((n * (std**2 + (mean - centre) ** 2)).sum() / n.sum()))


def starting_encoder(
    init: str, encoder: str | None, size: int, seed: int, found: Sequence[tuple[Pack, np.ndarray]]
) -> tuple[Encoder, EncoderSpec, Seen]:
    """The encoder to begin with. An artifact keeps its pixel statistics, others get those of the Packs.

    Args:
        init: as `load_encoder` takes it.
        encoder: architecture; None where `init` is an artifact.
        size: of the views, pixels.
        seed: for `random`.
        found: from `training_rows`.
    """
    network, spec, seen = load_encoder(init, encoder=encoder, size=size, seed=seed)
    if source_name(init) != "artifact":
        mean, std = pooled_statistics(found)
        spec = replace(spec, mean=mean, std=std)
    return network, spec, seen


def train(
    plan: Plan,
    start: tuple[Encoder, EncoderSpec, Seen],
    found: Sequence[tuple[Pack, np.ndarray]],
    device: torch.device,
    out: Path,
    provenance: Mapping[str, Any],
    *,
    watch: "Watch | None" = None,
    stop: bool = False,
    allow_changes: bool = False,
) -> dict[str, Any]:
    """Train by the plan, or go on with what its checkpoints hold, and write the Encoder.

    Args:
        plan: what to do.
        start: from `starting_encoder`.
        found: from `training_rows`.
        device: where.
        out: the Encoder's folder, claimed.
        provenance: `config` and `parents` of its card.
        watch: scores the encoder by labels while it trains.
        stop: end at a sign of collapse.
        allow_changes: go on with another plan or other Packs than the checkpoint's.

    Returns:
        The summary for the outcome, with the speed, which the card leaves out.

    Raises:
        TrainingError: the loss is not finite, or the run is collapsing and `stop` is set.
        Interrupted: stopped by a signal after saving.
    """
    encoder, spec, seen = start

    def take() -> None:
        # The claim last: a kill before it leaves a folder that the same command takes again.
        keep_seen(out, seen_by(found, seen))
        write_plan(out, plan)
        claim(out, "encoder", allow_changes=allow_changes, **provenance)

    groups = partner_groups(found, plan.positives)
    batches = Batches(found, plan.batch_size, plan.seed, device, size=plan.size, groups=groups)
    batches.load_whole()
    monitor = Collapse(plan.steps, likely_cause(plan, sum(len(rows) for _, rows in found)), stop=stop)
    model = build_model(plan, encoder, spec, patient_numbers(found))
    result = fit(
        model, batches, plan.loop(), out=out, device=device, hooks=[monitor, watch or Hook()],
        title=f"pretrain {plan.method}",
        settings=described(provenance["config"], provenance["parents"], method=plan.method, encoder=plan.encoder),
        allow_changes=allow_changes, settled=take,
    )  # fmt: skip
    summary = _summary(plan, found, result) | monitor.last | ({"watch": watch.summary()} if watch else {})
    if distributed.is_main():
        content = {"summary": summary, "plan": to_dict(plan), "pixels": {"mean": spec.mean, "std": spec.std}}
        content |= result.provenance()
        shown = write_views(out, model, batches)
        if watch is not None:
            watch.keep_best(out, encoder, content, provenance)
        save_encoder(out, encoder, spec, content=content, seen=Seen.load(out), written=shown, **provenance)
    distributed.barrier()
    console.say(
        f"{plan.method}: {result.steps:,} steps, {summary['images_seen']:,} images seen, "
        f"{result.images_per_second:,.0f} images/s, {result.wait_share:.0%} of the time waiting for images."
    )
    # Speed is of the machine, not of the work: the card of the same work is the same without it.
    return summary | {"images_per_s": round(result.images_per_second, 2), "seconds": round(result.seconds, 1)}


def _summary(plan: Plan, found: Sequence[tuple[Pack, np.ndarray]], result: FitResult) -> dict[str, Any]:
    """What the run was, for the card and the outcome."""
    return {
        "method": plan.method, "encoder": plan.encoder, "size": plan.size,
        "images": sum(len(rows) for _, rows in found),
        "patients": len({p for pack, rows in found for p in pack.table["patient_id"].to_numpy()[rows]}),
        "steps": result.steps, "epochs": plan.epochs, "images_seen": result.steps * plan.batch_size,
        "loss": result.last.get("loss"),
    }  # fmt: skip
