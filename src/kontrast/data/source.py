"""A source as it is now: what its tables say, the rows of it to pack, and a name for all that it holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from kontrast import console
from kontrast.data.columns import parse_overrides
from kontrast.data.copies import byte_copies, shared_files
from kontrast.data.decode import listed_once, out_of_reach, own_folders, passed_over
from kontrast.data.decode.arrays import parted
from kontrast.data.decode.listing import NO_TARGET
from kontrast.data.identity import Key
from kontrast.data.layouts import detect
from kontrast.data.layouts.records import Records
from kontrast.errors import UsageError
from kontrast.types import EXTRA_COLUMNS, counted

MANY = 0.05
"""Share of all patients above which those with files in common are not drawn as one: splits would be far off."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a Pack is made from, or grows by.

    Attributes:
        src: the folder.
        records: as the layout gives them.
        table: rows to pack, split and in order, with raw ids.
        moved: the images whose split was repaired (`source, from, to`).
        key: hashes the ids.
        kin: patients who have a file in common, each with the one who stands for them all.
    """

    src: Path
    records: Records
    table: pd.DataFrame
    moved: pd.DataFrame
    key: Key
    kin: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """A name for what the source holds, as it was when first asked for: see `fingerprint`."""
        return fingerprint(self.src, self.table, self.key)

    def fingerprint_of(self, image_ids: set[str]) -> str:
        """The same of some of its images alone, as they are now."""
        return fingerprint(self.src, self.table[self.table["source"].map(self.key.hash).isin(image_ids)], self.key)


def fingerprint(src: Path, table: pd.DataFrame, key: Key) -> str:
    """A name for what a source holds: every row as the tables give it, and every file's size (32 hexadecimal digits).

    Keyed, because a plain hash of a small table would let anyone test guesses at the patient ids in it.
    """
    sizes = [_size(src / str(source)) for source in table["source"]]
    # What a header says beside the rest is left out: earlier versions did not read it, and the sizes stand for it.
    lines = (
        table.drop(columns=list(EXTRA_COLUMNS), errors="ignore")
        .assign(bytes=sizes)
        .to_csv(index=False, lineterminator="\n", float_format="%.6g")
    )
    return key.hash(lines, 32)


def _size(path: Path) -> int:
    inside = parted(path)
    try:
        return (inside[0] if inside else path).stat().st_size
    except OSError:
        return -1


def kin_of(src: Path, table: pd.DataFrame, *, patients_known: bool) -> dict[str, str]:
    """Which patients are to be drawn as one, because files of theirs hold the same bytes; says how many.

    Nobody where all splits are given: these stay.

    Args:
        src: the source folder.
        table: as `Records.table`.
        patients_known: for the words.
    """
    if table["split"].ne("").all() and table["split"].eq("val").any():
        return {}
    sources = table["source"].astype(str).tolist()
    with console.progress("compare", len(sources), "files") as line:
        pairs, _ = byte_copies(src, sources, tell=line.update)
    kin = shared_files(pairs, dict(zip(sources, table["patient"].astype(str), strict=True)))
    who, many = "patients" if patients_known else "images", max(10, MANY * table["patient"].nunique())
    size = Counter(kin.values())
    lost = sum(count for count in size.values() if count > many)
    if lost:
        console.warn(
            f"{lost:,} {who} have files in common, byte for byte: a frame without a picture? They are too many to be "
            "kept in one split, so copies of such files stand in several. Remove those files from the source."
        )
        kin = {name: first for name, first in kin.items() if size[first] <= many}
    if kin:
        console.decided(
            "copies", f"{len(kin):,} {who} drawn as {len(set(kin.values())):,}",
            "they have a file in common, byte for byte, so they go into one split",
        )  # fmt: skip
    return kin


def recognised(src: Path, labels: Sequence[Path], layout: str, column: Sequence[str]) -> Records:
    """Read a source as its layout wants it, and say what was recognised.

    Args:
        src: the folder.
        labels: tables that the user named.
        layout: `auto`, or a key of LAYOUTS.
        column: `role=name` for columns that are not recognised.

    Raises:
        UsageError: folders that may be classes or people, or an option that does not fit.
        DataError: no images, or tables that do not fit.
    """
    overrides = parse_overrides(column)
    with listed_once():
        return _recognised(src, labels, layout, overrides)


def with_passed_over(src: Path, records: Records) -> Records:
    """Records with what is in none of their rows: files that are no images, what cannot be reached, kontrast's own."""
    passed, broken, own = passed_over(src), out_of_reach(src), own_folders(src)
    if records.layout == "medmnist":
        del passed[".npz"]
    if records.layout not in ("folder", "plain", "pacs"):  # a table names its files, and what it lacks is no loss
        broken = [(name, why) for name, why in broken if why != NO_TARGET]
    listed = {name for name, _ in records.problems}
    broken = [(name, why) for name, why in broken if name not in listed]
    notes, warnings = [], []
    if passed:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in passed.most_common())
        notes.append(
            f"{counted(passed.total(), 'file')} passed over, no images by name or content (see docs/own-images.md): "
            f"{kinds}"
        )
    if own:
        notes.append(f"{counted(own, 'folder')} passed over that kontrast itself wrote")
    if broken:
        links = sum(why == NO_TARGET for _, why in broken)
        said = [counted(n, what) for n, what in ((links, "link"), (len(broken) - links, "folder")) if n]
        warnings.append(f"{' and '.join(said)} out of reach, which may hold images (listed in rejects.csv)")
    return replace(
        records,
        notes=(*records.notes, *notes, *warnings),
        warnings=(*records.warnings, *warnings),
        problems=(*records.problems, *broken),
        passed_over=dict(passed.most_common()),
    )


def _recognised(src: Path, labels: Sequence[Path], layout: str, overrides: Mapping[str, str]) -> Records:
    found = detect(src, labels, layout)
    if found.doubt:
        raise UsageError(
            f"In {src} {found.doubt}.",
            fix="Add --layout folder if every folder is a class, or --layout plain if not: then there are no labels, "
            "unless --labels names a table.",
        )
    console.decided("--layout", found.name, found.reason)
    records = with_passed_over(src, found.records(src, labels, overrides))
    if records.doubt:
        what, say = records.doubt
        raise UsageError(f"{what}.", fix=say)
    for note in records.notes:
        # Whose images are whose decides what every later figure means: that note must not be missed.
        (console.warn if note in records.warnings else console.note)(note)
    return records
