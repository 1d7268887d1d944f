"""What is worth knowing about a Pack when it has been made, or would be: for JSON, and for people."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kontrast import console
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.pack_writer import REJECTS
from kontrast.artifacts.plan import Plan
from kontrast.data.counts import label_counts, positives_by_split, repeated, unscorable
from kontrast.types import CROP, SPLITS, counted

DOUBTS = "polarity-doubts.csv"
"""Which images of a Pack seem inverted: image_id, source, and their likeness to a chest (below 0: bone dark)."""


def summary(pack: Pack) -> dict[str, Any]:
    """What is worth knowing about a Pack, ready for JSON."""
    rejects = pd.read_csv(pack.path / REJECTS, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
    return {
        "rows": len(pack),
        "size": pack.size,
        "layout": pack.card.content["layout"],
        "patients_known": pack.patients_known,
        "splits": pack.card.content["splits"],
        "findings": label_counts(pack.table, pack.findings),
        "positives": positives_by_split(pack.table, pack.findings),
        "masks": list(pack.mask_names),
        "rejects": len(rejects),
        "reasons": dict(Counter(rejects["reason"]).most_common(5)),
        **({"whole": int((pack.table[CROP] == "").sum())} if CROP in pack.table else {}),
        "moved": pack.card.content.get("moved", 0),
        "copies": repeated(zip(pack.table["sha256"], pack.table["split"], strict=True)),
        "mean": round(pack.mean, 4),
        "std": round(pack.std, 4),
    }


def top_reasons(reasons: Iterable[str] | Mapping[str, int]) -> str:
    """The three commonest reasons with their counts."""
    return "; ".join(f"{reason} ({count:,})" for reason, count in Counter(reasons).most_common(3))


def say_pack(facts: Mapping[str, Any]) -> None:
    """Print what `summary` found."""
    console.say()
    of_patients = "" if facts["patients_known"] else " (each image counts as one)"
    console.table(
        f"{counted(facts['rows'], 'image')} of {facts['size']} px",
        ["split", "images", f"patients{of_patients}"],
        [[name, f"{n['images']:,}", f"{n['patients']:,}"] for name, n in facts["splits"].items()],
    )
    images = {name: n["images"] for name, n in facts["splits"].items()}
    say_labels(facts["findings"], facts["positives"], images)
    if facts["masks"]:
        console.say(f"masks: {len(facts['masks'])} kinds ({', '.join(facts['masks'][:3])} …)")
    if "whole" in facts:
        console.say(
            f"Lungs found on {facts['rows'] - facts['whole']:,} of {counted(facts['rows'], 'image')}; "
            f"{facts['whole']:,} without confidence in them stay whole."
        )
    if facts["moved"]:
        console.say(f"Moved to train: {counted(facts['moved'], 'image')} of patients in two splits, see moved.csv.")
    say_copies(facts["copies"])
    if facts["rejects"]:
        # Rows, not files: one that a table lists twice is there, and in the Pack too.
        console.say(f"rejects.csv: {counted(facts['rejects'], 'row')}: {top_reasons(facts['reasons'])}.")
    console.say(f"pixels of train, padding left out: mean {facts['mean']:.3f}, standard deviation {facts['std']:.3f}")


def say_copies(copies: Mapping[str, int]) -> None:
    """Print how many images are byte copies, and warn of those in two splits; without names, which may say who."""
    if copies["images"]:
        are = "is a byte copy" if copies["images"] == 1 else "are byte copies"
        console.say(f"{counted(copies['images'], 'image')} {are} of another (the same sha256 in table.csv).")
    if copies["across"]:
        stand = "stands" if copies["across"] == 1 else "stand"
        console.warn(
            f"{counted(copies['across'], 'identical image')} {stand} in more than one split, as if of different "
            "patients: scores on val or test may then be of images trained on. Splits that the source gives, or that a "
            "Pack had before a copy came, stay as they are. `kontrast pack subset PACK --out NEW --drop-copies` keeps "
            "one of each, the held-out one; `kontrast audit` counts what is shared."
        )


def say_plan(plan: Plan, out: Path) -> dict[str, Any]:
    """Print what would be packed; the same for JSON."""
    images: dict[str, int] = {name: int((plan.table["split"] == name).sum()) for name in SPLITS}
    shares = ", ".join(f"{n:,} {name}" for name, n in images.items() if n)
    console.say(f"Would pack {counted(len(plan.table), 'image')} at {plan.treatment.size} px into {out}: {shares}.")
    positives = positives_by_split(plan.table, plan.findings)
    say_labels(label_counts(plan.table, plan.findings), positives, images)
    planned = {"rows": len(plan.table), "size": plan.treatment.size, "findings": list(plan.findings)}
    return planned | {"splits": images, "positives": positives}


def warn_of_polarity(pack: Pack, first: int = 0) -> int:
    """Say how many images seem inverted, and where they are listed; a warning where they are 1 % or more.

    Args:
        pack: the Pack.
        first: the row to begin with: that of the first image added, where a Pack grows.
    """
    if DOUBTS not in pack.card.files:
        return 0
    listed = pd.read_csv(pack.path / DOUBTS, dtype=str)["image_id"]
    added = pack.table[first:]
    inverted = int(added["image_id"].isin(set(listed)).sum())
    looked_at = int((added["view"] != "lateral").sum())
    if inverted:
        which = "of those added " if first else ""
        say = console.warn if 100 * inverted >= looked_at else console.say
        say(
            f"{inverted:,} of {counted(looked_at, 'image')} {which}looked at seem inverted (bone dark): "
            f"{pack.path / DOUBTS} lists them. Look at them; prepare such files apart, or have their export mended."
        )
    return inverted


def say_labels(
    counts: Mapping[str, Mapping[str, int]], positives: Mapping[str, Mapping[str, int]], images: Mapping[str, int]
) -> None:
    """Labels and positives by split, and a warning of what no split can tell."""
    if not counts:
        console.say("No labels: pretraining needs none.")
        return
    console.table(
        "Images with a finding (1) by split; without (0), uncertain (-1), not mentioned",
        ["finding", *SPLITS, "0", "-1", "blank"],
        [
            [f, *(f"{n:,}" for n in (*positives[f].values(), of["0"], of["-1"], of["blank"]))]
            for f, of in counts.items()
        ],
    )
    for line in unscorable(positives, images):
        console.warn(f"{line}.")
