"""CheXpert's tables (Irvin et al. 2019): `train.csv`, `valid.csv`, a test set where one has it, and tables like them.

Its own valid set (200 studies read by three radiologists) serves as `test` unless its test set is there: labels of the
training set come from reports, and a score against them measures the labeller too.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.columns import ROLES, Roles, recognise
from kontrast.data.decode import find_images
from kontrast.data.layouts.files import matching, nothing_there
from kontrast.data.layouts.records import Records, finish, from_roles
from kontrast.data.words import read_table, view_values
from kontrast.errors import DataError
from kontrast.types import FINDINGS

FOLDER = "CheXpert-v1.0*"
TABLES = ("train.csv", "valid.csv", "test.csv", "test_labels.csv")
_PATIENT = re.compile(r"(patient\d+)(?:/(study\d+))?")


def recognised(columns: Sequence[str]) -> bool:
    """Whether a table is like CheXpert's: files (or studies), and most of its 14 findings."""
    names = set(columns)
    return bool(names & {"Path", "Study"}) and len(names & set(FINDINGS)) >= 10


def tables_of(src: Path) -> list[Path]:
    """CheXpert's own tables in a folder or in the CheXpert folder below it."""
    for base in (src, *matching(src, FOLDER)):
        tables = [base / name for name in TABLES if (base / name).is_file()]
        if tables and recognised(list(read_table(tables[0]).columns)):
            return tables
    return []


def read_tables(tables: Sequence[Path]) -> pd.DataFrame:
    """The tables as one, in text, with a column `part`: `train`, `valid` or `test` by each file's name.

    `test_split.csv` counts as test and every other name without `test` or `val` as train.

    Raises:
        DataError: a table that is not like CheXpert's.
    """
    frames = []
    for path in tables:
        frame = read_table(path)
        if not recognised(list(frame.columns)):
            raise DataError(
                f"{path.name} is not like CheXpert's tables: a Path column and most of the 14 findings are expected.",
                fix="Use --layout table for tables of your own.",
            )
        stem = path.stem.lower()
        part = "test" if "test" in stem else "valid" if "val" in stem else "train"
        frames.append(frame.assign(part=part, Path=frame.get("Path", "")))
    return pd.concat(frames, ignore_index=True).fillna("")


def parts(part: pd.Series) -> tuple[pd.Series, str, str]:
    """(split, official_split, what to say) from `train`, `valid` and `test`."""
    has = set(part)
    if "test" in has and "valid" in has:
        names = {"train": "train", "valid": "val", "test": "test"}
        return part.map(names), "all", "split: valid is val, test is test"
    names = {"train": "", "valid": "test", "test": "test"}
    if has == {"train"}:
        return part.map(names), "", "no test table: train, val and test will be drawn by patient"
    which = "valid" if "valid" in has else "test"
    official = "test" if "train" in has else "all"
    rest = "; val will be drawn from train, by patient" if "train" in has else ""
    return part.map(names), official, f"split: {which} is test{rest}"


def identities(paths: pd.Series) -> pd.DataFrame:
    """`patient` and `study` from `…/patient00001/study1/…`, "" where a path has neither."""
    found = paths.str.extract(_PATIENT).fillna("")
    return pd.DataFrame({"patient": found[0], "study": found[1]}, index=paths.index)


def views(table: pd.DataFrame) -> list[str]:
    """AP, PA, lateral, frontal from the columns `Frontal/Lateral` and `AP/PA`, else from the file's name."""
    blank = pd.Series("", index=table.index)
    plane = view_values(table.get("Frontal/Lateral", blank))
    side = view_values(table.get("AP/PA", blank))
    name = [("lateral" if "lateral" in p else "frontal" if "frontal" in p else "") for p in table["Path"].str.lower()]
    return ["lateral" if "lateral" in (p, s) else s or p or n for p, s, n in zip(plane, side, name, strict=True)]


