"""How many images say what of each finding, what no split can tell, and how many are byte copies of others."""

from collections.abc import Iterable, Mapping, Sequence

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


def repeated(images: Iterable[tuple[str, str]]) -> dict[str, int]:
    """How many images hold the bytes of another one, and how many pictures stand in more than one split.

    Args:
        images: (SHA-256 of the source file, split) of each image; an empty checksum is one that is not known.

    Returns:
        `images`: those beyond the first of each content. `across`: contents that stand in two splits or more.
    """
    count, splits = 0, dict[str, set[str]]()
    for sha256, split in images:
        if sha256:
            count += 1
            splits.setdefault(sha256, set()).add(split)
    return {"images": count - len(splits), "across": sum(len(of) > 1 for of in splits.values())}
