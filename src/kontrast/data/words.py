"""Tables as text, and what the words in their cells mean: views, sexes, ages, parts (labels: see `label_words`).

What is not understood becomes blank, never a guess.
"""

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kontrast.errors import DataError

BLANKS = frozenset({"", "nan", "na", "n/a", "none", "null"})

_VIEWS = (
    (re.compile(r"(ap|antero-?posterior|a\.p\.)(\b|[ _-])"), "AP"),
    (re.compile(r"(pa|postero-?anterior|p\.a\.)(\b|[ _-])"), "PA"),
    (re.compile(r"(lat(eral)?|ll|rl|left lateral|right lateral)(\b|[ _-])"), "lateral"),
    (re.compile(r"frontal\b"), "frontal"),
)
_SPLITS = dict.fromkeys(("train", "training"), "train")
_SPLITS |= dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "val") | dict.fromkeys(
    ("test", "testing"), "test"
)
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "w": "F"}
_AGE = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*([ymwd]?)")
_WHOLE = re.compile(r"^(\d+)\.0+$")
_AGE_UNIT = {"": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}


def encoding_of(path: Path) -> str:
    """How a table is written: `utf-8-sig` where that fits, `utf-16` by its mark, else Windows' `cp1252`.

    Raises:
        UnicodeError, OSError, EOFError, zlib.error: none of them, or the file cannot be read.
    """
    with _opened(path, "rb") as raw:
        if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            with _opened(path, "rt", encoding=encoding) as stream:
                # Nearly any bytes are Windows-1252, a picture's too.
                text = encoding != "cp1252" or any(sign in stream.readline() for sign in ",;\t")
                while text and (block := stream.read(1 << 20)):
                    text = encoding != "cp1252" or "\0" not in block
            if text:
                return encoding
        except UnicodeDecodeError:
            pass
    raise UnicodeError("neither UTF-8, UTF-16 nor Windows-1252")


def _opened(path: Path, mode: str, **how: Any) -> Any:
    return gzip.open(path, mode, **how) if path.suffix.lower() == ".gz" else path.open(mode, **how)


def read_table(path: Path) -> pd.DataFrame:
    """A CSV (parted by comma, semicolon or tab; `.csv.gz` too) as text, "" for blank; ids keep their leading zeros.

    Raises:
        DataError: the file is missing, empty, or no table.
    """
    if not path.is_file():
        raise DataError(f"--labels {path} is not a file.", fix="Name an existing CSV file.")
    try:
        encoding = encoding_of(path)
        with _opened(path, "rt", encoding=encoding, newline="") as stream:
            head = stream.readline()
            separator = max(",;\t", key=head.count)
            columns = [name.strip() for name in next(csv.reader([head], delimiter=separator), [])]
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding=encoding, skipinitialspace=True
        )
    except pd.errors.ParserError as error:
        wrong = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if not wrong:
            raise _unreadable(path) from None
        raise DataError(
            f"{path.name}, line {wrong[2]}: it has {wrong[3]} cells, but the lines before it have {wrong[1]}.",
            fix='Mend the line; a cell that holds the separator stands in quotes ("a, b").',
        ) from None
    except (UnicodeError, pd.errors.EmptyDataError, csv.Error, EOFError, OSError, zlib.error):
        raise _unreadable(path) from None
    double = sorted({name for name in columns if columns.count(name) > 1})
    if double:
        raise DataError(f"{path.name} has two columns named {double[0]!r}.", fix="Rename one of them.")
    if table.empty:
        raise DataError(f"{path.name} has no rows.", fix="Give a table with one row per image.")
    table.columns = [str(name).strip() for name in table.columns]
    for name in table.columns:
        text = table[name].fillna("").str.strip()
        table[name] = text.where(~text.str.lower().isin(BLANKS) | (name in ("Finding Labels",)), "")
    return table


def _unreadable(path: Path) -> DataError:
    return DataError(
        f"{path.name} is not a table that can be read (CSV in UTF-8, its first line naming the columns).",
        fix="Save it as CSV in UTF-8.",
    )


def view_values(values: Iterable[str]) -> list[str]:
    """`AP`, `PA`, `lateral`, `frontal` or "" for each word."""
    known: dict[str, str] = {}
    for value in set(values):
        word = value.lower().strip()
        known[value] = next((view for pattern, view in _VIEWS if pattern.match(word)), "")
    return [known[value] for value in values]


def sex_values(values: Iterable[str]) -> list[str]:
    """`F`, `M` or "" for each word."""
    return [_SEXES.get(value.lower(), "") for value in values]


def split_values(values: Iterable[str]) -> list[str]:
    """`train`, `val`, `test` or "" for each word (`valid`, `validation` and `dev` are val)."""
    return [_SPLITS.get(value.lower(), "") for value in values]


def id_values(values: pd.Series) -> pd.Series:
    """Ids as they were before a program took them for numbers: `1002.0` is `1002`.

    Tables with a blank among numbers are written so, tables without are not, and one patient must not become two.
    """
    return values.str.replace(_WHOLE, r"\1", regex=True)


def age_values(values: Iterable[str]) -> list[float]:
    """Years for each of `62`, `62.0`, `062Y`, `018M`; NaN where there is no age between 0 and 120."""
    ages = []
    for value in values:
        match = _AGE.fullmatch(value.lower())
        age = float(match[1]) * _AGE_UNIT[match[2]] if match else np.nan
        ages.append(age if 0 <= age <= 120 else np.nan)
    return ages


READERS: dict[str, Callable[[Iterable[str]], list[Any]]] = {"view": view_values, "sex": sex_values, "age": age_values}


def unknown(role: str, values: pd.Series) -> int:
    """How many cells of a column are not blank and not understood as what the role says (a key of READERS)."""
    present = values[values != ""]
    return sum(1 for value in READERS[role](present) if value == "" or value != value)  # NaN is not itself
