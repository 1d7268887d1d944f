"""What the words in a table's cells say of findings: 1, 0, -1 and blank, or the names of classes.

A column that is taken as a finding must be understood wholly.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from kontrast.errors import DataError, UsageError

MAX_CLASSES = 50
LABELS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "-1": -1.0, "-1.0": -1.0}
YES_NO = LABELS | {"yes": 1.0, "no": 0.0}
SAID = YES_NO | {"positive": 1.0, "negative": 0.0, "present": 1.0, "absent": 0.0}
"""The words that can mean nothing else in a finding's column; of any other the user says what it means."""


def bare_numbers(column: pd.Series) -> bool:
    """Whether a column holds numbers alone."""
    return bool(column.str.fullmatch(r"-?\d*\.?\d*").all())


def is_binary(values: pd.Series, known: bool, words: Mapping[str, float]) -> bool:
    """Whether a column is one of a finding: its words are all known. `known`: its name is a finding's."""
    present = set(values.str.lower()) - {""}
    if not present or not present <= set(words):
        return False
    # A column of zeros is a finding without positives if its name is one; else it is just a constant.
    return known or (any(words[word] == 1 for word in present) and values.nunique() > 1)


def is_classes(values: pd.Series) -> bool:
    """Whether a column holds a few classes, each for several images."""
    names = set(spellings(set(values)).values())
    return 2 <= len(names) <= MAX_CLASSES and len(names) < len(values)


def asked_words(overrides: dict[str, str]) -> dict[str, float]:
    """The words that the user explained, lower case, each with 1, 0 or -1."""
    found = {}
    for pair in filter(None, overrides.get("value", "").split(",")):
        word, _, label = pair.rpartition(":")
        if not word.strip() or label.strip() not in ("1", "0", "-1"):
            raise UsageError(f"--column value={pair} is not value=WORD:1, :0 or :-1.", fix="Write value=ja:1.")
        found[word.strip().lower()] = float(label)
    return found


def read_as(table: pd.DataFrame, findings: Sequence[str], words: Mapping[str, float]) -> list[str]:
    """What words were read as labels, and in which columns."""
    columns: dict[str, list[str]] = {}
    for name in findings:
        present = {word for word in table[name].str.lower() if word in words and (word.isalpha() or word not in LABELS)}
        if present:
            shown = ", ".join(f"{word} = {words[word]:.0f}" for word in sorted(present, key=lambda w: (-words[w], w)))
            columns.setdefault(shown, []).append(name)
    return [f"words read as labels: {shown} in {', '.join(names)}" for shown, names in columns.items()]


def may_be_finding(values: pd.Series, most: int) -> bool:
    """Whether a column that is left out holds two to `most` words over and over, as labels in another language do."""
    present = values[values != ""]
    return 2 <= present.str.lower().nunique() <= most < len(present) and not bare_numbers(present)


def finding_values(values: pd.Series, known: Mapping[str, float] = LABELS) -> np.ndarray:
    """1, 0, -1 and NaN (blank) for each word of a finding's column, (N,) float64.

    Args:
        values: the column.
        known: what each word means, lower case.

    Raises:
        DataError: other content, by how many cells.
    """
    lower = values.str.lower()
    numbers = lower.map(known)
    others = numbers.isna() & (lower != "")
    if others.any():
        raise DataError(
            f"Column {values.name!r} is to be a finding, but {int(others.sum()):,} of its {len(values):,} cells hold "
            "something other than 1, 0, -1 or blank.",
            fix="Leave it out of --column finding=…, or say what its words mean: --column value=WORD:1 value=WORD:0.",
        )
    return numbers.to_numpy(dtype=np.float64)


def parts_of(value: str) -> list[str]:
    """The classes in a cell, parted by `|`, without blanks around or doubled within them."""
    return [" ".join(part.split()) for part in value.split("|") if part.strip()]


def spellings(values: Iterable[str]) -> dict[str, str]:
    """The classes in cells, each with the spelling that stands for it: the most frequent that differs by case alone."""
    counts = Counter(part for value in values for part in parts_of(value))
    chosen: dict[str, str] = {}
    for part in sorted(counts, key=lambda part: (-counts[part], part)):
        chosen.setdefault(part.casefold(), part)
    return {part: chosen[part.casefold()] for part in counts}


def one_hot(values: pd.Series) -> pd.DataFrame:
    """A column of classes as one column of 1 and 0 each; `|` parts several; blank gives NaN everywhere.

    Classes that differ by case or blanks alone are one (`spellings`).
    """
    to = spellings(values)
    sets = [frozenset(to[part] for part in parts_of(value)) for value in values]
    names = sorted(set(to.values()))
    if all(name.isdigit() for name in names):  # bare numbers would make poor names of findings
        return pd.DataFrame({f"{values.name} {n}": [np.nan if not s else float(n in s) for s in sets] for n in names})
    return pd.DataFrame({name: [np.nan if not s else float(name in s) for s in sets] for name in names})
