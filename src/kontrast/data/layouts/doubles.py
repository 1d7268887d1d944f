"""Files that tables list more than once: never does the order of the rows decide between two that contradict."""

from collections.abc import Sequence

import pandas as pd

from kontrast.types import counted

_WHOSE = ("patient", "study", "split")
"""Where these contradict each other, nothing says whose the image is or which side it is on: it is left out."""
_WHAT = ("view", "sex", "age")


def as_one(
    frame: pd.DataFrame, findings: Sequence[str], *, blank_is_train: bool = False
) -> tuple[pd.DataFrame, list[tuple[str, str]], list[str]]:
    """One row for each file: what one row leaves blank another fills.

    Labels that contradict each other become uncertain (-1), as where Packs are merged: a blank one would count as
    negative by default, which neither row says. A view, sex or age becomes blank. A file under several patients,
    studies or splits is left out.

    Args:
        frame: rows with the columns of `records.BASE` and the findings.
        findings: columns of 1, 0, -1 and NaN.
        blank_is_train: a blank split stands for what is still to be divided beside a given test part.

    Returns:
        The frame, (file, reason) of what was repeated, contradicted or left out, and what to warn of, in counts.
    """
    doubled = frame.duplicated("source", keep=False)
    if not doubled.any():
        return frame, [], []
    columns = [*_WHOSE, *_WHAT, *findings]
    rows = frame.loc[doubled, ["source", *columns]]
    rows = rows.astype(object).mask(rows == "", None)
    if blank_is_train:
        rows["split"] = rows["split"].fillna("train")
    groups = rows.groupby("source", sort=False)[columns]
    differ, values = groups.nunique() > 1, groups.first()
    values = values.mask(differ)
    for name in findings:
        values.loc[differ[name], name] = -1.0
    if blank_is_train:
        values["split"] = values["split"].replace("train", "")
    out = differ[list(_WHOSE)].any(axis=1)
    left = frame[~frame.duplicated("source") & ~frame["source"].isin(out.index[out])].copy()
    at = left["source"].isin(values.index)
    found = values.loc[left.loc[at, "source"]]
    for name in columns:
        text = name in (*_WHOSE, "view", "sex")
        left.loc[at, name] = (found[name].fillna("") if text else found[name].astype(float)).to_numpy()
    again = rows[rows.duplicated() & ~rows["source"].isin(differ.index[differ.any(axis=1)])]["source"]
    problems = [(str(source), _reason(row, findings)) for source, row in differ[differ.any(axis=1)].iterrows()]
    return left, [*((str(source), "listed again") for source in again), *problems], _warnings(differ, out, findings)


def _reason(row: pd.Series, findings: Sequence[str]) -> str:
    whose = [name for name in _WHOSE if row[name]]
    if whose:
        return f"listed with more than one {' and '.join(whose)}: left out"
    blank = [name for name in _WHAT if row[name]]
    parts = ["listed with contradicting labels: uncertain"] * bool(row[list(findings)].any())
    parts += [f"listed with more than one {' and '.join(blank)}: left blank"] * bool(blank)
    return "; ".join(parts)


def _warnings(differ: pd.DataFrame, out: pd.Series, findings: Sequence[str]) -> list[str]:
    said = []
    if out.any():
        whose = " or ".join(name for name in _WHOSE if differ[name].any())
        said.append(f"listed with more than one {whose}, and so left out: {counted(int(out.sum()), 'file')}")
    for names, what in ((findings, "uncertain (-1)"), (_WHAT, "left blank")):
        cells = differ.loc[~out, list(names)].sum()
        cells = cells[cells > 0]
        if len(cells):
            each = ", ".join(f"{name} {count:,}" for name, count in cells.items())
            said.append(
                f"rows of one file contradict each other, so the cell is {what} (no row goes before another): {each}"
            )
    return said
