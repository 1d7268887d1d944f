"""What of a changed source is new to a Pack, and into which splits it goes."""

from pathlib import Path

import pandas as pd

from kontrast.artifacts.pack import Pack
from kontrast.data.identity import KEY_VARIABLE, Key
from kontrast.data.layouts.records import Records
from kontrast.errors import LeakageError, OutputError
from kontrast.types import counted


def with_kept_splits(pack: Pack, table: pd.DataFrame, given: pd.DataFrame, key: Key, *, repair: bool) -> pd.DataFrame:
    """A source's rows, where images and patients of a Pack keep its splits.

    Args:
        pack: the Pack as it is.
        table: rows to pack, with raw ids and a `split` each.
        given: the records they come from, whose `split` is what the source itself says.
        key: the Pack's.
        repair: let a patient's split in the Pack win over one that the source gives.

    Raises:
        LeakageError: the source gives another split than the one in which the Pack has the patient.
    """
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
    return table.assign(split=kept.fillna(table["split"]))


def additions(pack: Pack, src: Path, table: pd.DataFrame, fingerprint: str, key: Key) -> pd.DataFrame:
    """The rows of a source that a Pack lacks, if nothing else has changed.

    Args:
        pack: the Pack.
        src: the source, for messages.
        table: its rows, with the Pack's splits.
        fingerprint: of those of its rows that the Pack holds.
        key: the Pack's.

    Raises:
        OutputError: images are gone, or what was packed is no longer what the source says.
    """
    packed, images = set(pack.table["image_id"]), table["source"].map(key.hash)
    gone = len(packed - set(images))
    content = pack.card.content
    why = ""
    if gone:
        why = f"{counted(gone, 'packed image')} not there any more"
    elif "packed" not in content:
        why = "it was made by an earlier version, which did not note what a Pack needs to grow"
    elif content["packed"] != fingerprint:
        why = "images that were packed have other files, labels or patients now"
    if why:
        raise OutputError(
            f"{src} has changed since {pack.path} was made ({content['source_rows']:,} images then, {len(table):,} "
            f"now), and not only by new images: {why}.",
            fix="Name another --out.",
        )
    return table[~images.isin(packed)].reset_index(drop=True)


def refuse_other_key(out: Path, key_id: str, key: Key) -> None:
    """A Pack has one key.

    Raises:
        OutputError: another is in use now.
    """
    if key_id != key.id:
        raise OutputError(
            f"{out} was made with another patient key than the one in use now ({key_id}, now {key.id}): "
            "under another key the same patients get other ids.",
            fix=f"Give the earlier key (--key FILE, or ${KEY_VARIABLE} for any command), or name another --out.",
        )


def refuse_other_kind(src: Path, pack: Pack, records: Records) -> None:
    """A Pack grows by images like its own: the same findings, and patients known or not.

    Raises:
        OutputError: the source has others now.
    """
    if pack.findings != records.findings or pack.patients_known != records.patients_known:
        what = "other findings" if pack.findings != records.findings else "patients where there were none, or none now"
        raise OutputError(f"{src} has changed since {pack.path} was made: it has {what}.", fix="Name another --out.")
