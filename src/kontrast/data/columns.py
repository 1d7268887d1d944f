"""Tables of any origin: which column plays which role, and what its words mean.

A role is given by a column's name *and* its content (a column `view` that holds numbers is no view). Nothing is
guessed silently: `Roles.notes` says what was taken for what, and `--column role=name` overrides it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from kontrast.config import choose, nearest
from kontrast.data.label_words import (
    LABELS,
    SAID,
    YES_NO,
    asked_words,
    bare_numbers,
    finding_values,
    is_binary,
    is_classes,
    may_be_finding,
    read_as,
)  # fmt: skip
from kontrast.data.words import READERS, age_values, sex_values, split_values, unknown, view_values
from kontrast.errors import UsageError
from kontrast.types import FINDINGS

NIH_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The 14 findings of NIH ChestX-ray14 (Wang et al. 2017), spelt as its table spells them."""

_NAMES: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "imagepath", "filepath", "filename", "file", "imagefile", "imagefilename", "imageindex", "image"),
        *("imagename", "imageid", "img", "imgpath", "dicompath", "dicomid", "dicom", "fileid", "name", "id"),
    ),
    "patient": ("patientid", "patient", "subjectid", "subject", "pid", "patientkey", "participantid", "participant"),
    "study": ("studyid", "study", "studyinstanceuid", "accession", "accessionnumber", "examid", "followup", "visit"),
    "view": ("view", "viewposition", "projection", "appa", "position", "frontallateral"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "patientage", "ageyears", "patientageyears"),
    "split": ("split", "set", "subset", "partition", "fold", "dataset", "usage"),
    "classes": ("findinglabels", "labels", "label", "class", "classes", "category", "diagnosis", "finding", "subtype"),
}
_PEOPLE = (
    *("patientname", "patientsname", "nameofpatient", "patname", "patnr", "patientnumber", "patientnr", "patientno"),
    *("patientnum", "patid", "mrn", "medicalrecordnumber", "medrecno", "hospitalnumber", "nhsnumber", "personid"),
    *("person", "casenumber", "caseid", "case", "deidpatientid", "anonpatientid", "anonid", "patientcode"),
)
"""Columns that may tell people apart but are not taken unasked: names may be shared, cases may be visits."""
_NOT_FINDINGS = ("index", "unnamed", "fold", "followup", "row", "rownumber", "icu", "death", "dead")
MANY = ("finding", "rename", "value")
ROLES = (*_NAMES, *MANY)
"""What `--column ROLE=NAME` may say. MANY may come several times; `rename=OLD:NEW`, `value=WORD:1`."""


@dataclass(frozen=True)
class Roles:
    """The column of each role, None where there is none.

    Attributes:
        path: image file, a path or a name, with or without its suffix.
        patient, study, view, sex, age, split: as in a Pack's table.
        classes: a text column of one class per image, or of several parted by `|` (used where no finding column is).
        findings: columns of 1, 0, -1 and blank.
        words: (word, 1, 0 or -1): what the cells of findings may hold.
        rename: (column, finding name) where they differ.
        notes: what was taken for what, and what was left out; to be printed.
    """

    path: str | None = None
    patient: str | None = None
    study: str | None = None
    view: str | None = None
    sex: str | None = None
    age: str | None = None
    split: str | None = None
    classes: str | None = None
    findings: tuple[str, ...] = ()
    words: tuple[tuple[str, float], ...] = tuple(LABELS.items())
    rename: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """`["patient=Foo", "finding=A", "finding=B"]` as `{"patient": "Foo", "finding": "A,B"}`.

    Raises:
        UsageError: a word without `=`, or an unknown role.
    """
    overrides: dict[str, str] = {}
    for word in words:
        role, equals, name = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--column {word} is not ROLE=NAME.", fix=f"Roles: {', '.join(ROLES)}.")
        choose(role, ROLES, "--column role")
        many = role in MANY and role in overrides
        overrides[role] = f"{overrides[role]},{name}" if many else name
    return overrides


