"""What a source holds, in counts: for people before they prepare it. Nothing here is written anywhere."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from kontrast.apart import Ended, borrowed
from kontrast.data.copies import byte_copies
from kontrast.data.counts import label_counts
from kontrast.data.decode import DecodeError, decode, file_format
from kontrast.data.intensity import to_uint8
from kontrast.data.layouts import Records, masked
from kontrast.data.layouts.pacs import RADIOGRAPHS
from kontrast.data.resize import fit
from kontrast.data.similar import ALIKE, likeness, near_pairs, perceptual_hash
from kontrast.data.splits import repair_overlap

EXAMPLES = 3
SMALL = 64
"""Side in pixels of the pictures by which near-duplicates are told."""
AT_A_TIME, LEAST = 20, 100
"""Files opened between two looks at the clock, and before the first of them: a busy machine still gives a sample."""


@dataclass(frozen=True)
class Problem:
    """One kind of problem: how often, and a few of the files."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass
class Pixels:
    """What looking into some of the files gave.

    Attributes:
        looked: number of files opened.
        formats, bits, polarities: how many of each (`JPEG`; significant bits; `MONOCHROME1`).
        modalities: files of each DICOM modality (`DX`, `CT`, `unknown`).
        heights, widths: pixels, one of each readable file.
        bad: (file, reason) of what cannot be read.
        doubts: (file, doubt) of what can be read, but says too little of itself, or too much.
        hashes: source → perceptual hash of each readable file.
        small: source → (64, 64) uint8 of each readable file.
        thumbnails: (source, (s, s) uint8).
    """

    looked: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    bits: Counter[int] = field(default_factory=Counter)
    polarities: Counter[str] = field(default_factory=Counter)
    modalities: dict[str, list[str]] = field(default_factory=dict)
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    doubts: list[tuple[str, str]] = field(default_factory=list)
    hashes: dict[str, int] = field(default_factory=dict)
    small: dict[str, np.ndarray] = field(default_factory=dict)
    thumbnails: list[tuple[str, np.ndarray]] = field(default_factory=list)


@dataclass(frozen=True)
class Copies:
    """Files that are the same, or look so.

    Attributes:
        bytes: (file, the earlier one whose bytes it repeats), among `compared` files.
        compared: how many files' bytes were compared.
        similar: (file, an earlier one that looks the same but has other bytes), among those opened.
    """

    bytes: tuple[tuple[str, str], ...] = ()
    compared: int = 0
    similar: tuple[tuple[str, str], ...] = ()


def look(
    src: Path,
    sources: Sequence[str],
    *,
    thumbnails: int = 0,
    size: int = 128,
    seconds: float | None = None,
    tell: Callable[[int], Any] = lambda count: None,
) -> Pixels:
    """Decode files and count what they are; in a process apart, as `prepare` reads them.

    They are opened in an order drawn once for all, so that stopping early leaves a fair sample.

    Args:
        src: the source folder.
        sources: files below it.
        thumbnails: how many small pictures to keep.
        size: their side, in pixels.
        seconds: stop after so long, but not before a hundred files; None opens all.
        tell: called with the number of files, after some.
    """
    pixels, until = Pixels(), None if seconds is None else time.monotonic() + seconds
    order = [sources[i] for i in np.random.default_rng(0).permutation(len(sources))]
    with borrowed() as apart:
        for first in range(0, len(order), AT_A_TIME):
            if until is not None and first >= LEAST and time.monotonic() > until:
                break
            some = order[first : first + AT_A_TIME]
            jobs = [(src / source, size if first + i < thumbnails else 0) for i, source in enumerate(some)]
            for source, one in zip(some, apart.map(_one, jobs), strict=True):
                _count(pixels, source, one)
            tell(len(some))
    pixels.bad.sort()
    pixels.doubts.sort()
    for files in pixels.modalities.values():
        files.sort()
    pixels.thumbnails.sort(key=lambda pair: pair[0])
    return pixels


def _count(pixels: Pixels, source: str, one: "_One | str | Ended") -> None:
    pixels.looked += 1
    if not isinstance(one, _One):
        pixels.bad.append((source, one if isinstance(one, str) else one.how))
        return
    pixels.formats[one.format] += 1
    pixels.bits[one.bits] += 1
    pixels.polarities[one.polarity] += 1
    if one.modality:
        pixels.modalities.setdefault(one.modality, []).append(source)
    pixels.heights.append(one.height)
    pixels.widths.append(one.width)
    pixels.doubts += [(source, doubt) for doubt in one.doubts]
    pixels.hashes[source], pixels.small[source] = one.hash, one.small
    if one.thumbnail is not None:
        pixels.thumbnails.append((source, one.thumbnail))


def copies(src: Path, sources: Sequence[str], pixels: Pixels, seconds: float | None = None) -> Copies:
    """Copies by bytes among all files, and by looks among those that were opened."""
    same, compared = byte_copies(src, sources, seconds)
    names = sorted(pixels.hashes)
    known = {frozenset(pair) for pair in same} | {frozenset((a, b)) for a, b in _siblings(same)}
    similar: dict[str, str] = {}
    for i, j, _ in near_pairs([pixels.hashes[name] for name in names]).tolist():
        first, second = names[i], names[j]
        if second in similar or frozenset((first, second)) in known:
            continue
        if likeness(pixels.small[first], pixels.small[second]) >= ALIKE:
            similar[second] = first
    return Copies(tuple(same), compared, tuple(sorted(similar.items())))


