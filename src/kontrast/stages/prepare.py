"""`kontrast prepare`: raw images and their tables into a Pack."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import require, to_dict, verb
from kontrast.errors import OutputError, UsageError
from kontrast.types import Outcome, counted

if TYPE_CHECKING:
    from kontrast.artifacts.plan import Plan
    from kontrast.data.identity import Key
    from kontrast.data.source import Source


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
    """Share for validation, of the patients that the source gives no held-out split, where it has no such split."""
    test_fraction: float = 0.1
    """Share of the same patients for testing, where the source has no such split."""
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
        require(self.seed >= 0, f"--seed {self.seed} is negative.", "Give --seed 0 or more.")
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
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.making import make
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.pack_summary import say_pack, say_plan, summary, warn_of_polarity
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
    source = _read(src, config, load_key(config.key, make=not dry_run))
    if state == "done":
        return _again(source, out, config, dry_run=dry_run)
    plan = _plan(source, out, config)
    if dry_run:
        return Outcome("prepare", out, "planned", say_plan(plan, out))
    claim(out, "pack", config=config.asked())
    with locked(out):
        if not (out / "card.json").is_file():  # another process may have finished while this one was planning
            make(plan, out, source, config=config.asked(), workers=config.workers, cluster=config.cluster)
    pack = Pack.open(out, verify=False)
    facts = summary(pack)
    say_pack(facts)
    warn_of_polarity(pack)
    return Outcome("prepare", out, "done", facts)


def _from_address(src: Path, out: Path, config: PrepareConfig, dry_run: bool) -> Outcome:
    """Prepare from a copy of what lies behind an address; it stands beside the Pack, hidden, until that is done."""
    import shutil

    from kontrast.data.remote import brought

    copy = out.with_name(f".{out.name}.source")
    src, labels = brought(src, config.labels, copy)
    outcome = prepare(src, out=out, config=replace(config, labels=labels), dry_run=dry_run)
    if not dry_run:
        shutil.rmtree(copy, ignore_errors=True)
    return outcome


def _read(src: Path, config: PrepareConfig, key: "Key") -> "Source":
    """What the source says, and which of its rows go where."""
    from kontrast.data.selection import choose_rows, split_rows
    from kontrast.data.source import Source, kin_of, recognised

    records = recognised(src, config.labels, config.layout, config.column)
    table, flow = choose_rows(
        records.table, only=config.only, views=config.views, limit=config.limit, seed=config.seed,
        patients_known=records.patients_known,
    )  # fmt: skip
    # Without findings there is nothing to draw: all that has no given split is train.
    kin = kin_of(src, table, patients_known=records.patients_known) if records.findings else {}
    table, moved = split_rows(
        table, records.findings, config.seed, config.val_fraction, config.test_fraction, repair=config.repair_splits,
        kin=kin,
    )  # fmt: skip
    return Source(src=src, records=replace(records, flow=tuple(flow)), table=table, moved=moved, key=key, kin=kin)


def _plan(source: "Source", out: Path, config: PrepareConfig, size: int | None = None) -> "Plan":
    """What to pack; `size` is that of a Pack to which it is added."""
    from kontrast.artifacts.plan import Plan, settled_size
    from kontrast.data.preparation import Treatment

    side = size or config.size
    treatment = Treatment(
        size=settled_size(out, source) if side == "auto" else side,
        dtype=config.dtype,
        denoise=config.denoise,
        equalize=config.equalize,
        crop=config.crop,
    )
    return Plan.of(source, treatment, config.places, hash_paths=config.hash_paths)


def _again(source: "Source", out: Path, config: PrepareConfig, *, dry_run: bool) -> Outcome:
    """A finished Pack: nothing to do, or images to add; any other change of the source needs another Pack."""
    from kontrast.artifacts.adding import additions, opened, refuse_replaced, with_kept_splits
    from kontrast.artifacts.growth import Before
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.making import make
    from kontrast.artifacts.pack import Pack
    from kontrast.artifacts.pack_summary import say_pack, summary, warn_of_polarity
    from kontrast.artifacts.pack_writer import tidy

    pack_hash, pack = opened(out, source.key, dry_run=dry_run)
    source = with_kept_splits(pack, source, repair=config.repair_splits)
    same = pack.card.content["fingerprint"] == source.fingerprint
    new = source if same else additions(pack, source)
    refuse_replaced(pack, source, dry_run=dry_run)
    if same:
        if not dry_run:
            tidy(out)
        console.say(f"{out} is already done.")
        return Outcome("prepare", out, "already done", summary(pack))
    if dry_run:
        console.say(f"Would add {counted(len(new.table), 'image')} to the {len(pack):,} of {out}.")
        return Outcome("prepare", out, "planned", {"rows": len(pack) + len(new.table), "added": len(new.table)})
    plan = _plan(new, out, config, size=pack.size)
    with locked(out):
        before = Before.of(out)
        if before.sha256 != pack_hash:
            raise OutputError(f"{out} has grown meanwhile.", fix="Run the same command again.")
        make(plan, out, source, config=config.asked(), workers=config.workers, cluster=config.cluster, before=before)
    grown = Pack.open(out, verify=False)
    facts = summary(grown)
    say_pack(facts)
    warn_of_polarity(grown, first=len(pack))
    added = len(grown) - len(pack)
    console.say(
        f"Added {counted(added, 'image')} to the {len(pack):,} that were there; its card keeps the earlier hash."
    )
    return Outcome("prepare", out, "done", facts | {"added": added})
