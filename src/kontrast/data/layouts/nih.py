"""NIH ChestX-ray14 as it is downloaded: `Data_Entry_2017*.csv`, image folders, official lists (Wang et al. 2017)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kontrast.data.columns import NIH_FINDINGS, recognise, stem
from kontrast.data.layouts.files import locate, matching
from kontrast.data.layouts.folder import images_of
from kontrast.data.layouts.records import Records, finish, from_roles
from kontrast.data.vocabulary import mapped
from kontrast.data.words import read_table
from kontrast.errors import DataError
from kontrast.types import counted

TABLE = "Data_Entry_2017*.csv"
LISTS = {"train_val_list.txt": "", "test_list.txt": "test"}


def recognised(columns: Sequence[str]) -> bool:
    """Whether a table is NIH's own."""
    return {"Image Index", "Finding Labels"} <= set(columns)


def _official(src: Path, names: pd.Series) -> tuple[pd.Series, str, str]:
    """Parts from NIH's lists; its test images must stay out of pretraining too, so they come first."""
    path = src / "test_list.txt"
    if not path.is_file():
        return pd.Series("", index=names.index), "", "no official lists (test_list.txt): patients will be drawn"
    listed = set(path.read_text(encoding="utf-8").split())
    split = names.isin(listed).map({True: "test", False: ""})
    return split, "test", "split = the official test_list.txt; val will be drawn from the rest"


def records(src: Path, labels: Sequence[Path], overrides: Mapping[str, str]) -> Records:
    """Records of ChestX-ray14. `No Finding` is not a finding of its own: it is where the other 14 are 0.

    Raises:
        DataError: the table or its images are not there.
    """
    tables = list(labels) or matching(src, TABLE)[-1:]
    if not tables:
        raise DataError(f"{src} holds no {TABLE}.", fix="Name NIH's table with --labels.")
    table = pd.concat([read_table(path) for path in tables], ignore_index=True).fillna("")
    if not recognised(list(table.columns)):
        raise DataError(
            f"{tables[0].name} is not NIH's table: it lacks the columns `Image Index` and `Finding Labels`.",
            fix="Use --layout table for tables of your own.",
        )
    images = images_of(src)
    wanted = {"path": "Image Index", "study": "Follow-up #", "finding": "none", "classes": "none"}
    preset = {role: name for role, name in wanted.items() if name in (*table.columns, "none")}
    asked = {role: name for role, name in overrides.items() if role not in ("finding", "classes", "rename")}
    roles = recognise(table, preset | asked, {stem(path.name) for path in images})
    assert roles.path is not None
    found = locate(src, list(table[roles.path]), images, tables[0].name)
    frame, _ = from_roles(table, roles, found.sources)
    labelled, findings, notes = _labels(table, overrides)
    frame = pd.concat([frame, labelled], axis=1)
    frame["split"], official, note = _official(src, table[roles.path])
    wrong = int((table[roles.age].ne("") & frame["age"].isna()).sum()) if roles.age else 0
    frame = frame[frame["source"].notna()]
    kept = [line for line in roles.notes if not line.startswith(("left out", "not understood"))]
    notes = [*kept, *notes, *found.notes, note]
    if (src / "BBox_List_2017.csv").is_file():
        notes.append("BBox_List_2017.csv is there: boxes of 8 findings")
    if wrong:
        notes.append(f"not between 0 and 120 years, and left blank: {counted(wrong, 'age')}")
    return finish(
        src,
        frame,
        findings=findings,
        layout="nih",
        notes=notes,
        official_split=official,
        patients_known=roles.patient is not None,
        problems=found.problems,
        roles=roles,
    )


def _labels(table: pd.DataFrame, overrides: Mapping[str, str]) -> tuple[pd.DataFrame, list[str], list[str]]:
    sets = [set(value.split("|")) for value in table["Finding Labels"]]
    binary = {name: [np.nan if s == {""} else float(name in s) for s in sets] for name in NIH_FINDINGS}
    labels = pd.DataFrame(binary, index=table.index)
    known = {*NIH_FINDINGS, "No Finding", ""}
    notes = [f"findings = NIH's 14 from Finding Labels (text mining, about 90 % right): {', '.join(NIH_FINDINGS)}"]
    others = sorted(set().union(*sets) - known)
    if others:
        # Only their number: a shifted column would put names into messages and the card.
        notes.append(f"{len(others)} unknown words in Finding Labels are left out")
    # The same rules as for any table of 1 and 0: choose, rename, suggest.
    chosen = {role: overrides[role] for role in ("finding", "rename") if role in overrides}
    text = labels.map(lambda value: "" if value != value else str(int(value)))
    roles = recognise(text, {"path": "none", "classes": "none"} | chosen)
    notes += [line for line in roles.notes if "as asked" in line]
    labels = labels[list(roles.findings)]
    to, said = mapped(name for name in labels.columns if name not in dict(roles.rename))
    labels = labels.rename(columns=to | dict(roles.rename))
    return labels, list(labels.columns), notes + said
