"""What of a changed source is new to a Pack, and into which splits it goes."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from kontrast import console
from kontrast.artifacts.card import card_hash
from kontrast.artifacts.growth import commit
from kontrast.artifacts.lock import locked
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.pack_writer import PARTS
from kontrast.data.identity import KEY_VARIABLE, Key
from kontrast.data.replaced import date, replaced
from kontrast.data.source import Source
from kontrast.errors import LeakageError, OutputError
from kontrast.types import counted


def opened(out: Path, key: Key, *, dry_run: bool) -> tuple[str, Pack]:
    """A finished Pack, with what a killed run had ready to add; and the hash of its card.

    Raises:
        OutputError: it was made with another key than `key`.
    """
    if not dry_run and (out / PARTS).is_dir():
        with locked(out):
            commit(out)
    sha256, pack = card_hash(out), Pack.open(out, verify=False)
    if pack.key_id != key.id:
        raise OutputError(
            f"{out} was made with another patient key than the one in use now ({pack.key_id}, now {key.id}): "
            "under another key the same patients get other ids.",
            fix=f"Give the earlier key (--key FILE, or ${KEY_VARIABLE} for any command), or name another --out.",
        )
    return sha256, pack


def with_kept_splits(pack: Pack, source: Source, *, repair: bool) -> Source:
    """A source whose images and patients that a Pack has keep its splits.

    Args:
        pack: the Pack as it is.
        source: with a `split` for each row; its records say what the source itself gives.
        repair: let a patient's split in the Pack win over one that the source gives.

    Raises:
        LeakageError: the source gives another split than the one in which the Pack has the patient.
    """
    table, given, key = source.table, source.records.table, source.key
    # By their ids, which are hashes of the sources: the Pack may hide these.
    of_image = dict(zip(pack.table["image_id"], pack.table["split"], strict=True))
    of_patient = dict(zip(pack.table["patient_id"], pack.table["split"], strict=True))
    hashed = {patient: key.hash(str(patient)) for patient in table["patient"].unique()}
    images = table["source"].map(key.hash)
    kept = images.map(of_image).fillna(table["patient"].map(hashed).map(of_patient))
    asked = table["source"].map(dict(zip(given["source"], given["split"], strict=True)))
    new = ~images.isin(of_image)
    clash = new & kept.notna() & asked.ne("") & asked.ne(kept)
    if clash.any() and not repair:
        raise LeakageError(
            f"The source gives {counted(int(clash.sum()), 'new image')} another split than the one in which "
            f"{pack.path} has their patients.",
            fix="Prepare all images into another Pack, with --repair-splits.",
        )
    # A new patient who has a file in common with a packed one goes where that one is.
    kin = table["patient"].map(lambda patient: source.kin.get(str(patient), str(patient)))
    of_kin = dict(zip(kin[kept.notna()], kept[kept.notna()], strict=True))
    follow = kin.map(of_kin).where(asked == "")
    return replace(source, table=table.assign(split=kept.fillna(follow).fillna(table["split"])))


def refuse_replaced(pack: Pack, source: Source, *, dry_run: bool) -> None:
    """Packed images whose files hold other bytes now, under the same name and of the same size, are no addition.

    Files that were touched since their shard was made are compared with their checksums in the Pack's table; where all
    are the same, the shards say that this needs not be done again.

    Raises:
        OutputError: with how many there are.
    """
    started, files = time.time_ns(), list[tuple[str, str, int]]()
    row_of = {image_id: row for row, image_id in enumerate(pack.table["image_id"])}
    shards = [(shard["first"], pack.path / shard["file"]) for shard in pack.card.content["shards"]]
    times = np.array([path.stat().st_mtime_ns for _, path in shards], dtype=np.int64)
    of_shard = np.searchsorted([first for first, _ in shards], np.arange(len(pack)), side="right") - 1
    for name in source.table["source"].astype(str):
        if (row := row_of.get(source.key.hash(name))) is not None:
            files.append((name, pack.table["sha256"][row], int(times[of_shard[row]])))
    others, compared = replaced(source.src, files)
    if others:
        raise OutputError(
            f"{counted(len(others), 'file')} of {source.src} {'holds' if len(others) == 1 else 'hold'} other bytes now "
            f"than when {pack.path} was made, under the same names.",
            fix="Name another --out, or put back the files that were there.",
        )
    if compared and not dry_run:
        for _, path in shards:
            date(path, started)


def additions(pack: Pack, source: Source) -> Source:
    """The rows of a source that a Pack lacks, if nothing else has changed; says how many, and of how many patients.

    Args:
        pack: the Pack.
        source: with the Pack's splits.

    Raises:
        OutputError: other findings, images are gone, or what was packed is no longer what the source says.
    """
    _refuse_other_kind(pack, source)
    packed, table, key = set(pack.table["image_id"]), source.table, source.key
    images = table["source"].map(key.hash)
    gone = len(packed - set(images))
    content = pack.card.content
    why = ""
    if gone:
        why = f"{counted(gone, 'packed image')} not there any more"
    elif "packed" not in content:
        why = "it was made by an earlier version, which did not note what a Pack needs to grow"
    elif content["packed"] != source.fingerprint_of(packed):
        why = "images that were packed have other files, labels or patients now"
    if why:
        raise OutputError(
            f"{source.src} has changed since {pack.path} was made ({content['source_rows']:,} images then, "
            f"{len(table):,} now), and not only by new images: {why}.",
            fix="Name another --out.",
        )
    new = table[~images.isin(packed)].reset_index(drop=True)
    people = len(set(new["patient"].map(lambda patient: key.hash(str(patient)))) - set(pack.table["patient_id"]))
    console.decided("grow", f"{len(new):,} new", f"of {counted(people, 'new patient')}; those packed stay as they are")
    return replace(source, table=new)


def _refuse_other_kind(pack: Pack, source: Source) -> None:
    """A Pack grows by images like its own: the same findings, and patients known or not."""
    records = source.records
    if pack.findings != records.findings or pack.patients_known != records.patients_known:
        what = "other findings" if pack.findings != records.findings else "patients where there were none, or none now"
        raise OutputError(
            f"{source.src} has changed since {pack.path} was made: it has {what}.", fix="Name another --out."
        )
