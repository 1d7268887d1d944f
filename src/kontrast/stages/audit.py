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
        at_least(self, replicates=0, batch_size=1)


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

    Counts the patients, studies and images (by checksum) that splits and Packs share with one another and with what
    a Classifier has met; says how well view, age, sex and the image's size alone tell each finding (a floor beside
    every AUROC); and scores a Classifier by sex, age, view and their crossing. Writes audit.json. Finding leaks is no
    error here: `probe`, `finetune` and `evaluate` refuse them.

    Args:
        packs: one or more Packs.
        out: folder for the audit.
        config: what to look at.
        dry_run: say what would be done, write nothing.
    """
    from kontrast.artifacts.card import claim, parent, read_card, write_card
    from kontrast.artifacts.classifier import load_classifier
    from kontrast.artifacts.disk import write_json
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.data.labels import targets
    from kontrast.engine.precision import resolve_device

    if not packs:
        raise UsageError("No Pack was named.", fix="Name one: kontrast audit PACK --out DIR")
    require(len({Path(p).resolve() for p in packs}) == len(packs), "A Pack is named twice.", "Name each Pack once.")
    opened = [Pack.open(path) for path in packs]
    for pack in opened:  # an unknown policy is refused before the folder is claimed
        targets(pack.labels([]), pack.findings, config.uncertain, config.blank)
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
    _say(found, summary)
    return Outcome("audit", Path(out), "done", summary)


def _found(names: list[str], packs: "list[Pack]", judged: "_Judged | None", config: AuditConfig) -> dict[str, Any]:
    """All that the audit finds, as audit.json has it."""
    from kontrast.engine.auditing import between, repeated_images, within

    return {
        "label_policy": {"uncertain": config.uncertain, "blank": config.blank},
        "packs": {
            name: _describe(pack) | {"repeated_images": repeated_images(pack), "between_splits": within(pack)}
            for name, pack in zip(names, packs, strict=True)
        },
        "between_packs": [
            {"packs": [names[i], names[j]]} | row
            for i in range(len(packs))
            for j in range(i + 1, len(packs))
            for row in between(packs[i], packs[j])
        ],
        "metadata": {name: _baseline(pack, config) for name, pack in zip(names, packs, strict=True)},
        "classifier": judged and {n: _judge(judged, pack, config) for n, pack in zip(names, packs, strict=True)},
    }


def _baseline(pack: "Pack", config: AuditConfig) -> dict[str, Any]:
    from kontrast.engine.auditing import metadata_baseline

    found: dict[str, Any] = metadata_baseline(
        pack, config.uncertain, config.blank, replicates=config.replicates, seed=config.seed
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

    from kontrast.data.labels import targets
    from kontrast.engine.auditing import score_subgroups
    from kontrast.engine.features import predict

    overlaps, findings = {}, judged.model.findings
    for split in SPLITS:
        if len(rows := pack.rows(split)):
            met = judged.seen.overlap(pack, rows)
            patients = "unknown" if met.patients is None else met.patients
            overlaps[split] = {"patients": patients, "images": met.images, "text": met.text}
    missing, rows = [f for f in findings if f not in pack.findings], pack.rows("test")
    if missing or not len(rows):
        reason = f"the Pack has no labels of {', '.join(missing)}" if missing else "the Pack has no test images"
        return {"overlap": overlaps, "subgroups": {"reason": reason}}
    labels = pack.labels(rows)[:, [pack.findings.index(f) for f in findings]]
    y, w = targets(labels, findings, config.uncertain, config.blank)
    scores = score_subgroups(
        pack.table.iloc[rows], np.where(w > 0, y, np.nan),
        predict(judged.model, pack, rows, judged.device, config.batch_size), findings,
        patients_known=pack.patients_known, thresholds=judged.card.content["thresholds"],
        label_policy={"uncertain": config.uncertain, "blank": config.blank},
        replicates=config.replicates, seed=config.seed,
    )  # fmt: skip
    return {"overlap": overlaps, "subgroups": scores}


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    """What the audit comes to: counts of what is shared, what is unknown, and the floors."""
    pairs = [row for pack in found["packs"].values() for row in pack["between_splits"]] + [
        # Two training splits may share: that is how pretraining on several Packs is meant.
        row for row in found["between_packs"] if row["splits"] != ["train", "train"]
    ]  # fmt: skip
    shared = {unit: sum(row[unit] or 0 for row in pairs) for unit in ("patients", "studies", "images")}
    floors = {
        pack: {name: entry["scores"]["macro"]["auroc"]["value"] for name, entry in baselines.items()}
        for pack, baselines in found["metadata"].items()
        if "reason" not in baselines
    }
    return {"shared": shared, "unknown": any(row["patients"] is None for row in pairs), "metadata_auroc": floors}


def _say(found: dict[str, Any], summary: dict[str, Any]) -> None:
    from kontrast.artifacts.wording import decimal

    _say_shared(found)
    for name, entry in found["packs"].items():
        if entry["repeated_images"]:
            console.warn(f"{name}: of {counted(entry['repeated_images'], 'image')} there are copies.")
        if not entry["patients_known"]:
            console.warn(f"{name} names no patients: what its splits share of them is unknown.")
    if any(summary["shared"].values()):
        console.warn("what splits share makes a test too easy: train or test without it, or prepare the Packs anew.")
    for name, baselines in found["metadata"].items():
        if "reason" in baselines:
            console.say(f"{name}: no metadata baseline ({baselines['reason']}).")
            continue
        findings = next(iter(baselines.values()))["scores"]["findings"]
        table = [
            [
                f,
                str(e["positives"]),
                *(decimal(b["scores"]["findings"][f]["auroc"]["value"]) for b in baselines.values()),
            ]
            for f, e in findings.items()
        ]
        table.append(["macro", "", *(decimal(b["scores"]["macro"]["auroc"]["value"]) for b in baselines.values())])
        console.table(f"{name}: AUROC on test without looking at the image", ["finding", "pos", *baselines], table)
    policy = found["label_policy"]
    console.say(f"Labels: uncertain = {policy['uncertain']}, blank = {policy['blank']}.")
    for name, entry in (found["classifier"] or {}).items():
        _say_classifier(name, entry)


def _say_shared(found: dict[str, Any]) -> None:
    """What splits share: every pair within a Pack, and between Packs those that share or may share something."""
    units = ("patients", "studies", "images")
    rows = [
        (f"{name}: {' / '.join(row['splits'])}", row)
        for name, pack in found["packs"].items()
        for row in pack["between_splits"]
    ]
    apart = 0
    for row in found["between_packs"]:
        if any(row[unit] != 0 for unit in units):
            pair = zip(row["packs"], row["splits"], strict=True)
            rows.append((" / ".join(f"{pack} {split}" for pack, split in pair), row))
        else:
            apart += 1
    table = [[title, *("?" if row[unit] is None else str(row[unit]) for unit in units)] for title, row in rows]
    console.table("Shared between splits (? = cannot be known)", ["", *units], table)
    if apart:
        console.say(f"Of different Packs, {counted(apart, 'pair')} of splits share nothing.")


def _say_classifier(name: str, entry: dict[str, Any]) -> None:
    from kontrast.artifacts.wording import decimal

    for split, met in entry["overlap"].items():
        (console.warn if split == "test" and met["patients"] != 0 else console.say)(f"{name} {split}: {met['text']}.")
    if "reason" in entry["subgroups"]:
        console.say(f"{name}: no scores by subgroup ({entry['subgroups']['reason']}).")
        return
    table, small = [], 0
    for kind, groups in entry["subgroups"].items():
        for word, scores in groups.items():
            if "macro" not in scores:
                small += 1
                continue
            area = scores["macro"]["auroc"]
            bounds = "" if area["low"] is None else f" [{decimal(area['low'])}, {decimal(area['high'])}]"
            table.append([f"{kind}: {word}", str(scores["rows"]), decimal(area["value"]) + bounds])
    console.table(f"{name}: macro AUROC on test by subgroup", ["subgroup", "images", "AUROC [95 %]"], table)
    if small:
        console.say(f"Too small to be scored: {counted(small, 'subgroup')}.")
