"""`kontrast audit`: leaks between splits and Packs, and shortcuts in the metadata."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from kontrast import console
from kontrast.config import require, to_dict, verb
from kontrast.errors import UsageError
from kontrast.options import Device, ImagesAtATime, Replicates, ScoredBlank, ScoredUncertain, at_least
from kontrast.types import SPLITS, Outcome, counted

if TYPE_CHECKING:
    import torch

    from kontrast.artifacts.card import Card
    from kontrast.artifacts.classifier import Classifier
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.seen import Seen

AUDIT = "audit.json"


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """How Packs are audited."""

    classifier: Path | None = None
    """A Classifier, to look in the Packs for what its weights have met, and to score it by subgroup."""
    uncertain: ScoredUncertain = "zeros"
    blank: ScoredBlank = "negative"
    replicates: Replicates = 1000
    batch_size: ImagesAtATime = 256
    device: Device = "auto"
    seed: int = 0
    """Seed of the bootstrap."""

    def __post_init__(self) -> None:
        at_least(self, replicates=0, batch_size=1, seed=0)


class _Judged(NamedTuple):
    """A Classifier that is audited, and where it predicts."""

    model: "Classifier"
    card: "Card"
    seen: "Seen"
    device: "torch.device"


@verb
def audit(
    *packs: Path,
    out: Path,
    config: Annotated[AuditConfig, Parameter(name="*")] = AuditConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Look for leaks between splits and for shortcuts in the metadata.

    Counts the patients, studies, images (by checksum) and near-copies that splits and Packs share with one another and
    with what a Classifier has met; says how well metadata alone tell each finding (a floor beneath every AUROC); and
    scores a Classifier by sex, age, view and their crossings, with the rates of its calls and of missed illness, and
    on images without lungs and without borders. Writes audit.json. Finding leaks is no error here: `probe`, `finetune`
    and `evaluate` refuse them.

    Args:
        packs: one or more Packs.
        out: folder for the audit.
        config: what to look at.
        dry_run: say what would be done, write nothing.
    """
    from kontrast.artifacts.card import parent, read_card, write_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.classifier import load_classifier
    from kontrast.artifacts.disk import write_json
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.engine.audit_words import say_audit
    from kontrast.engine.precision import resolve_device

    if not packs:
        raise UsageError("No Pack was named.", fix="Name one: kontrast audit PACK --out DIR")
    require(len({Path(p).resolve() for p in packs}) == len(packs), "A Pack is named twice.", "Name each Pack once.")
    opened = [Pack.open(path) for path in packs]
    _check_policy(opened, config)
    parents = [parent("pack", path) for path in packs]
    judged = None
    if config.classifier is not None:
        judged = _Judged(*load_classifier(config.classifier), resolve_device(config.device))
        parents.append(parent("classifier", config.classifier))
    asked = to_dict(config) | {"classifier": config.classifier is not None}
    taken = claim(out, "audit", config=asked, parents=parents, dry_run=dry_run)
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("audit", Path(out), "already done", read_card(out).content["summary"])
    if dry_run:
        console.say(f"Would audit {counted(len(opened), 'Pack')} with {counted(sum(map(len, opened)), 'image')}.")
        return Outcome("audit", Path(out), "planned", {"packs": len(opened)})
    with locked(taken.folder):
        found = _found(_names(packs), opened, judged, config)
        write_json(taken.folder / AUDIT, found)
        summary = _summary(found)
        write_card(taken.folder, "audit", config=asked, parents=parents, content={"summary": summary}, files=[AUDIT])
    say_audit(found, summary)
    return Outcome("audit", Path(out), "done", summary)


def _check_policy(packs: "list[Pack]", config: AuditConfig) -> None:
    """Refuse an unknown policy before the folder is claimed; what it says of a finding need not fit every Pack."""
    import numpy as np

    from kontrast.data.labels import targets

    findings = list(dict.fromkeys(name for pack in packs for name in pack.findings))
    targets(np.empty((0, len(findings))), findings, config.uncertain, config.blank)