def plain(name: str) -> str:
    """A name without case, spaces and signs: `Patient ID` and `patient_id` are the same."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_SUFFIX = re.compile(r"\.(jpe?g|jpe|png|tiff?|dcm|dicom|dic)$")


def stem(value: str) -> str:
    """The file name of a path without folders and image suffix, lower case."""
    return _SUFFIX.sub("", value.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower())


def _mostly(parse: Callable[[Iterable[str]], list[Any]]) -> Callable[[pd.Series], bool]:
    def check(values: pd.Series) -> bool:
        present = [value for value in values if value]
        good = sum(1 for value in parse(present) if value not in ("",) and value == value)  # NaN is not itself
        return bool(present) and good * 2 > len(present)

    return check


_KNOWN = frozenset(plain(finding) for finding in (*FINDINGS, *NIH_FINDINGS))


_CONTENT: dict[str, Callable[[pd.Series], bool]] = {
    "path": lambda values: bool(values.nunique() > len(values) // 2),
    "patient": lambda values: bool(values.ne("").any()),
    "study": lambda values: bool(values.ne("").any()),
    "view": _mostly(view_values),
    "sex": _mostly(sex_values),
    "age": _mostly(age_values),
    "split": _mostly(split_values),
    "classes": is_classes,
}


def _column(name: str, table: pd.DataFrame) -> str:
    if name in table.columns:
        return name
    guess = nearest(name, table.columns)
    shown = ", ".join(list(table.columns)[:20]) + (" …" if len(table.columns) > 20 else "")
    raise UsageError(
        f"--column names {name!r}, which the table does not have.",
        fix=(f"Did you mean {guess!r}? " if guess else "") + f"Columns: {shown}.",
    )


def by_files(table: pd.DataFrame, stems: Collection[str]) -> str | None:
    """The column whose words are most often names of files that exist (`stems`), or None."""
    shares = {
        name: _share(table[name], stems)
        for name in table.columns
        # Labels and ages are numbers too, and files may be called 0.png and 1.png: numbers that repeat name no files.
        if not (bare_numbers(table[name]) and table[name].duplicated().any())
    }
    best = max(shares, key=lambda name: shares[name], default=None)
    if not stems or best is None or shares[best] <= 0.05:
        return None
    # A running number beside a column that is called a path is no path, even where files bear numbers.
    named = _find("path", table, (), []) if bare_numbers(table[best]) else None
    return named or best


def _share(column: pd.Series, stems: Collection[str]) -> float:
    """The share of cells that name a file; each word is looked at once."""
    codes, words = pd.factorize(column)
    return float(np.array([stem(word) in stems for word in words], dtype=bool)[codes].mean()) if len(codes) else 0.0


def _find(role: str, table: pd.DataFrame, taken: Collection[str], notes: list[str]) -> str | None:
    named = {plain(name): name for name in reversed(table.columns) if name not in taken}
    for word in _NAMES[role]:
        if word in named:
            if _CONTENT[role](table[named[word]]):
                return named[word]
            if role not in ("path", "classes", "split", "study"):
                empty = table[named[word]].eq("").all()
                why = "it is empty" if empty else "its content does not look like one"
                notes.append(f"{named[word]} is not used as {role}: {why}")
    return None


def recognise(table: pd.DataFrame, overrides: dict[str, str], stems: Collection[str] = frozenset()) -> Roles:
    """Which column of a table plays which role.

    Args:
        table: as `read_table` gives it.
        overrides: role → column name, `none` to leave a role empty; those of MANY parted by commas.
        stems: names of the image files that exist (see `stem`): the column that holds them is the path.

    Raises:
        UsageError: an override names a column that is not there, with its nearest neighbour.
        DataError: a column given as a finding holds something else.
    """
    notes: list[str] = []
    found: dict[str, str | None] = {}
    given = {
        role: None if name == "none" else _column(name, table) for role, name in overrides.items() if role in _NAMES
    }
    for role in _NAMES:
        if role in given:
            found[role] = given[role]
            continue
        taken = {name for name in (*found.values(), *given.values()) if name}
        column = by_files(table[[c for c in table.columns if c not in taken]], stems) if role == "path" else None
        found[role] = column or _find(role, table, taken, notes)
    shown = ", ".join(f"{role} = {name}" for role, name in found.items() if name and role != "classes")
    notes = [f"columns: {shown}"] * bool(shown) + notes
    words = SAID | asked_words(overrides)
    findings = _findings(table, overrides, words, {name for role, name in found.items() if name and role != "classes"})
    classes = found.pop("classes")
    if findings and classes and "classes" not in overrides:
        if classes not in findings:
            notes.append(f"{classes} is not used: there are finding columns")
        classes = None
    if classes and classes in findings:
        classes = None
    if classes:
        notes.append(f"findings = one for each class of {classes}")
    elif findings:
        notes.append(f"findings = {', '.join(findings)}")
        notes += read_as(table, findings, words)
    used = {*findings, classes, *found.values()}
    left = [
        name for name in table.columns if name not in used and not any(n.startswith(f"{name} is not") for n in notes)
    ]
    if left:
        notes.append(f"left out: {', '.join(left)}")
    notes += _not_taken(table, found, [] if "finding" in overrides else left, words)
    most = 2 if findings or classes else 3
    unread = [
        name
        for name in left
        if plain(name) not in _PEOPLE and may_be_finding(table[name], 3 if plain(name) in _KNOWN else most)
    ]
    if unread:
        notes.append(
            f"{', '.join(unread)} may be labels in words of their own: say what each means, as in "
            "--column value=WORD:1 value=WORD:0"
        )
    people = [name for name in left if plain(name) in _PEOPLE and table[name].ne("").any()]
    if found["patient"] is None and people:
        notes.append(
            f"{people[0]} may say whose image is whose: --column 'patient={people[0]}' takes it for that; what is in "
            "it is hashed with the patient key, and two people of one name would then be one"
        )
    rename = _renames(overrides, findings, notes, closed=classes is None)
    return replace(
        Roles(), **found, classes=classes, findings=findings, words=tuple(words.items()), rename=rename,
        notes=tuple(notes),
    )  # fmt: skip


def _not_taken(
    table: pd.DataFrame, found: Mapping[str, str | None], left: Sequence[str], words: Mapping[str, float]
) -> list[str]:
    """What cells and columns say that may be meant and is not taken."""
    notes = []
    blank = {name: unknown(role, table[name]) for role in READERS if (name := found[role])}
    if any(blank.values()):
        each = ", ".join(f"{count:,} of {len(table):,} cells of {name}" for name, count in blank.items() if count)
        notes.append(f"not understood, and so left blank: {each}")
    alike = [name for name in left if _one_class(table[name], words)]
    if alike:
        notes.append(
            f"{', '.join(alike)} {'holds' if len(alike) == 1 else 'hold'} one value throughout, and so cannot be told "
            "from columns of other kinds: --column finding=NAME takes it for a finding (name all findings then)"
        )
    return notes


def _findings(
    table: pd.DataFrame, overrides: dict[str, str], words: Mapping[str, float], taken: set[str]
) -> tuple[str, ...]:
    if "finding" in overrides:
        if overrides["finding"] == "none":
            return ()
        names = [_column(name.strip(), table) for name in overrides["finding"].split(",")]
        for name in names:
            finding_values(table[name], words)
        return tuple(dict.fromkeys(names))
    if "classes" in overrides and overrides["classes"] != "none":
        return ()
    # In a column of classes `positive` and `negative` are two of them.
    of_classes = YES_NO | asked_words(overrides)
    return tuple(
        name
        for name in table.columns
        if name not in taken
        and _may_be_named(name)
        and is_binary(table[name], plain(name) in _KNOWN, of_classes if plain(name) in _NAMES["classes"] else words)
    )


_OTHER_ROLES = {word for role, named in _NAMES.items() if role not in ("classes", "path", "view") for word in named}


def _may_be_named(name: str) -> bool:
    """Whether a finding may be called so."""
    return plain(name) not in _OTHER_ROLES and not plain(name).startswith(_NOT_FINDINGS)


def _one_class(values: pd.Series, words: Mapping[str, float]) -> bool:
    """Whether a column holds 1 or 0 (or a word for them) in each cell, always the same."""
    return _may_be_named(str(values.name)) and values.nunique() == 1 and words.get(values.iloc[0].lower()) in (0, 1)


def _renames(
    overrides: dict[str, str], findings: Sequence[str], notes: list[str], *, closed: bool
) -> tuple[tuple[str, str], ...]:
    pairs = []
    for word in filter(None, overrides.get("rename", "").split(",")):
        old, colon, new = (part.strip() for part in word.partition(":"))
        if not colon or not new:
            raise UsageError(f"--column rename={word} is not rename=OLD:NEW.", fix="Write rename=Effusion:NAME.")
        pairs.append((choose(old, findings, "--column rename finding") if closed else old, new))
        notes.append(f"finding {old} is called {new}, as asked")
    chexpert = {plain(name): name for name in FINDINGS} | {"effusion": "Pleural Effusion"}
    renamed = dict(pairs)
    for name in findings:
        standard = chexpert.get(plain(name), name)
        if standard != name and name not in renamed:
            notes.append(f"{name} keeps its name; CheXpert's is {standard}: --column 'rename={name}:{standard}'")
    return tuple(pairs)
