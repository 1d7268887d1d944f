"""Several tables of one source as one: under each other where they have the same columns, else joined by file."""

import re
from collections.abc import Collection, Sequence

import pandas as pd

from kontrast.data.columns import recognise
from kontrast.data.layouts.studies import hint
from kontrast.errors import DataError

Named = tuple[str, pd.DataFrame]
_ROLES = ("path", "patient", "study", "view", "sex", "age", "split")


def joined(
    tables: Sequence[Named], overrides: dict[str, str], stems: Collection[str]
) -> tuple[list[Named], dict[str, str]]:
    """Tables whose rows may stand under each other, since a column of one role has one name in all of them.

    Args:
        tables: each with its name, for messages.
        overrides: from `--column`; one that names a column of some of the tables is meant for those.
        stems: names of the image files that exist.

    Returns:
        The tables (one, if all have the same columns), and the overrides that fit them.

    Raises:
        DataError: a table has no column of files, or columns of two roles under one name.
    """
    first, table = tables[0]
    if all(set(other.columns) == set(table.columns) for _, other in tables):
        name = first if len(tables) == 1 else f"{first} and {len(tables) - 1} more"
        return [(name, pd.concat([other for _, other in tables], ignore_index=True).fillna(""))], overrides
    spelt: dict[str, str] = {}
    roles: dict[str, str] = {}
    parts = []
    for name, own in tables:
        part = _spelt_alike(own, spelt)
        parts.append((name, _renamed(name, part, _roles_of(name, part, overrides, stems), roles)))
    known = {column for _, part in tables for column in part.columns}
    fitting = {role: column for role, column in roles.items() if role not in overrides or overrides[role] in known}
    return parts, overrides | fitting


def _spelt_alike(table: pd.DataFrame, spelt: dict[str, str]) -> pd.DataFrame:
    """`Patient ID` and `patient_id` of two tables are one column; the first spelling stays."""
    keys = {column: re.sub(r"[\W_]", "", column.casefold()) or column for column in table.columns}
    if len(set(keys.values())) < len(keys):
        return table
    return table.rename(columns={column: spelt.setdefault(key, column) for column, key in keys.items()})


def _roles_of(name: str, table: pd.DataFrame, overrides: dict[str, str], stems: Collection[str]) -> dict[str, str]:
    asked = {
        role: column
        for role, column in overrides.items()
        if role in _ROLES and (column == "none" or column in table.columns)
    }
    roles = recognise(table, asked | {"finding": "none", "classes": "none"}, stems)
    if roles.path is None:
        raise DataError(
            f"{name} cannot be joined with the other tables: it has no column of image files that is recognised. Its "
            f"columns: {', '.join(table.columns)}.",
            fix=hint(table)
            or "Name it with --column path=NAME; a table without files (one row a patient, say) must be merged into "
            "one with files before.",
        )
    return {role: column for role in _ROLES if (column := getattr(roles, role))}


def _renamed(name: str, table: pd.DataFrame, own: dict[str, str], roles: dict[str, str]) -> pd.DataFrame:
    to = {column: roles.setdefault(role, column) for role, column in own.items()}
    for column, new in to.items():
        if column != new and new in table.columns:
            raise DataError(
                f"{name} cannot be joined with the other tables: what it has in {column!r} they have in {new!r}, and "
                f"it has a column {new!r} too.",
                fix=f"Rename {new!r} in {name}, or leave that column out.",
            )
    return table.rename(columns=to)
