"""Any CSV with a column of image files, and whatever of patients, views and findings it has."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kontrast.data.columns import recognise, stem
from kontrast.data.layouts.files import locate
from kontrast.data.layouts.folder import divide, images_of
from kontrast.data.layouts.records import Records, finish, from_roles
from kontrast.data.words import read_table
from kontrast.errors import DataError


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records from one or several tables with the same columns.

    Raises:
        DataError: no column of files, or none of the files is there.
        UsageError: an override names a column that is not there.
    """
    table = pd.concat([read_table(path) for path in labels], ignore_index=True).fillna("")
    name = labels[0].name if len(labels) == 1 else f"{labels[0].name} and {len(labels) - 1} more"
    images = images_of(src)
    roles = recognise(table, dict(overrides), {stem(path.name) for path in images})
    if roles.path is None:
        raise DataError(
            f"{name} has no column of image files that is recognised. Its columns: {', '.join(table.columns)}.",
            fix="Name it: --column path=NAME.",
        )
    found = locate(src, list(table[roles.path]), images, name)
    frame, findings = from_roles(table, roles, found.sources)
    frame = frame[frame["source"].notna()]
    notes = [*roles.notes, *found.notes]
    official = ""
    if roles.split:
        frame["split"], official, note = divide(list(frame["split"]))
        notes.append(f"split as {roles.split} says; {note}")
    unlisted = len({path.as_posix() for path in images} - set(frame["source"]))
    if unlisted:
        notes.append(f"{unlisted:,} image files below the source are not in {name}: left out")
    return finish(
        src,
        frame,
        findings=findings,
        layout="table",
        notes=notes,
        official_split=official,
        patients_known=roles.patient is not None,
        problems=found.problems,
        roles=roles,
    )
