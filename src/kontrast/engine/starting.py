"""How training on labels starts, for `probe` and `finetune` alike: every input is opened before anything is written."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kontrast import console, distributed
from kontrast.artifacts.card import CLAIM, Parent, claim, parents_of, read_card
from kontrast.artifacts.encoder import load_encoder, source_name
from kontrast.artifacts.lock import LOCK
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.config import to_dict
from kontrast.engine.checkpoint import remove_checkpoints
from kontrast.engine.precision import resolve_device
from kontrast.engine.supervision import Labelled, labelled
from kontrast.nn.encoders import Encoder, EncoderSpec
from kontrast.types import Outcome, PathLike


@dataclass(frozen=True)
class Start:
    """What a Classifier is trained from.

    Attributes:
        task: the labels.
        encoder: the network, on the CPU.
        spec: its description.
        seen: whom its weights have met, and whom the labels are of.
        device: where to train.
        asked: the resolved configuration, for the claim and the card.
        parents: the artifacts it is made from.
        state: of the claim, `new`, `resume` or `changed`.
    """

    task: Labelled
    encoder: Encoder
    spec: EncoderSpec
    seen: Seen
    device: torch.device
    asked: dict[str, Any]
    parents: list[Parent]
    state: str


def start(
    verb: str,
    encoder: PathLike,
    pack: PathLike,
    out: PathLike,
    config: Any,
    *,
    dry_run: bool,
    allow_changes: bool | None = None,
) -> Start | Outcome:
    """Open Pack and encoder, draw the labels and say them; or the outcome, when done already or only planned.

    Args:
        verb: the command.
        encoder: as `load_encoder` takes it.
        pack: a labelled Pack.
        out: where the Classifier will be; looked at, not claimed.
        config: with `encoder`, `size`, `seed`, `device` and what `labelled` takes.
        dry_run: end with what was found.
        allow_changes: as `claim` takes it.

    Raises:
        UsageError, ArtifactError: an input that is missing, damaged or does not fit.
        TrainingError: no finding has both classes among the labels drawn.
        OutputError: `out` holds something else.
    """
    device = resolve_device(config.device)  # the first process alone speaks from here on
    data = Pack.open(pack)
    parents = parents_of(encoder=encoder, pack=pack)
    asked = to_dict(config) | {"start": source_name(encoder)}
    # A look only: a mistake that shows later must not leave the folder taken.
    look = claim(out, "classifier", config=asked, parents=parents, dry_run=True, allow_changes=allow_changes)
    distributed.barrier()  # all have looked before the first process writes
    if look.state == "done":
        console.say(f"{out} is already done.")
        if distributed.is_main() and not dry_run:
            remove_checkpoints(Path(out), CLAIM, LOCK)
        return Outcome(verb, Path(out), "already done", read_card(out).content["summary"])
    network, spec, seen = load_encoder(encoder, encoder=config.encoder, size=config.size, seed=config.seed, pack=data)
    task = labelled(
        data, label_fraction=config.label_fraction, uncertain=config.uncertain, blank=config.blank,
        findings=config.findings, seed=config.seed,
    )  # fmt: skip
    task = replace(task, earlier=int((seen.table["role"] != "pretrain").sum()))
    task.describe()
    if dry_run:
        return Outcome(verb, Path(out), "planned", task.counts() | {"encoder": spec.name, "size": spec.size})
    return Start(task, network, spec, seen + task.seen(), device, asked, parents, look.state)