def _expand_studies(table: pd.DataFrame, src: Path) -> pd.DataFrame:
    """Rows that name a study (the public test labels do) become one row for each image of it."""
    rows = table["Path"].eq("") & (table["Study"] if "Study" in table else pd.Series("", index=table.index)).ne("")
    if not rows.any():
        return table
    expanded = []
    for _, row in table[rows].iterrows():
        folder = next((f for f in _places(src, row["Study"]) if (src / f).is_dir()), None)
        images = find_images(src / folder) if folder else []
        cells = dict(row)
        paths = [f"{folder}/{image.as_posix()}" for image in images] or [row["Study"]]
        expanded += [cells | {"Path": path} for path in paths]
    studies = pd.DataFrame(expanded)
    return pd.concat([table[~rows], studies], ignore_index=True).fillna("")


def _places(src: Path, value: str) -> list[str]:
    """Where a table's path may be below the source: as it is, without `CheXpert-v1.0…/`, in such a folder."""
    rest = value.partition("/")[2] if value.startswith("CheXpert") else value
    return list(dict.fromkeys([value, rest, *(f"{d.name}/{rest}" for d in matching(src, FOLDER) if d.is_dir())]))


def _locate(src: Path, values: Sequence[str], table_name: str) -> list[str | None]:
    """Each path below the source. Prefixes are tried in the order that last fitted: 223,000 rows, one look each."""
    folders = [d.name for d in matching(src, FOLDER) if d.is_dir()]
    prefixes: list[str | None] = [None, "", *(f"{name}/" for name in folders)]  # None keeps the table's own
    found: list[str | None] = []
    base = f"{src}/"
    for value in values:
        rest = value.partition("/")[2] if value.startswith("CheXpert") else value
        for prefix in prefixes:
            source = value if prefix is None else prefix + rest
            if ".." not in source and os.path.isfile(base + source):  # noqa: PTH113 a Path each takes twice as long
                found.append(source)
                prefixes.sort(key=lambda p, best=prefix: p != best)  # type: ignore[misc]
                break
        else:
            found.append(None)
    if all(source is None for source in found):
        raise nothing_there(src, table_name, values[0], len(values))
    return found


def _roles(table: pd.DataFrame, overrides: Mapping[str, str]) -> Roles:
    preset = {"path": "Path", "patient": "none", "study": "none", "view": "none", "split": "none", "classes": "none"}
    preset["finding"] = ",".join(name for name in table.columns if name in FINDINGS)
    asked = {role: name for role, name in overrides.items() if role in ROLES}
    return recognise(table, preset | asked)


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of CheXpert or of tables like its own, such as split files derived from them.

    Raises:
        DataError: no such tables, or none of their images is there.
    """
    tables = list(labels) or tables_of(src)
    if not tables:
        raise DataError(
            f"{src} holds none of CheXpert's tables ({', '.join(TABLES[:3])}).", fix="Name them with --labels."
        )
    table = _expand_studies(read_tables(tables), src)
    roles = _roles(table, overrides)
    sources = _locate(src, list(table["Path"]), " and ".join(path.name for path in tables))
    frame, findings = from_roles(table, roles, sources)
    for name, values in identities(table["Path"]).items():
        if getattr(roles, str(name)) is None:
            frame[name] = values
    if roles.view is None:
        frame["view"] = views(table)
    frame["split"], official, note = parts(table["part"])
    missing = frame["source"].isna()
    notes = [f"tables: {', '.join(path.name for path in tables)}", note]
    notes += [line for line in roles.notes if any(word in line for word in ("as asked", "not used", "words read"))]
    if not (frame[list(findings)] == -1).any().any():
        notes.append("no cell is -1 (uncertain), which CheXpert's own tables have: --uncertain changes nothing here")
    return finish(
        src,
        frame[~missing],
        findings=findings,
        layout="chexpert",
        notes=notes,
        official_split=official,
        patients_known=bool(frame["patient"].ne("").any()),
        problems=[(path, "no such file") for path in table["Path"][missing]],
        roles=roles,
    )
