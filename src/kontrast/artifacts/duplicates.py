"""Images that are kept once: what their copies say of them is kept too, and what these contradict is counted.

A copy is a row whose file had the same bytes. Its labels, masks and boxes are of the same picture, so they fill what
the row that is kept leaves blank. Where two rows contradict each other (1 and 0), neither is believed: the label is
uncertain (-1), whatever the order of the rows, and a table lists it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kontrast.artifacts.files import cell
from kontrast.artifacts.pack import Pack
from kontrast.types import CROP, EXTRA_COLUMNS

OF_THE_PICTURE, OF_THE_PERSON, OF_THE_ROW = ("view", *EXTRA_COLUMNS), ("sex", "age"), ("study_id", "split")
COPIES = ("pack", "row", "of", "patient_id", "same")
CONTRADICTIONS = ("image_id", "finding", "label", "copy", "its_label")
"""Header of the table of contradictions."""
AT_A_TIME = 512
"""Masks read at once."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Rows that are kept, with what their copies add.

    Attributes:
        table: the rows that are kept.
        left_out: (source, reason) of the copies.
        copies: `pack` and `row` of each copy, `of`: the position in `table` of the row that is kept, `patient_id`, and
            `same`: whether that is the patient of the row kept.
        filled: how many blank cells of each column come from a copy.
        contradictions: (image_id of the row kept, finding, its label, source of the copy, its label): now -1.
        differ: for each other column how many images have another value in a copy; that of the row kept stays.
        strangers: copies that stood under another patient than the row kept, 0 where patients are not known.
    """

    table: pd.DataFrame
    left_out: tuple[tuple[str, str], ...] = ()
    copies: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*COPIES], dtype=np.int64))
    filled: dict[str, int] = field(default_factory=dict)
    contradictions: tuple[tuple[str, str, str, str, str], ...] = ()
    differ: dict[str, int] = field(default_factory=dict)
    strangers: int = 0

    @property
    def contradicted(self) -> dict[str, int]:
        """For each finding how many images have labels that contradict each other."""
        return dict(Counter(finding for _, finding in dict.fromkeys(line[:2] for line in self.contradictions)))

    @property
    def apart(self) -> int:
        """Of the strangers those whose own patient stands in another split than the image that is kept."""
        if not self.strangers:
            return 0
        copies = self.copies[~self.copies["same"].astype(bool)]
        split = self.table.drop_duplicates("patient_id").set_index("patient_id")["split"]
        theirs = copies["patient_id"].map(split)
        other = theirs.notna() & (theirs.to_numpy() != self.table["split"].to_numpy()[copies["of"]])
        return int(copies[other].drop_duplicates(["pack", "row"]).shape[0])


def settle(
    table: pd.DataFrame, again: pd.Series, findings: Sequence[str], reason: str, *, patients_known: bool
) -> Settled:
    """Keep the rows that are no copies, and what their copies say of them.

    Args:
        table: one row per image, with `pack` and `row`.
        again: (rows,) bool, those that are copies; each has one or more of the same `sha256` that are not.
        findings: the label columns.
        reason: of each copy, for rejects.csv.
        patients_known: whether another `patient_id` is another person.
    """
    kept = table[~again].reset_index(drop=True)
    if not again.any():
        return Settled(table=kept)
    pairs = _pairs(table[again], kept)
    filled, differ, contradictions = dict[str, int](), dict[str, int](), list[tuple[str, str, str, str, str]]()
    for name in findings:
        labels, filled[name], clash = _label(kept[name], pairs[name], pairs["of"])
        for of, source, label in pairs.loc[clash[pairs["of"]], ["of", "source", name]].itertuples(index=False):
            contradictions.append((kept["image_id"][of], name, cell(kept[name][of]), str(source), cell(label)))
        kept[name] = labels
    everybody = pd.Series(True, index=pairs.index)
    theirs = {
        **dict.fromkeys(OF_THE_PICTURE, everybody),
        **dict.fromkeys(OF_THE_PERSON, pairs["same"] if patients_known else everybody),
        **dict.fromkeys(OF_THE_ROW, pairs["same"]),
    }
    for name, of in theirs.items():
        if name in kept and name not in findings:
            kept[name], filled[name], differ[name] = _cell(kept[name], pairs[name][of], pairs["of"][of])
    others = pairs["at"][~pairs["same"]].nunique() if patients_known else 0
    return Settled(
        table=kept,
        left_out=tuple((str(source), reason) for source in table["source"][again]),
        copies=pairs[[*COPIES]],
        filled={name: count for name, count in filled.items() if count},
        contradictions=tuple(contradictions),
        differ={name: count for name, count in differ.items() if count},
        strangers=int(others),
    )


def _pairs(copies: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Each copy (`at`: its index) with the rows that it is a copy of: of its own patient where there are any."""
    where = kept[["sha256", "patient_id"]].assign(of=np.arange(len(kept)))
    pairs = copies.assign(at=copies.index).merge(where, on="sha256", suffixes=("", "_kept"))
    pairs["same"] = pairs["patient_id"] == pairs["patient_id_kept"]
    return pairs[pairs["same"] | ~pairs.groupby("at")["same"].transform("any")].reset_index(drop=True)


