"""Watching a run with a few labels: kNN and a linear probe on the encoder as it stands, and its best weights so far.

No label enters the weights. The weights that scored best on the labels are kept apart from the last ones, because
choosing by labels is a use of them too.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kontrast import console, distributed
from kontrast.artifacts.claims import claim
from kontrast.artifacts.encoder import save_encoder
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import SEEN, Seen
from kontrast.data.splits import draw_patients
from kontrast.engine.features import embed
from kontrast.engine.linear import fit_path, knn
from kontrast.engine.loop import Hook
from kontrast.engine.pretraining import seen_by
from kontrast.engine.probing import DEFAULT_PENALTY
from kontrast.engine.supervision import Labelled, labelled, validate
from kontrast.errors import LeakageError, UsageError
from kontrast.methods.method import Step
from kontrast.nn.encoders import Encoder, EncoderSpec

IMAGES = 2000
"""At most about so many images of each split are used: an evaluation should take seconds."""

TIMES = 20
"""Evaluations in a run, if left open."""

NEIGHBOURS = 20
BEST = "best"
"""Folder within the Encoder's, of the Encoder with the best weights."""


def watch_task(pack: Pack, seen: Seen, seed: int) -> tuple[Labelled, str]:
    """The labels to watch a run with: `train` fits the probe, `val` is scored, `test` is not touched.

    Args:
        pack: a labelled Pack.
        seen: everyone whom the run's weights will have met.
        seed: of the draw of patients, where there are more than IMAGES images.

    Returns:
        The labels, and what `val` shares with whom the weights meet, in words: nothing, or that it is unknown.

    Raises:
        UsageError: no labels, no `train` or no `val` split.
        LeakageError: pretraining meets patients or images of the `val` split, so that the score would flatter.
    """
    if not pack.findings:
        raise UsageError(f"--watch {pack.path} has no labels.", fix="Name a labelled Pack, or leave --watch out.")
    for split in ("train", "val"):
        if len(pack.rows(split)) == 0:
            raise UsageError(
                f"--watch {pack.path} has no {split} split.", fix="Prepare it with all splits, or leave --watch out."
            )
    task = labelled(pack, label_fraction=1.0, uncertain="zeros", blank="negative", findings=(), seed=seed)
    task = replace(task, train=_some(pack, task.train, seed), val=_some(pack, task.val, seed))
    found = seen.overlap(pack, task.val)
    if found.shared:
        raise LeakageError(
            f"--watch {pack.path} can't be scored on its val split: {found.text}.",
            fix="Watch with a Pack whose val patients pretraining does not meet; `kontrast audit` shows which it does.",
        )
    console.say(
        f"  Watching with {pack.path}: a probe on {len(task.train):,} images of train, scored on {len(task.val):,} of "
        f"val; uncertain = zeros, blank = negative; {found.text}."
    )
    if found.patients is None:
        console.warn("whether pretraining meets patients of the watch's val split is unknown: its scores may flatter.")
    return task, found.text


def _some(pack: Pack, rows: np.ndarray, seed: int) -> np.ndarray:
    """About IMAGES of the rows, whole patients."""
    if len(rows) <= IMAGES:
        return rows
    return rows[draw_patients(pack.table["patient_id"].to_numpy()[rows], IMAGES / len(rows), seed)]


def score(encoder: Encoder, spec: EncoderSpec, task: Labelled, device: torch.device) -> dict[str, Any]:
    """`knn_auroc` and `probe_auroc`: macro AUROC on `val` of classifiers on frozen features, fitted on `train`.

    The probe has one penalty, since choosing it by the score would flatter. Where no finding has both classes, or
    features are not finite, both are None and `watch_reason` says why.
    """
    with console.silent():
        train, val = (embed(encoder, spec, task.pack, rows, device) for rows in (task.train, task.val))
    if not (np.isfinite(train).all() and np.isfinite(val).all()):
        return {"knn_auroc": None, "probe_auroc": None, "watch_reason": "features are not finite"}
    targets, weights = task.targets[task.train], task.weights[task.train]
    near = knn(train, targets, weights, val, NEIGHBOURS)
    probe = fit_path(train, targets, weights, [DEFAULT_PENALTY])[0].probabilities(val)
    found: dict[str, Any] = {
        name: validate(task, probabilities)["macro_auroc"]
        for name, probabilities in (("knn_auroc", near), ("probe_auroc", probe))
    }
    if found["probe_auroc"] is None:
        found["watch_reason"] = f"no finding has both classes among the {len(task.val)} val images"
    return found


