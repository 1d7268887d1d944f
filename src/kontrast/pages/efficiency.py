"""The part of a study's report about labels: bands of curves, labels saved, and what could not be learnt."""

import csv
from collections.abc import Mapping, Sequence

from kontrast.artifacts.card import verify_files
from kontrast.artifacts.wording import labels_needed, no_interval
from kontrast.pages.sections import Found

Band = dict[float, tuple[float, float]]


def read_table(found: Found, name: str) -> list[dict[str, str]]:
    """The rows of a study's table; none where the study is of an older version and has no such file."""
    if name not in found.card.files:
        return []
    verify_files(found.path, [name])
    with (found.path / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def bands(found: Found, words: Mapping[str, str]) -> dict[str, dict[str, Band]]:
    """The 95 % interval of each point of the curves: protocol in words → arm → fraction → (low, high)."""
    drawn: dict[str, dict[str, Band]] = {}
    for row in read_table(found, "curves.csv"):
        if row["low"] and row["high"]:
            by_arm = drawn.setdefault(words.get(row["protocol"], row["protocol"]), {})
            by_arm.setdefault(row["arm"], {})[float(row["fraction"])] = (float(row["low"]), float(row["high"]))
    return drawn


def saved_rows(found: Found, words: Mapping[str, str]) -> list[dict[str, str]]:
    """What share of the labels each arm needs for the baseline's score with the most, in words."""
    return [
        {"arm": row["arm"], "protocol": words.get(row["protocol"], row["protocol"])}
        | dict(zip(("share", "saved"), labels_needed(row), strict=True))
        | {"reason": no_interval(row)}
        for row in read_table(found, "labels_saved.csv")
    ]


def unlearnt(found: Found) -> list[dict[str, str]]:
    """The findings that not every training of a fraction could learn, with how many could and why not."""
    rows = read_table(found, "findings.csv")
    return [
        row | {"labels": f"{100 * float(row['fraction']):g} %"} for row in rows if row["learnt"] != row["trainings"]
    ]


def searched(found: Found, words: Mapping[str, str]) -> list[dict[str, str]]:
    """The options that validation chose for each arm, protocol and fraction, as `lr 0.001`."""
    kept: Sequence[str] = ("arm", "protocol", "fraction", "val_auroc", "chosen")
    return [
        {
            "arm": row["arm"],
            "protocol": words.get(row["protocol"], row["protocol"]),
            "labels": f"{100 * float(row['fraction']):g} %",
            "options": ", ".join(f"{k} {v}" for k, v in row.items() if k not in kept and v),
        }
        for row in read_table(found, "search.csv")
        if row["chosen"] == "1"
    ]