def _siblings(same: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of copies of one file."""
    of: dict[str, list[str]] = {}
    for copy, first in same:
        of.setdefault(first, []).append(copy)
    return [(a, b) for group in of.values() for i, a in enumerate(group[:100]) for b in group[i + 1 : 100]]


@dataclass(frozen=True, kw_only=True)
class _One:
    """What is kept of one file; `modality` is "" but for DICOM."""

    format: str
    bits: int
    polarity: str
    modality: str
    height: int
    width: int
    hash: int
    small: np.ndarray
    doubts: tuple[str, ...]
    thumbnail: np.ndarray | None


def _one(path: Path, thumbnail: int) -> _One | str:
    """Look at one file, or say why it cannot be read; `thumbnail` is the side of the picture to make, 0 for none."""
    try:
        image = decode(path)
    except DecodeError as error:
        return error.reason
    marked = image.header.get("burned_in") == "yes"
    grey = to_uint8(image)
    return _One(
        format="DICOM" if image.header else _format(path),
        bits=image.bits,
        polarity=image.polarity or "not said",
        modality=str(image.header["modality"] or "unknown") if image.header else "",
        height=image.words.shape[0],
        width=image.words.shape[1],
        hash=perceptual_hash(grey),
        small=fit(grey, SMALL),
        doubts=image.doubts + (("marked as holding text in its pixels (burned-in annotation)",) if marked else ()),
        thumbnail=fit(grey, thumbnail) if thumbnail else None,
    )


def _format(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return file_format(stream.read(132))
    except OSError:  # inside an archive
        return "array"


def problems(records: Records, pixels: Pixels, twice: Copies, *, show_names: bool = False) -> list[Problem]:
    """Problems by kind, the most frequent first. File names may hold patients' ids and names: see `masked`."""

    def shown(name: str) -> str:
        return name if show_names else masked(name)

    kinds: dict[str, list[str]] = {}
    for name, reason in (*records.problems, *pixels.bad, *pixels.doubts):
        kinds.setdefault(reason, []).append(shown(name))
    for name, first in twice.bytes:
        kinds.setdefault("byte-for-byte copy of another file", []).append(f"{shown(name)} of {shown(first)}")
    patient = (
        dict(zip(records.table["source"], records.table["patient"], strict=True)) if records.patients_known else {}
    )
    for name, first in twice.similar:
        whose = "another patient's file" if patient.get(name) != patient.get(first) else "another file"
        kinds.setdefault(f"looks the same as {whose}", []).append(f"{shown(name)} and {shown(first)}")
    for modality, names in _out_of_place(pixels.modalities).items():
        kinds.setdefault(modality, []).extend(map(shown, names))
    found = [Problem(reason, len(names), tuple(dict.fromkeys(names))[:EXAMPLES]) for reason, names in kinds.items()]
    return sorted(found, key=lambda problem: -problem.count)


def _out_of_place(modalities: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Files of another modality than most: one encoder, and one Pack, should not mix CT slices and radiographs."""
    kinds: dict[str, list[str]] = {}
    for modality, names in modalities.items():
        if modality != "unknown":
            kinds.setdefault("radiographs" if modality in RADIOGRAPHS else modality, []).extend(names)
    most = max(kinds, key=lambda kind: (len(kinds[kind]), kind == "radiographs"), default="")
    return {
        f"modality {kind} among {most}: prepare each kind into a Pack of its own": names
        for kind, names in kinds.items()
        if kind != most
    }


def overlap(records: Records) -> tuple[int, int]:
    """Patients who stand in a given held-out part and outside it, and their held-out images."""
    repaired, moved = repair_overlap(records.table, "move")
    if moved.empty:
        return 0, 0
    patients = repaired["patient"][repaired["source"].isin(set(moved["source"]))].nunique()
    return int(patients), len(moved)


def facts(records: Records, pixels: Pixels, twice: Copies) -> dict[str, Any]:
    """Everything counted, ready for JSON; no ids, no file names."""
    table = records.table
    both = sorted(zip(pixels.heights, pixels.widths, strict=True), key=lambda hw: hw[0] * hw[1])
    ages = table["age"].dropna()
    return {
        "images": len(table),
        "passed_over": dict(records.passed_over),
        "looked_at": pixels.looked,
        "formats": dict(pixels.formats.most_common()),
        "bits": {str(bits): count for bits, count in sorted(pixels.bits.items())},
        "polarities": dict(pixels.polarities.most_common()),
        "copies": {"bytes": len(twice.bytes), "compared": twice.compared, "similar": len(twice.similar)},
        "modalities": {name: len(files) for name, files in sorted(pixels.modalities.items())},
        "sizes": {
            "smallest": list(both[0]),
            "median": [int(median(pixels.heights)), int(median(pixels.widths))],
            "largest": list(both[-1]),
            "different": len(set(both)),
        }
        if both
        else None,
        "patients": int(table["patient"].nunique()) if records.patients_known else None,
        "studies": int(table.loc[table["study"] != "", ["patient", "study"]].drop_duplicates().shape[0]) or None,
        "views": _counts(table["view"]),
        "sex": _counts(table["sex"]),
        "age": None if ages.empty else [float(ages.min()), float(ages.median()), float(ages.max())],
        "splits": _counts(table["split"].replace("", "to be drawn" if records.findings else "train (no labels)")),
        "findings": label_counts(table, records.findings),
    }


def _counts(values: pd.Series) -> dict[str, int]:
    counts = values.replace("", "unknown").value_counts()
    return {str(name): int(count) for name, count in counts.items()}