class Watch(Hook):
    """Adds `knn_auroc` and `probe_auroc` to the first line after every so many steps, and keeps the best weights.

    The main process evaluates, the others wait.

    Args:
        task: from `watch_task`.
        spec: the encoder's.
        device: where it is.
        steps: of the whole run; its last line has scores too.
        every: steps between evaluations; None: about TIMES in the run.
        overlap: from `watch_task`.

    Attributes:
        task: as given.
        last: the newest scores, with their `step`.
        best: those with the highest `probe_auroc`; of equals the first. Empty while none is defined.
        weights: the encoder's state then.
    """

    def __init__(
        self,
        task: Labelled,
        spec: EncoderSpec,
        device: torch.device,
        steps: int,
        every: int | None = None,
        overlap: str = "",
    ) -> None:
        self.task, self._spec, self._device, self._steps = task, spec, device, steps
        self._every, self._overlap = every or max(1, steps // TIMES), overlap
        self.last: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self.weights: dict[str, Tensor] = {}

    def on_log(self, model: Any, step: int, output: Step, line: dict[str, Any]) -> None:
        """Evaluate where it is time."""
        before = self.last.get("step", 0)
        if step // self._every == before // self._every and step != self._steps:
            return
        found = score(model.method.encoder, self._spec, self.task, self._device) if distributed.is_main() else {}
        found = distributed.broadcast_object(found)
        line.update(found)
        self.last = {"step": step, **found}
        if found["probe_auroc"] is not None and found["probe_auroc"] > self.best.get("probe_auroc", -1.0):
            self.best = dict(self.last)
            self.weights = {k: v.detach().cpu().clone() for k, v in model.method.encoder.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The newest scores, the best, and the weights that had them."""
        return {"last": self.last, "best": self.best, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was saved; from the beginning where the run was not watched before."""
        if state:
            self.last, self.best, self.weights = state["last"], state["best"], state["weights"]

    def summary(self) -> dict[str, Any]:
        """The last scores, the best, and what they rest on."""
        counts = self.task.counts()
        names = ("label_policy", "train_images", "train_patients", "val_images", "val_patients")
        return {
            "every": self._every, "last": self.last, "best": self.best,
            **{name: counts[name] for name in names}, "findings": list(self.task.findings), "overlap": self._overlap,
        }  # fmt: skip

    def keep_best(self, out: Path, encoder: Encoder, content: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
        """Write the best weights as an Encoder of their own, OUT/best, and say so.

        Its card says which step's they are; its `seen.csv` names those whose labels chose them.

        Args:
            out: the run's folder, with its `seen.csv`.
            encoder: as it is at the end; not changed.
            content: of the run's card.
            provenance: `config` and `parents` of the run's card.
        """
        console.say(self._text(out / BEST))
        if not self.best or claim(out / BEST, "encoder", **provenance).state == "done":
            return
        chosen = copy.deepcopy(encoder)
        chosen.load_state_dict(self.weights)
        content = {**content, "summary": self._chosen(content["summary"])}
        seen = Seen.load(out) + self.task.seen()
        save_encoder(out / BEST, chosen, self._spec, content=content, seen=seen, **provenance)

    def _chosen(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """The run's summary as that of its best weights."""
        step, of = self.best["step"], summary["steps"]
        kept = {name: summary[name] for name in ("method", "encoder", "size", "images", "patients", "watch")}
        return {
            **kept, "steps": step, "epochs": summary["epochs"] * step / of,
            "images_seen": round(summary["images_seen"] * step / of),
            "chosen": f"step {step:,} of {of:,}, the best by a probe on labels",
        }  # fmt: skip

    def _text(self, place: Path) -> str:
        def text(value: float | None) -> str:
            return "–" if value is None else f"{value:.3f}"

        if not self.best:
            return f"Watch: no AUROC ({self.last.get('watch_reason', 'never scored')}), so no weights could be chosen."
        return (
            f"Watch: probe AUROC {text(self.last['probe_auroc'])}, kNN {text(self.last['knn_auroc'])} at the end; the "
            f"best probe, {text(self.best['probe_auroc'])} after step {self.best['step']:,}, is kept in {place}."
        )


def watcher(
    prepared: tuple[Any, Any, Any], pack: str | None, every: int | Literal["auto"], device: torch.device, out: Path
) -> Watch | None:
    """What scores a pretraining run with the labels of a Pack, if one was named.

    Args:
        prepared: plan, encoder to begin with (network, spec, whom it has met), Packs with rows.
        pack: its path.
        every: steps between scores.
        device: where the run is.
        out: its folder; whom it met there under other settings counts too.

    Raises:
        UsageError, LeakageError: from `watch_task`.
    """
    if pack is None:
        return None
    plan, (_, spec, seen), found = prepared
    if (out / SEEN).is_file():
        seen = seen + Seen.load(out)
    task, overlap = watch_task(Pack.open(pack), seen_by(found, seen), plan.seed)
    return Watch(task, spec, device, plan.steps, None if every == "auto" else every, overlap)
