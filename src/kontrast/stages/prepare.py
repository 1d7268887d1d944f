"""`kontrast prepare`: raw images and their tables into a Pack."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import require, to_dict, verb
from kontrast.errors import OutputError, UsageError
from kontrast.types import CROP, SPLITS, Outcome, counted

if TYPE_CHECKING:
    import pandas as pd

    from kontrast.artifacts.growth import Before
    from kontrast.artifacts.packing import Plan
    from kontrast.data.identity import Key
    from kontrast.data.layouts import Records


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How images become a Pack."""

    labels: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    """CSV files with labels and patients; those that the layout knows are found in SRC by themselves."""
    places: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    """Files that say where findings are: CheXlocalize's JSON, NIH's box list or a table of boxes of your own; those in
    SRC under their published names are found by themselves."""
    layout: str = "auto"
    """How SRC is arranged: auto, a public dataset (see docs/datasets.md), pacs, table, folder (class folders, or no
    labels) or plain (no labels)."""
    column: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """role=name for a column that was not recognised: path, patient, study, view, sex, age, split, finding …"""
    views: Literal["all", "frontal", "lateral"] = "all"
    """Which views to keep."""
    only: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """Shell patterns of paths below SRC to keep (`--only "bacteria/*" "virus/*"`); all when left out."""
    size: int | Literal["auto"] = "auto"
    """Side of the square images in pixels (16 to 2048); auto: that of the data, a multiple of 32 up to 320."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    """uint16 keeps more grey levels at twice the space; displays and most published models use 8 bits."""
    denoise: Literal["none", "median", "nlm"] = "none"
    """none, median (3x3) or nlm (non-local means); off because it can remove findings."""
    equalize: Literal["none", "hist", "clahe"] = "none"
    """none, hist (histogram) or clahe; off because no gain is known."""
    crop: Literal["none", "lungs"] = "none"
    """lungs: to a box around the lungs with a margin; images on which they are not found with confidence stay whole."""
    val_fraction: float = 0.1
    """Share of patients for validation where the source has no such split."""
    test_fraction: float = 0.1
    """Share of patients for testing where the source has no such split."""
    repair_splits: bool = False
    """Move the images of patients who stand in two given splits to train, instead of refusing."""
    limit: int | None = None
    """Take about so many images, whole patients drawn with the seed: for a first try."""
    hash_paths: bool = False
    """Write keyed hashes in place of the files' names, for names that say who is shown (see docs/privacy.md)."""
    key: Path | None = None
    """File with the key that hashes patient ids; by default one per user, made on first use."""
    workers: int | Literal["auto"] = "auto"
    """Processes that read files; no effect on the result."""
    cluster: str | None = None
    """Address of a Dask scheduler (tcp://HOST:8786) whose workers read files, in place of --workers."""
    seed: int = 0
    """Seed of the split and of --limit."""

    def __post_init__(self) -> None:
        require(
            self.size == "auto" or 16 <= self.size <= 2048,
            f"--size should be auto or 16 to 2048, got {self.size}.",
            "Write 224 or 320.",
        )
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            require(
                0 <= value < 1,
                f"--{name.replace('_', '-')} should be 0 to below 1, got {value}.",
                "Write 0.1 for 10 %.",
            )
        require(
            self.val_fraction + self.test_fraction < 1,
            f"--val-fraction {self.val_fraction} and --test-fraction {self.test_fraction} leave nothing to train on.",
            "Write 0.1 for both.",
        )
        require(self.limit is None or self.limit >= 1, f"--limit should be at least 1, got {self.limit}.", "Try 1000.")
        require(
            self.workers == "auto" or self.workers >= 1,
            f"--workers should be auto or at least 1, got {self.workers}.",
            "Leave it out.",
        )
        require(
            self.cluster is None or self.workers == "auto",
            f"--workers {self.workers} and --cluster {self.cluster} exclude each other.",
            "Leave out --workers: the cluster has its own.",
        )
        require(
            self.dtype == "uint8" or (self.denoise, self.equalize) == ("none", "none"),
            f"--denoise {self.denoise} and --equalize {self.equalize} work on 8 bits, but --dtype is uint16.",
            "Leave out --dtype, or leave the images as they are.",
        )

    def asked(self) -> dict[str, Any]:
        """What decides the result: neither who works nor where files lie does."""
        asked = to_dict(self) | {"labels": [path.name for path in self.labels]}
        left_out = {"workers", "cluster", "key", "places"}
        if not self.hash_paths:  # as in Packs of before it could be asked for
            left_out.add("hash_paths")
        if self.crop == "none":
            left_out.add("crop")
        asked = {name: value for name, value in asked.items() if name not in left_out}
        return asked | ({"places": [path.name for path in self.places]} if self.places else {})


