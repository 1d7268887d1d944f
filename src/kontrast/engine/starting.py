"""How training on labels starts, for `probe` and `finetune` alike: every input is opened before anything is written."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kontrast import console, distributed
from kontrast.artifacts.card import CLAIM, Parent, parent, read_card
from kontrast.artifacts.claims import claim
from kontrast.artifacts.encoder import load_encoder, source_name, source_parents
from kontrast.artifacts.lock import LOCK
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.config import to_dict
from kontrast.engine.checkpoint import remove_checkpoints
from kontrast.engine.precision import resolve_device
from kontrast.engine.supervision import Labelled, labelled
from kontrast.errors import LeakageError
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
        note: what was allowed though the split meant to choose or test shares patients or images with what trains;
            empty where nothing was found. It follows the Classifier to every figure.
    """

    task: Labelled
    encoder: Encoder
    spec: EncoderSpec
    seen: Seen
    device: torch.device
    asked: dict[str, Any]
    parents: list[Parent]
    state: str
    note: str

    def marks(self) -> dict[str, str]:
        """For the card."""
        return {"overlap_note": self.note} if self.note else {}


def start(
    verb: str,
    encoder: PathLike,
    pack: PathLike,
    out: PathLike,
    config: Any,
    *,
    dry_run: bool,
    allow_changes: bool | None = None,
    allow_overlap: bool = False,
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
        allow_overlap: train although held-out splits share patients or images with what trains.

    Raises:
        LeakageError: they do, and it was not allowed.
        UsageError, ArtifactError: an input that is missing, damaged or does not fit.
        TrainingError: no finding has both classes among the labels drawn.
        OutputError: `out` holds something else.
    """
    device = resolve_device(config.device)  # the first process alone speaks from here on
    source = source_parents(encoder)  # a wrong word first: a Pack can take a while to open
    data = Pack.open(pack)
    parents = [*source, parent("pack", pack)]
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
        findings=config.findings, seed=config.seed, draw=config.draw, stratify=bool(config.stratify),
    )  # fmt: skip
    task = replace(task, earlier=int((seen.table["role"] != "pretrain").sum()))
    task.describe()
    mine = task.seen()
    note = _held_out(seen, mine, data, allow=allow_overlap)
    if dry_run:
        console.say(f"Would {verb} a {spec.name} at {spec.size} px into {out}.")
        return Outcome(verb, Path(out), "planned", task.counts() | {"encoder": spec.name, "size": spec.size})
    return Start(task, network, spec, seen + mine, device, asked, parents, look.state, note)


def _held_out(before: Seen, mine: Seen, pack: Pack, *, allow: bool) -> str:
    """Refuse to train where `val` or `test` is held out in name only, or say what is shared.

    `test` must be new to the weights, to what chose them and to this training; `val` to what trained them (labels of
    `val` may have chosen an encoder already, which is said as `earlier`).

    Raises:
        LeakageError: patients, images or near-copies are shared, and that was not allowed.
    """
    trained = before.of_roles("pretrain", "train") + mine.of_roles("train")
    notes = []
    for split, met in (("test", trained + before.of_roles("val")), ("val", trained)):
        rows = pack.rows(split)
        if not len(rows):
            continue
        found = met.overlap(pack, rows)
        if found.shared and not allow:
            raise LeakageError(
                f"The {split} split of this Pack is not held out: {found.text}.",
                fix="Use weights that have not met it (`kontrast audit` shows what is shared), or prepare the Pack "
                "with other splits; --allow-overlap trains all the same, and marks every figure.",
            )
        if found.shared:
            notes.append(f"{split} is not held out: {found.text}")
            console.warn(f"{notes[-1]}.")
        elif found.patients is None:
            console.warn(f"whether the weights have met patients of {split} is unknown, which is not the same as no.")
    return "; ".join(notes)
