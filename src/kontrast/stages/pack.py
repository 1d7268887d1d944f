"""`kontrast pack`: care of Packs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import choose, require, to_dict, verb
from kontrast.errors import ArtifactError, DataError, UsageError
from kontrast.types import SPLITS, Outcome, counted

if TYPE_CHECKING:
    import numpy as np

    from kontrast.artifacts.joining import Chosen
    from kontrast.artifacts.pack import Damage, Pack

ACTIONS = ("verify", "merge", "subset", "export")


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """What of a Pack, and how."""

    split: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """subset, export: keep these splits (train, val, test); all when left out."""
    views: Literal["all", "frontal", "lateral"] = "all"
    """subset, export: which views to keep."""
    only: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """subset, export: shell patterns of source paths to keep."""
    ids: Path | None = None
    """subset, export: a file with one image id a line to keep (a CSV's column image_id will do)."""
    findings: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """subset, export: keep these label columns; all when left out."""
    repair_splits: bool = False
    """merge: move the images of patients who would stand in two splits to train, instead of refusing."""
    drop_copies: bool = False
    """merge, subset: of images that hold the same bytes keep one, a held-out one (test, else val) where there is."""
    format: Literal["folders", "medmnist", "webdataset"] = "folders"
    """export: PNGs in folders with a table, one .npz as MedMNIST's, or .tar shards as WebDataset's."""
    uncertain: str = "zeros"
    """export as medmnist: what -1 becomes, zeros or ones; per finding as `zeros,Edema=ones`."""
    blank: Literal["negative", "ignore"] = "negative"
    """export as medmnist: what a blank label becomes; ignore refuses Packs that have any."""

    def __post_init__(self) -> None:
        for name in self.split:
            choose(name, SPLITS, "--split")


@verb
def pack(
    action: str,
    /,
    *packs: Path,
    out: Path | None = None,
    config: Annotated[PackConfig, Parameter(name="*")] = PackConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Check a Pack (verify), join several (merge), take a part of one (subset), or write one for others (export).

    `verify` compares every file's checksum with the card, whatever the Pack's size, and names each damaged file with
    the images that it holds. The others write into --out; interrupted, the same command goes on.

    Args:
        action: verify, merge, subset or export.
        packs: one Pack; for merge two or more.
        out: folder to write; not for verify.
        config: what of a Pack, and how.
        dry_run: say what would be done; read no image, write nothing.

    Raises:
        ArtifactError: files are missing, cut short or changed.
        DataError: nothing is left to keep.
        UsageError: an action that is not there, Packs that cannot be joined, or options that do not fit.
        LeakageError: a patient would be in two splits.
        OutputError: --out holds something else, or the disk is full.
    """
    choose(action, ACTIONS, "The action")
    paths = [Path(path) for path in packs]
    wanted = "two Packs or more" if action == "merge" else "one Pack"
    require(
        len(paths) >= 2 if action == "merge" else len(paths) == 1,
        f"pack {action} takes {wanted}, got {len(paths)}.",
        f"Write: kontrast pack {action} PACK{' PACK' if action == 'merge' else ''}"
        + ("" if action == "verify" else " --out DIR"),
    )
    if action == "verify":
        require(out is None, "pack verify writes nothing.", "Leave out --out.")
        return _verify(paths[0], dry_run)
    if out is None:
        raise UsageError(f"pack {action} was not told where to write: --out is missing.", fix="Add --out DIR.")
    _refuse_unused(action, config)
    made = {"merge": _merge, "subset": _subset, "export": _export}[action]
    return made(paths, Path(out), config, dry_run)


def _refuse_unused(action: str, config: PackConfig) -> None:
    """Options of another action would be read as if they counted."""
    kept = ("split", "views", "only", "ids", "findings")
    belongs = {"merge": ("repair_splits", "drop_copies"), "subset": (*kept, "drop_copies")}
    belongs["export"] = (*kept, "format", "uncertain", "blank")
    default = PackConfig()
    for name in to_dict(config):
        if name not in belongs[action] and getattr(config, name) != getattr(default, name):
            raise UsageError(f"--{name.replace('_', '-')} has no effect on pack {action}.", fix="Leave it out.")


def _merge(paths: list[Path], out: Path, config: PackConfig, dry_run: bool) -> Outcome:
    from kontrast.artifacts.joining import together
    from kontrast.artifacts.pack import Pack

    require(len({path.resolve() for path in paths}) == len(paths), "A Pack is named twice.", "Name each Pack once.")
    chosen = together([Pack.open(path) for path in paths], repair=config.repair_splits, once=config.drop_copies)
    asked: dict[str, Any] = {"action": "merge", "repair_splits": config.repair_splits}
    if config.drop_copies:
        asked["drop_copies"] = True
    elif inside := int(chosen.table[chosen.table["sha256"] != ""].duplicated(["pack", "sha256"]).sum()):
        console.say(f"Kept: {counted(inside, 'copy')} of images in the same Pack; --drop-copies leaves them out.")
    if chosen.moved:
        console.say(f"Moved to train: {counted(chosen.moved, 'image')} of patients in two splits.")
    return _written(chosen, out, asked, "merge", dry_run)


def _say_copies(chosen: "Chosen") -> None:
    """What is left out, what of it stays with the images that are kept, and where the two contradict each other."""
    found, dropped = chosen.settled, len(chosen.settled.left_out)
    if dropped:
        console.say(f"Left out: {counted(dropped, 'copy')} of images that are kept, see rejects.csv.")
    if found.filled:
        console.say(f"Filled from these copies, where the images kept had blanks: {_columns(found.filled)}.")
    if found.contradictions:
        console.warn(
            f"Copies of one image contradict each other: {_columns(found.contradicted)}. These labels are uncertain "
            "(-1) now; the new Pack's contradictions.csv lists them."
        )
    if found.differ:
        console.warn(f"Copies differ from the images that are kept, whose values stay: {_columns(found.differ)}.")
    if found.strangers:
        apart = f", of whom {found.apart:,} in another split than that image" if found.apart else ""
        console.warn(
            f"{counted(found.strangers, 'copy')} left out stood under other patients than the image that is "
            f"kept{apart}: one person under two ids, or a slip of an export."
        )


def _columns(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} of {counted(count, 'image')}" for name, count in counts.items())


def _subset(paths: list[Path], out: Path, config: PackConfig, dry_run: bool) -> Outcome:
    from kontrast.artifacts.joining import part, rows_of
    from kontrast.artifacts.pack import Pack

    pack = Pack.open(paths[0])
    rows, findings = _kept(pack, config)
    asked = {name: value for name, value in to_dict(config).items() if name in ("split", "views", "only", "findings")}
    asked |= {"action": "subset", "ids": config.ids and config.ids.name, "rows": len(rows)}
    if config.drop_copies:
        asked["drop_copies"] = True
    table = rows_of(pack).iloc[rows].reset_index(drop=True)
    return _written(part(pack, table, findings, once=config.drop_copies), out, asked, "subset", dry_run)


def _kept(pack: "Pack", config: PackConfig) -> tuple["np.ndarray", tuple[str, ...]]:
    """Row numbers and findings that the options leave.

    Raises:
        DataError: nothing is left.
        UsageError: an unknown finding, or a file of ids that is none.
    """
    import numpy as np

    from kontrast.data.selection import keep_only, keep_views

    table = pack.table.assign(row=np.arange(len(pack)))
    if config.split:
        table = table[table["split"].isin(config.split)].reset_index(drop=True)
    if config.ids is not None:
        table = table[table["image_id"].isin(_ids(config.ids))].reset_index(drop=True)
    if not len(table):
        raise DataError(f"Nothing of {pack.path} is left by --split and --ids.", fix="Widen what is kept.")
    table = keep_views(keep_only(table, config.only), config.views)
    findings = tuple(choose(name, pack.findings, "--findings") for name in config.findings) or pack.findings
    return table["row"].to_numpy(), findings


def _ids(path: Path) -> set[str]:
    if not path.is_file():
        raise UsageError(f"--ids {path} is not a file.", fix="Name a file with one image id a line, or a CSV.")
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    header = lines[0].split(",") if lines else []
    place = header.index("image_id") if "image_id" in header else 0
    return {line.split(",")[place] for line in lines}


def _written(chosen: "Chosen", out: Path, asked: dict[str, Any], layout: str, dry_run: bool) -> Outcome:
    from kontrast.artifacts.card import parent
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.joining import write
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.pack_summary import say_pack, summary

    _say_copies(chosen)
    parents = [parent("pack", pack.path) for pack in chosen.packs]
    taken = claim(out, "pack", config=asked, parents=parents, dry_run=dry_run)
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("pack", out, "already done", summary(Pack.open(out, verify=False)))
    if dry_run:
        console.say(f"Would write {counted(len(chosen.table), 'image')} into {out}.")
        return Outcome("pack", out, "planned", {"rows": len(chosen.table)})
    with locked(out):
        write(chosen, out, config=asked, layout=layout)
    pack = Pack.open(out, verify=False)
    facts = summary(pack) | {"from_copies": pack.card.content["from_copies"]}
    added = facts["from_copies"]
    if added["masks"] or added["boxes"]:
        what = f"{counted(added['masks'], 'mask')} and {added['boxes']:,} {'box' if added['boxes'] == 1 else 'boxes'}"
        console.say(f"Added from copies to images that had none: {what}.")
    say_pack(facts)
    return Outcome("pack", out, "done", facts)


def _export(paths: list[Path], out: Path, config: PackConfig, dry_run: bool) -> Outcome:
    from dataclasses import replace

    from kontrast.artifacts.card import parent, write_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.exporting import to_folders, to_medmnist, to_webdataset
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack

    pack = Pack.open(paths[0])
    rows, findings = _kept(pack, config)
    if findings != pack.findings:
        content = pack.card.content | {"findings": list(findings)}
        pack = replace(pack, card=replace(pack.card, content=content))
    asked, parents = to_dict(config) | {"ids": config.ids and config.ids.name}, [parent("pack", pack.path)]
    taken = claim(out, "export", config=asked, parents=parents, dry_run=dry_run)
    facts = {"rows": len(rows), "format": config.format}
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("pack", out, "already done", facts)
    if dry_run:
        console.say(f"Would write {counted(len(rows), 'image')} as {config.format} into {out}.")
        return Outcome("pack", out, "planned", facts)
    with locked(out):
        if config.format == "medmnist":
            files = to_medmnist(pack, rows, out, config.uncertain, config.blank)
            console.say(f"Labels: uncertain as {config.uncertain}, blank as {config.blank}.")
        else:
            files = (to_folders if config.format == "folders" else to_webdataset)(pack, rows, out)
        write_card(out, "export", config=asked, parents=parents, content=facts, files=files)
    console.say(f"Wrote {counted(len(rows), 'image')} as {config.format}; ids of patients are hashed, as in the Pack.")
    return Outcome("pack", out, "done", facts)


def _verify(folder: Path, dry_run: bool) -> Outcome:
    from kontrast.artifacts.card import CARD, read_card
    from kontrast.artifacts.checking import card_faults
    from kontrast.artifacts.pack import Damage, Pack, damages

    card = read_card(folder, "pack")
    total = sum(file["bytes"] for file in card.files.values())
    if dry_run:
        console.say(
            f"Would compare {counted(len(card.files), 'file')} ({total / 2**20:,.1f} MiB) of {folder} with its card."
        )
        return Outcome("pack", folder, "planned", {"files": len(card.files), "rows": card.content["rows"]})
    found = damages(folder)
    faults = [] if found else card_faults(Pack.open(folder, verify=False))
    found += [Damage(CARD, f"{folder / CARD} is altered: {fault}.") for fault in faults]
    ids = _image_ids(folder, {damage.file for damage in found})
    for damage in found:
        console.say(f"DAMAGED  {damage.problem}{_held(damage, ids)}")
    if found:
        rows = sorted({row for damage in found for row in damage.rows})
        files = {damage.file for damage in found}
        raise ArtifactError(
            f"{counted(len(files), 'file')} of {folder} {'is' if len(files) == 1 else 'are'} not what the card says; "
            f"this affects at most {counted(len(rows), 'image')}."
            if not faults
            else f"{folder / CARD} does not say what the other files hold.",
            fix="Restore those files from a copy, or prepare the Pack again into another folder.",
            facts={
                "damaged": [
                    {"file": d.file, "problem": d.problem, "first": d.first, "last": d.last}
                    | {"image_ids": [ids[row] for row in d.rows] if ids else None}
                    for d in found
                ]
            },
        )
    console.say(
        f"{folder} is whole: {counted(card.content['rows'], 'image')}, {counted(len(card.files), 'file')}, "
        f"{total / 2**20:,.1f} MiB."
    )
    return Outcome("pack", folder, summary={"files": len(card.files), "rows": card.content["rows"], "damaged": []})


def _image_ids(folder: Path, damaged: set[str]) -> list[str]:
    """The ids of a Pack's images by their rows; [] where its table is damaged, and nothing where nothing is."""
    import pandas as pd

    from kontrast.artifacts.pack_writer import TABLE

    if not damaged or TABLE in damaged:
        return []
    return pd.read_csv(folder / TABLE, usecols=["image_id"], dtype=str)["image_id"].tolist()


def _held(damage: "Damage", ids: list[str]) -> str:
    """Which images a damaged file holds, in words."""
    if damage.first is None or damage.last is None:
        return ""
    rows = f"images {damage.first:,} to {damage.last:,}" if damage.last > damage.first else f"image {damage.first:,}"
    named = f": image_id {ids[damage.first]}" if ids else ""
    if ids and damage.last > damage.first:
        named += f" to {ids[damage.last]} (--json lists all)"
    return f" It holds {rows} of table.csv, counted from 0{named}."
