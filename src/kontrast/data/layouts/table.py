"""Any CSV with a column of image files, and whatever of patients, views and findings it has."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from kontrast.data.columns import Roles, by_files, recognise, stem
from kontrast.data.label_words import spellings
from kontrast.data.layouts.doubles import as_one
from kontrast.data.layouts.files import Found, locate
from kontrast.data.layouts.folder import divide, images_of
from kontrast.data.layouts.joined import joined
from kontrast.data.layouts.names import are_classes
from kontrast.data.layouts.records import Records, finish, from_roles
from kontrast.data.layouts.studies import hint, with_files
from kontrast.data.words import read_table
from kontrast.errors import DataError
from kontrast.types import counted


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records from one or several tables; those with other columns than the first are joined by file.

    Raises:
        DataError: no column of files, or none of the files of a table is there.
        UsageError: an override names a column that is not there.
    """
    images = images_of(src)
    stems = {stem(path.name) for path in images}
    tables, by_study = _with_files(src, labels, overrides, images, stems)
    parts, asked = joined(tables, dict(overrides), stems)
    table = pd.concat([part for _, part in parts], ignore_index=True).fillna("")
    name = ", ".join(name for name, _ in parts)
    roles = recognise(table, asked, stems)
    if roles.path is None:
        raise DataError(
            f"{name} has no column of image files that is recognised. Its columns: {', '.join(table.columns)}.",
            fix=hint(table) or "Name it: --column path=NAME.",
        )
    path = roles.path
    found = [locate(src, list(part[path]), images, of) for of, part in parts]
    roles, class_notes, doubt = _checked(table, roles, sure="classes" in overrides)
    frame, findings = from_roles(table, roles, [source for one in found for source in one.sources])
    frame, doubles, warnings = as_one(frame[frame["source"].notna()], findings)
    notes = [
        *by_study,
        *roles.notes,
        *class_notes,
        *(note for one in found for note in one.notes),
        *_overlap(parts, found),
    ]
    official = ""
    if roles.split:
        frame["split"], official, note = divide(list(frame["split"]))
        notes.append(f"split as {roles.split} says; {note}")
    unlisted = len({image.as_posix() for image in images} - set(frame["source"]) - {file for file, _ in doubles})
    if unlisted:
        notes.append(f"{unlisted:,} image files below the source are not in {name}: left out")
    if not findings and not doubt and "none" not in (overrides.get("finding"), overrides.get("classes")):
        warnings.append(
            f"no column of {name} is a label, so all images are train unless it gives a split: labels are columns of "
            "1, 0, -1 and blank (--column finding=NAME), or one of classes (--column classes=NAME)"
        )
    return finish(
        src,
        frame,
        findings=findings,
        layout="table",
        notes=notes,
        official_split=official,
        patients_known=roles.patient is not None,
        problems=[*(problem for one in found for problem in one.problems), *doubles],
        warnings=warnings,
        roles=roles,
        doubt=doubt,
    )


def _with_files(
    src: Path, labels: Sequence[Path], overrides: Mapping[str, str], images: Sequence[Path], stems: set[str]
) -> tuple[list[tuple[str, pd.DataFrame]], list[str]]:
    """The tables with their names, those of studies with their files; and what to say."""
    tables: list[tuple[str, pd.DataFrame]] = []
    notes: list[str] = []
    for path in labels:
        table = read_table(path)
        if "path" not in overrides and by_files(table, stems) is None:
            found, said = with_files(src, path.name, table, images)
            table, notes = (table if found is None else found), notes + said
        tables.append((path.name, table))
    return tables, notes


def _checked(table: pd.DataFrame, roles: Roles, *, sure: bool) -> tuple[Roles, list[str], tuple[str, ...]]:
    """The roles without a column of classes whose words may be people's names or free text, unless the user is `sure`.

    Returns:
        The roles, what to say, and `Records.doubt`.
    """
    column = roles.classes
    if not column:
        return roles, [], ()
    spelt = spellings(table[column])
    names = set(spelt.values())
    # One or two digits are a class's number; more may be somebody's.
    odd = [name for name in names if not (are_classes([name]) or (len(name) < 3 and name.isdigit()))]
    if sure or not odd:
        folded = len(spelt) - len(names)
        said = f"{counted(folded, 'spelling')} of classes in {column} with other capitals alone: taken for the same"
        return roles, [said] * bool(folded), ()
    what = (
        f"{column} holds {len(names)} different texts, {len(odd)} of which may be free text or people's names, so they "
        "are not taken for findings unasked"
    )
    say = (
        f"Add --column {shlex.quote(f'classes={column}')} if each of them is a class (they will stand in the Pack, on "
        "the terminal and in reports), or --column classes=none if not."
    )
    notes = [note for note in roles.notes if note != f"findings = one for each class of {column}"]
    return replace(roles, classes=None, notes=tuple(notes)), [f"{what}: {say[0].lower()}{say[1:]}"], (what, say)


def _overlap(parts: Sequence[tuple[str, pd.DataFrame]], found: Sequence[Found]) -> list[str]:
    """How the files of several tables lie in each other."""
    if len(parts) < 2:
        return []
    files = [{source for source in one.sources if source} for one in found]
    each = ", ".join(f"{name} ({counted(len(those), 'file')})" for (name, _), those in zip(parts, files, strict=True))
    return [f"joined by file: {each}; {counted(len(set.intersection(*files)), 'file')} in all of them"]
