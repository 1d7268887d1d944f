"""How many images say what of each finding, and what no split can tell."""

from collections.abc import Mapping, Sequence

import pandas as pd

from kontrast.types import SPLITS


def label_counts(table: pd.DataFrame, findings: Sequence[str]) -> dict[str, dict[str, int]]:
    """For each finding how many images are 1, 0, -1 and blank."""
    words = {"1": 1.0, "0": 0.0, "-1": -1.0}
    return {
        finding: {word: int((table[finding] == value).sum()) for word, value in words.items()}
        | {"blank": int(table[finding].isna().sum())}
        for finding in findings
    }


def positives_by_split(table: pd.DataFrame, findings: Sequence[str]) -> dict[str, dict[str, int]]:
    """For each finding how many images of each split are 1."""
    return {f: {split: int((table[f][table["split"] == split] == 1).sum()) for split in SPLITS} for f in findings}


def unscorable(positives: Mapping[str, Mapping[str, int]], images: Mapping[str, int]) -> list[str]:
    """What cannot be chosen on val or scored on test, in lines: findings of which all images there say the same.

    Args:
        positives: from `positives_by_split`; every other image counts as negative, as in training unless asked.
        images: how many images each split has.
    """
    lines = []
    for split, lost in (("val", "no threshold can be chosen"), ("test", "no score can be given")):
        if not images[split]:
            lines.append(f"{split} has no images: {lost}")
            continue
        for missing, what in ((0, "positive"), (images[split], "negative")):
            names = [finding for finding, count in positives.items() if count[split] == missing]
            if names:
                lines.append(f"{split} has no {what} image of {', '.join(names)}: {lost} there")
    return lines