@verb
def prepare(
    src: Path,
    /,
    *,
    out: Path,
    config: Annotated[PrepareConfig, Parameter(name="*")] = PrepareConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Decode, check, split and resize images into a Pack.

    Files that cannot be read are listed in the Pack's rejects.csv and the rest goes on. Interrupted, the same command
    resumes and ends in the same bytes. Once it is done, the same command adds images that have come since.

    Args:
        src: folder with the images.
        out: folder for the Pack.
        config: how.
        dry_run: say what would be done, write nothing.

    Raises:
        UsageError: folders that may be classes or people, or an option that does not fit.
        DataError: no images, tables that do not fit, or more than half of the files unreadable.
        LeakageError: given splits share patients (see --repair-splits).
        OutputError: the output folder is in use, holds something else, or the disk is full.
    """
    from kontrast.artifacts.card import claim
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.pack_summary import say_pack, summary, warn_of_polarity
    from kontrast.data.identity import load_key
    from kontrast.data.remote import address

    src, out = Path(src), Path(out)
    if address(out):
        raise UsageError(
            f"--out {out} is no folder here.", fix="Name one: Packs are read through the disk's own cache."
        )
    if any(address(path) for path in (src, *config.labels)):
        return _from_address(src, out, config, dry_run)
    state = claim(out, "pack", config=config.asked(), dry_run=True).state
    if state == "done" and not src.exists():
        console.warn(f"{src} is not there any more, so it cannot be compared with {out}.")
        return Outcome("prepare", out, "already done", summary(Pack.open(out, verify=False)))
    key = load_key(config.key, make=not dry_run)
    records, table, moved = _rows(src, config)
    if state == "done":
        return _again(src, out, records, table, moved, key, config, dry_run=dry_run)
    plan = _plan(src, out, records, table, key, config)
    if dry_run:
        return _planned(plan, out)
    claim(out, "pack", config=config.asked())
    with locked(out):
        if not (out / "card.json").is_file():  # another process may have finished while this one was planning
            _write(plan, out, records, moved, config, whole=(table, plan.fingerprint))
    pack = Pack.open(out, verify=False)
    facts = summary(pack)
    say_pack(facts)
    warn_of_polarity(pack)
    return Outcome("prepare", out, "done", facts)


def _from_address(src: Path, out: Path, config: PrepareConfig, dry_run: bool) -> Outcome:
    """Prepare from a copy of what lies behind an address; it stands beside the Pack, hidden, until that is done."""
    import shutil
    from dataclasses import replace

    from kontrast.data.remote import brought

    copy = out.with_name(f".{out.name}.source")
    src, labels = brought(src, config.labels, copy)
    outcome = prepare(src, out=out, config=replace(config, labels=labels), dry_run=dry_run)
    if not dry_run:
        shutil.rmtree(copy, ignore_errors=True)
    return outcome


def _planned(plan: "Plan", out: Path) -> Outcome:
    """Say what would be packed."""
    from kontrast.artifacts.pack_summary import say_labels
    from kontrast.data.survey import label_counts, positives_by_split

    images: dict[str, int] = {name: int((plan.table["split"] == name).sum()) for name in SPLITS}
    shares = ", ".join(f"{n:,} {name}" for name, n in images.items() if n)
    console.say(f"Would pack {counted(len(plan.table), 'image')} at {plan.treatment.size} px into {out}: {shares}.")
    positives = positives_by_split(plan.table, plan.findings)
    say_labels(label_counts(plan.table, plan.findings), positives, images)
    planned = {"rows": len(plan.table), "size": plan.treatment.size, "findings": list(plan.findings)}
    return Outcome("prepare", out, "planned", planned | {"splits": images, "positives": positives})


def _rows(src: Path, config: PrepareConfig) -> tuple["Records", "pd.DataFrame", "pd.DataFrame"]:
    """Records as the layout gives them; the rows to pack, split and in order; the images whose split was repaired."""
    from kontrast.data.columns import parse_overrides
    from kontrast.data.layouts import detect
    from kontrast.data.selection import choose_rows, split_rows

    overrides = parse_overrides(config.column)
    layout = detect(src, config.labels, config.layout)
    if layout.doubt:
        raise UsageError(
            f"In {src} {layout.doubt}.",
            fix="Add --layout folder if every folder is a class, or --layout plain if not: then there are no labels, "
            "unless --labels names a table.",
        )
    console.decided("--layout", layout.name, layout.reason)
    records = layout.records(src, config.labels, overrides)
    for note in records.notes:
        # Whose images are whose decides what every later figure means: that note must not be missed.
        (console.warn if "patient id" in note else console.note)(note)
    table, flow = choose_rows(
        records.table, only=config.only, views=config.views, limit=config.limit, seed=config.seed,
        patients_known=records.patients_known,
    )  # fmt: skip
    return replace(records, flow=tuple(flow)), *split_rows(
        table, records.findings, config.seed, config.val_fraction, config.test_fraction, repair=config.repair_splits
    )


def _plan(
    src: Path,
    out: Path,
    records: "Records",
    table: "pd.DataFrame",
    key: "Key",
    config: PrepareConfig,
    size: int | None = None,
) -> "Plan":
    """What to pack; `size` is that of a Pack to which it is added."""
    from kontrast.artifacts.packing import Plan, fingerprint, interrupted_plan
    from kontrast.data.masks import find_masks
    from kontrast.data.preparation import Treatment, suggest_size

    side = size or config.size
    if side == "auto":
        earlier = interrupted_plan(out)
        if earlier is not None and not earlier["unreadable"]:
            side, why = earlier["size"], "as begun"
        else:
            side, why = suggest_size(src, table["source"].tolist())
        console.decided("--size", side, why)
    return Plan(
        src=src,
        table=table,
        findings=records.findings,
        treatment=Treatment(
            size=side, dtype=config.dtype, denoise=config.denoise, equalize=config.equalize, crop=config.crop
        ),
        masks=find_masks(src, [path for path in config.places if path.suffix == ".json"]),
        key=key,
        fingerprint=fingerprint(src, table, key),
        hash_paths=config.hash_paths,
    )


def _write(
    plan: "Plan",
    out: Path,
    records: "Records",
    moved: "pd.DataFrame",
    config: PrepareConfig,
    *,
    whole: tuple["pd.DataFrame", str],
    before: "Before | None" = None,
) -> None:
    """Make the Pack, or add to it what `before` lacks; `whole` is all that it is made from, and its fingerprint."""
    from kontrast.artifacts.pack_writer import PackWriter
    from kontrast.artifacts.packing import fill, fingerprint, generated, refuse_mostly_unread, write_preview
    from kontrast.cluster import Cluster
    from kontrast.data.boxes import COLUMNS, find_boxes, place_boxes
    from kontrast.data.preparation import LUNGS
    from kontrast.workers import processes

    writer = PackWriter(
        folder=out,
        findings=plan.findings,
        size=plan.treatment.size,
        dtype=plan.treatment.dtype,
        key_id=plan.key.id,
        extra=plan.extra if before is None else tuple(before.card.content.get("extra", ())),
        before=before,
    )
    if config.cluster:
        with Cluster(config.cluster) as cluster:
            fill(plan, writer, workers=1, cluster=cluster)
    else:
        fill(plan, writer, workers=processes(config.workers, len(plan.table)))
    if before is None:
        refuse_mostly_unread(plan, writer)
    extra: dict[str, Any] = {}
    tables = [path for path in config.places if path.suffix != ".json"]
    boxes = find_boxes(plan.src, tables) if records.boxes is None or tables else records.boxes
    if boxes is not None:
        of_id = {plan.key.hash(source): source for source in whole[0]["source"]}
        images = {
            of_id[row["image_id"]]: (row["image_id"], int(row["height"]), int(row["width"]), row.get(CROP, ""))
            for row in writer.rows()
        }
        extra["boxes.csv"] = (COLUMNS, list(place_boxes(boxes, images, plan.findings, writer.size)))
    if len(moved):
        extra["moved.csv"] = (
            tuple(moved.columns), moved.assign(source=moved["source"].map(plan.name)).to_numpy().tolist()
        )  # fmt: skip
    writer.finish(
        config=config.asked(),
        content={
            "patients_known": records.patients_known,
            "layout": records.layout,
            "notes": list(records.notes),
            "moved": len(moved),
            "flow": list(records.flow),
            "fingerprint": whole[1],
            "packed": fingerprint(
                plan.src, _packed(whole[0], {row["image_id"] for row in writer.rows()}, plan.key), plan.key
            ),
            "source_rows": len(whole[0]),
            **({"generated": True} if generated(plan.src) else {}),
        },
        mask_names=(*(plan.masks.names if plan.masks else ()), *((LUNGS,) if config.crop == "lungs" else ())),
        rejects=[(plan.name(file), reason) for file, reason in records.problems],
        extra=extra,
        written=write_preview(plan, writer) if before is None else (),
    )


def _packed(table: "pd.DataFrame", image_ids: set[str], key: "Key") -> "pd.DataFrame":
    return table[table["source"].map(key.hash).isin(image_ids)]


def _again(
    src: Path,
    out: Path,
    records: "Records",
    table: "pd.DataFrame",
    moved: "pd.DataFrame",
    key: "Key",
    config: PrepareConfig,
    *,
    dry_run: bool,
) -> Outcome:
    """A finished Pack: nothing to do, or images to add; any other change of the source needs another Pack."""
    from kontrast.artifacts.adding import additions, refuse_other_key, refuse_other_kind, with_kept_splits
    from kontrast.artifacts.card import card_hash
    from kontrast.artifacts.growth import Before, commit
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.pack_summary import say_pack, summary
    from kontrast.artifacts.pack_writer import tidy
    from kontrast.artifacts.packing import fingerprint

    if not dry_run and (out / ".parts").is_dir():
        with locked(out):  # what a killed run had ready
            commit(out)
    pack_hash, pack = card_hash(out), Pack.open(out, verify=False)
    refuse_other_key(out, pack.key_id, key)
    table = with_kept_splits(pack, table, records.table, key, repair=config.repair_splits)
    now = fingerprint(src, table, key)
    if pack.card.content["fingerprint"] == now:
        if not dry_run:
            tidy(out)
        console.say(f"{out} is already done.")
        return Outcome("prepare", out, "already done", summary(pack))
    refuse_other_kind(src, pack, records)
    packed = _packed(table, set(pack.table["image_id"]), key)
    new = additions(pack, src, table, fingerprint(src, packed, key), key)
    people = len(set(new["patient"].map(lambda patient: key.hash(str(patient)))) - set(pack.table["patient_id"]))
    console.decided("grow", f"{len(new):,} new", f"of {counted(people, 'new patient')}; those packed stay as they are")
    if dry_run:
        console.say(f"Would add {counted(len(new), 'image')} to the {len(pack):,} of {out}.")
        return Outcome("prepare", out, "planned", {"rows": len(pack) + len(new), "added": len(new)})
    plan = _plan(src, out, records, new, key, config, size=pack.size)
    with locked(out):
        before = Before.of(out)
        if before.sha256 != pack_hash:
            raise OutputError(f"{out} has grown meanwhile.", fix="Run the same command again.")
        _write(plan, out, records, moved, config, whole=(table, now), before=before)
    grown = Pack.open(out, verify=False)
    facts = summary(grown)
    say_pack(facts)
    added = len(grown) - len(pack)
    console.say(
        f"Added {counted(added, 'image')} to the {len(pack):,} that were there; its card keeps the earlier hash."
    )
    return Outcome("prepare", out, "done", facts | {"added": added})