def _label(own: pd.Series, copies: pd.Series, of: pd.Series) -> tuple[pd.Series, int, np.ndarray]:
    """A finding's labels with those of copies: (labels, how many were blank, which are contradicted)."""
    groups = copies.groupby(of)
    low = own.combine(groups.min().reindex(own.index), np.fmin)
    high = own.combine(groups.max().reindex(own.index), np.fmax)
    clash = (low != high) & low.notna()
    return low.where(~clash, -1.0), int((own.isna() & low.notna()).sum()), clash.to_numpy()


def _cell(own: pd.Series, copies: pd.Series, of: pd.Series) -> tuple[pd.Series, int, int]:
    """Another column likewise: (values, how many were blank, how many have another value in a copy, which is left)."""
    given = copies[copies.notna() & (copies != "")]
    groups = given.groupby(of.loc[given.index])
    low, high = groups.min().reindex(own.index), groups.max().reindex(own.index)
    blank, agreed = own.isna() | (own == ""), low.notna() & (low == high)
    other = low.notna() & ~agreed | agreed & ~blank & (low != own)
    return own.where(~(blank & agreed), low), int((blank & agreed).sum()), int(other.sum())


def masks_of_copies(
    packs: Sequence[Pack], table: pd.DataFrame, copies: pd.DataFrame
) -> dict[str, dict[int, tuple[int, int]]]:
    """For each mask the positions in `table` that lack it and have a copy with it: position → the copy's (pack, row).

    Of two copies the first is taken. A copy of which another part is shown (`--crop`) has other masks: it is left.
    """
    copies = _of_one_part(packs, table, copies)
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for name in dict.fromkeys(name for pack in packs for name in pack.mask_names):
        theirs = _with_mask(packs, copies[["pack", "row", "of"]], name).drop_duplicates("of")
        own = table[["pack", "row"]].iloc[theirs["of"]].assign(of=theirs["of"].to_numpy())
        have = set(_with_mask(packs, own, name)["of"])
        lines = theirs[~theirs["of"].isin(have)].to_numpy().tolist()
        if lines:
            found[name] = {at: (pack, row) for pack, row, at in lines}
    return found


def _of_one_part(packs: Sequence[Pack], table: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """The copies of which the same part of the picture is shown as of the row that is kept."""
    if not any(CROP in pack.table for pack in packs):
        return copies
    crops = [pack.table.get(CROP, pd.Series("", index=pack.table.index)) for pack in packs]

    def shown(rows: pd.DataFrame) -> np.ndarray:
        return np.array([crops[pack][row] for pack, row in zip(rows["pack"], rows["row"], strict=True)], dtype=object)

    return copies[shown(copies) == shown(table.iloc[copies["of"]])]


def _with_mask(packs: Sequence[Pack], rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Those of some rows (`pack`, `row`) that have a mask."""
    has = np.zeros(len(rows), dtype=bool)
    for i, pack in enumerate(packs):
        at = np.flatnonzero(rows["pack"] == i) if name in pack.mask_names else np.empty(0, dtype=np.int64)
        for first in range(0, len(at), AT_A_TIME):
            some = at[first : first + AT_A_TIME]
            has[some] = pack.mask(name, rows["row"].to_numpy()[some]).any(axis=(1, 2))
    return rows[has]


def boxes_of_copies(
    packs: Sequence[Pack], table: pd.DataFrame, copies: pd.DataFrame, own: pd.DataFrame
) -> pd.DataFrame:
    """The boxes of copies, under the ids of the rows kept that have none around the same finding; the first copy's."""
    found = [own.iloc[:0]]
    copies = _of_one_part(packs, table, copies).drop_duplicates(["pack", "row", "of"]).reset_index(drop=True)
    have = set(zip(own["image_id"], own["finding"], strict=True))
    by_id = [{} if pack.boxes is None else dict(iter(pack.boxes.groupby("image_id"))) for pack in packs]
    for i, row, at in copies[["pack", "row", "of"]].to_numpy().tolist():
        theirs = by_id[i].get(packs[i].table["image_id"][row])
        if theirs is None:
            continue
        image_id = table["image_id"][at]
        new = theirs[[(image_id, finding) not in have for finding in theirs["finding"]]]
        have |= {(image_id, finding) for finding in theirs["finding"]}
        found.append(new.assign(image_id=image_id))
    return pd.concat(found, ignore_index=True)
