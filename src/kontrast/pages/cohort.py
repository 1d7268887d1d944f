"""The parts of a report about a Pack: where images were left out, whom it holds, how often, and what it looks like."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kontrast.artifacts.pack import Pack
from kontrast.data.counts import label_counts
from kontrast.pages import figures
from kontrast.pages.drawing import data_uri
from kontrast.pages.sections import Found, picture
from kontrast.types import counted

SAMPLES, SAMPLE_SIDE = 8, 224
"""Images shown of a Pack, and the longest side of each on the page, in pixels."""

STEPS = {
    "only": "not among the folders asked for (--only)",
    "views": "of another view (--views)",
    "limit": "beyond the number asked for (--limit), whole patients drawn at random",
}
"""Why rows were left out before they were opened, by the step of `prepare`."""

SPLIT_WORDS = {"train": "training", "val": "validation (choosing)", "test": "internal testing"}
"""What a split is for. CLAIM 2024: what chooses is not what tests, and a test within one source is internal."""

MOST_REASONS = 6


def pack_section(found: Found) -> dict[str, Any]:
    """Flow, cohort, prevalence and sample images of a Pack."""
    pack = Pack.open(found.path, verify=False)
    content, config = found.card.content, found.card.config
    counts = label_counts(pack.table, pack.findings)
    rows = pack.rows("train")
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLES).round().astype(int))] if len(rows) else rows
    treatment = {k: config[k] for k in ("denoise", "equalize", "crop", "views", "dtype") if config.get(k) is not None}
    return {
        "name": found.name,
        "flow": flow(found, pack),
        "cohort": table_one(pack),
        "rows": content["rows"],
        "size": content["size"],
        "layout": content.get("layout", "unknown"),
        "masks": list(pack.mask_names),
        "generated": bool(content.get("generated")),
        "patients_known": content["patients_known"],
        "treatment": ", ".join(f"{k} {v}" for k, v in treatment.items()),
        "counts": counts,
        "prevalence": figures.prevalence(counts) if counts else None,
        "rejects": sum(_reasons(found).values()),
        "moved": content.get("moved", 0),
        "preview": picture(found, "preview.png"),
        "images": [data_uri(_grey8(image), most=SAMPLE_SIDE) for image in pack.images(shown)],
    }


def _grey8(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)


def flow(found: Found, pack: Pack) -> dict[str, Any]:
    """How the images of a source became those of the splits.

    Returns:
        `steps`: boxes from top to bottom, each `words`, `images`, `patients` (None = unknown) and `out`: what was left
        out after it, as (images, why); `splits`: the last row of boxes.
    """
    content = found.card.content
    counted = {step["step"]: step for step in content.get("flow", [])}
    rejects = _reasons(found)
    listed = sum(rejects.values()) + content.get("source_rows", content["rows"])
    lost = {"files": [(n, why) for why, n in rejects.items()]}
    before = counted.get("listed")
    if before:
        listed = sum(rejects.values()) + before["images"]
        for name, words in STEPS.items():
            after = counted.get(name)
            if after:
                lost.setdefault("chosen", []).append((before["images"] - after["images"], words))
                before = after
    known = pack.patients_known
    whole = _box("in the Pack", len(pack), _people(pack.table, known))
    steps = [_box("listed in the source", listed, None) | {"out": lost.get("chosen", []) + lost["files"]}, whole]
    splits = [
        _box(SPLIT_WORDS[name], len(rows), _people(pack.table.iloc[rows], known)) | {"split": name}
        for name in ("train", "val", "test")
        if len(rows := pack.rows(name))
    ]
    return {"steps": steps, "splits": splits, "known": known, "moved": content.get("moved", 0)}


def _studies(part: pd.DataFrame) -> str:
    """How many studies are known, and of how many images none is."""
    named = part.loc[part["study_id"] != "", "study_id"]
    if not len(named):
        return "unknown"
    blank = len(part) - len(named)
    return f"{named.nunique():,}" + (f", and {counted(blank, 'image')} without" if blank else "")


def _box(words: str, images: int, patients: int | None) -> dict[str, Any]:
    return {"words": words, "images": images, "patients": patients, "out": []}


def _people(table: pd.DataFrame, known: bool) -> int | None:
    return int(table["patient_id"].nunique()) if known else None


def _reasons(found: Found) -> dict[str, int]:
    """Rejected files by reason, the commonest first; the rest together."""
    path = found.path / "rejects.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        counts = Counter(row["reason"].split(":")[0].strip() for row in csv.DictReader(stream))
    most = dict(counts.most_common(MOST_REASONS))
    rest = sum(counts.values()) - sum(most.values())
    return most | ({"of other reasons": rest} if rest else {})


def table_one(pack: Pack) -> dict[str, Any]:
    """The cohort by split: `heads`, and `rows` of (words, a cell a split, whether it is a heading).

    Age and sex are the patients', those of their first image; findings and views are the images'.
    """
    names = [name for name in ("train", "val", "test") if len(pack.rows(name))]
    parts = [pack.table.iloc[pack.rows(name)] for name in names]
    people = [part.drop_duplicates("patient_id") for part in parts]
    known = pack.patients_known
    who = "patients" if known else "images"
    rows: list[dict[str, Any]] = [
        _row("Patients", [f"{len(one):,}" if known else "unknown" for one in people]),
        _row("Studies", [_studies(part) if known else "unknown" for part in parts]),
        _row("Images", [f"{len(part):,}" for part in parts]),
        _row(f"Age in years, of {who}", ["" for _ in parts], head=True),
        _row("mean (standard deviation)", [_mean(one["age"]) for one in people]),
        _row("median [quartiles]", [_median(one["age"]) for one in people]),
        _row("unknown", [_share(one["age"].isna()) for one in people]),
        *_words(f"Sex, of {who}", people, "sex", {"F": "female", "M": "male"}),
        *_words("View, of images", parts, "view", {}),
    ]
    if pack.findings:
        rows.append(_row("Findings, of images", ["" for _ in parts], head=True))
        rows += [_row(name, [_share(part[name].to_numpy(float) == 1) for part in parts]) for name in pack.findings]
    return {"heads": [f"{SPLIT_WORDS[name]}" for name in names], "rows": rows, "who": who}


def _row(words: str, cells: Sequence[str], *, head: bool = False) -> dict[str, Any]:
    return {"words": words, "cells": list(cells), "head": head}


def _words(title: str, parts: Sequence[pd.DataFrame], column: str, named: Mapping[str, str]) -> list[dict[str, Any]]:
    """How often each word of a column is there, the unknown last."""
    words = sorted(set().union(*(set(part[column]) for part in parts)), key=lambda word: (word == "", word))
    rows = [_row(named.get(w, w) or "unknown", [_share(part[column] == w) for part in parts]) for w in words]
    return [_row(title, ["" for _ in parts], head=True), *rows]


def _share(values: Any) -> str:
    chosen = np.asarray(values, dtype=bool)
    return f"{int(chosen.sum()):,} ({100 * chosen.mean():.1f} %)" if len(chosen) else "–"


def _mean(ages: pd.Series) -> str:
    known = ages.dropna()
    if known.empty:
        return "–"
    return f"{known.mean():.1f} ({known.std(ddof=1):.1f})" if len(known) > 1 else f"{known.mean():.1f}"


def _median(ages: pd.Series) -> str:
    known = ages.dropna()
    if known.empty:
        return "–"
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return f"{middle:.0f} [{low:.0f}, {high:.0f}]"