def _found(names: list[str], packs: "list[Pack]", judged: "_Judged | None", config: AuditConfig) -> dict[str, Any]:
    """All that the audit finds, as audit.json has it."""
    from itertools import combinations

    from kontrast.engine.auditing import Audited, between, repeated_images, within

    audited = {name: Audited(pack) for name, pack in zip(names, packs, strict=True)}
    return {
        "label_policy": {"uncertain": config.uncertain, "blank": config.blank},
        "packs": {
            name: _describe(one.pack) | {"repeated_images": repeated_images(one.pack), "between_splits": within(one)}
            for name, one in audited.items()
        },
        "between_packs": [
            {"packs": [a, b]} | row for a, b in combinations(names, 2) for row in between(audited[a], audited[b])
        ],
        "metadata": {name: _baseline(pack, config) for name, pack in zip(names, packs, strict=True)},
        "classifier": judged and {n: _judge(judged, pack, config) for n, pack in zip(names, packs, strict=True)},
    }


def _baseline(pack: "Pack", config: AuditConfig) -> dict[str, Any]:
    from kontrast.data.labels import only
    from kontrast.engine.floors import metadata_baseline

    policy = only(config.uncertain, pack.findings)
    found: dict[str, Any] = metadata_baseline(
        pack, policy, config.blank, replicates=config.replicates, seed=config.seed
    )
    return found or {"reason": "needs labels, and images in train and test"}


def _names(packs: tuple[Path, ...]) -> list[str]:
    """Short names of the Packs: the folder's, numbered where two are alike."""
    short = [Path(path).resolve().name for path in packs]
    return [name if short.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(short)]


def _describe(pack: "Pack") -> dict[str, Any]:
    patients = pack.table["patient_id"].to_numpy()
    return {
        "patients_known": pack.patients_known,
        "splits": {
            split: {"images": len(rows), "patients": len(set(patients[rows])) if pack.patients_known else None}
            for split in SPLITS
            if len(rows := pack.rows(split))
        },
    }


def _judge(judged: _Judged, pack: "Pack", config: AuditConfig) -> dict[str, Any]:
    """What the Classifier has met of a Pack, and its scores by subgroup on the Pack's test split."""
    import numpy as np

    from kontrast.data.labels import only, targets
    from kontrast.engine.alterations import score_alterations
    from kontrast.engine.features import predict
    from kontrast.engine.subgroups import rates_by_group, score_subgroups

    overlaps, findings = {}, judged.model.findings
    for split in SPLITS:
        if len(rows := pack.rows(split)):
            met = judged.seen.overlap(pack, rows)
            patients = "unknown" if met.patients is None else met.patients
            near = "unknown" if met.near is None else met.near
            overlaps[split] = {"patients": patients, "images": met.images, "near_copies": near, "text": met.text}
    missing, rows = [f for f in findings if f not in pack.findings], pack.rows("test")
    if missing or not len(rows):
        reason = f"the Pack has no labels of {', '.join(missing)}" if missing else "the Pack has no test images"
        return {"overlap": overlaps, "subgroups": {"reason": reason}}
    uncertain = only(config.uncertain, pack.findings)
    y, w = targets(pack.labels(rows), pack.findings, uncertain, config.blank)
    truth = np.where(w > 0, y, np.nan)[:, [pack.findings.index(f) for f in findings]]
    p = predict(judged.model, pack, rows, judged.device, config.batch_size)
    drawn = {"replicates": config.replicates, "seed": config.seed}
    shared: dict[str, Any] = {
        "patients_known": pack.patients_known, "thresholds": judged.card.content["thresholds"], **drawn
    }  # fmt: skip
    policy = {"uncertain": uncertain, "blank": config.blank}
    table = pack.table.iloc[rows]
    return {
        "overlap": overlaps,
        "subgroups": score_subgroups(table, truth, p, findings, label_policy=policy, **shared),
        "rates": rates_by_group(table, truth, p, findings, **shared),
        "alterations": score_alterations(judged.model, pack, rows, truth, p, judged.device, config.batch_size, **drawn),
    }


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    """What the audit comes to: counts of what is shared, what is unknown, and the floors."""
    pairs = [row for pack in found["packs"].values() for row in pack["between_splits"]] + [
        # Two training splits may share: that is how pretraining on several Packs is meant.
        row for row in found["between_packs"] if row["splits"] != ["train", "train"]
    ]  # fmt: skip
    shared = {unit: sum(row[unit] or 0 for row in pairs) for unit in ("patients", "studies", "images", "near_copies")}
    floors = {
        pack: {name: entry["scores"]["macro"]["auroc"]["value"] for name, entry in baselines.items()}
        for pack, baselines in found["metadata"].items()
        if "reason" not in baselines
    }
    return {"shared": shared, "unknown": any(row["patients"] is None for row in pairs), "metadata_auroc": floors}
