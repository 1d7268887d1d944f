"""Which patients and images a set of weights was made with, so that a test on them can be called what it is.

Travels beside the weights as `seen.csv`: one row per image, with `key_id, patient_id, sha256, role, look`. Patients
compare only under the same key; images compare by the SHA-256 of their files under any key, and where a file was
converted or resized before it came here, by its fingerprint (`data.likeness`). One that was cropped or mirrored is not
found, so "none found" is never more than that.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from kontrast.artifacts.disk import atomic
from kontrast.artifacts.pack import Pack
from kontrast.data.likeness import NEAR, fingerprints, nearest
from kontrast.errors import ArtifactError
from kontrast.types import PathLike

SEEN = "seen.csv"
LOOK = "look"
COLUMNS = ["key_id", "patient_id", "sha256", "role", LOOK]
Role = Literal["pretrain", "train", "val"]

AT_A_TIME = 1024
"""Images in memory while fingerprints are taken."""


def looks(pack: Pack, rows: np.ndarray) -> np.ndarray:
    """Fingerprints of a Pack's images: (n, 32) uint8, see `data.likeness`; none (zeros) of generated ones.

    The limit that tells copies from other patients was measured on radiographs. Chests drawn by a program are more
    alike than those of people (in the demo one of test lies within it of one of train), and whose each is, is known.
    """
    if pack.card.content.get("generated"):
        return np.zeros((len(rows), 32), np.uint8)
    parts = [fingerprints(pack.images(rows[i : i + AT_A_TIME])) for i in range(0, len(rows), AT_A_TIME)]
    return np.concatenate([np.empty((0, 32), np.uint8), *parts])


@dataclass(frozen=True)
class Overlap:
    """What some rows of a Pack share with what weights were made with.

    Attributes:
        patients: how many of the rows' patients are among them; None when none was found but not all could be
            compared (another key, or patients unknown): the overlap is unknown, not none.
        images: how many of the rows' images are among them, by checksum.
        near: how many others are near-copies of images among them; None where none was found but not all that were
            seen have a fingerprint (weights of an older version).
        text: all in a sentence, with what could not be compared.
    """

    patients: int | None
    images: int
    near: int | None
    text: str

    @property
    def shared(self) -> bool:
        """Whether anything is known to be shared."""
        return bool(self.patients or self.images or self.near)


@dataclass(frozen=True, eq=False)
class Seen:
    """The images that weights were made with.

    Attributes:
        table: `key_id, patient_id ("" where unknown), sha256 (first 16 hexadecimal digits), role, look (fingerprint, 64
            hexadecimal digits; "" where unknown)`, all str.
    """

    table: pd.DataFrame

    @classmethod
    def nothing(cls) -> "Seen":
        """No image of any Pack: random weights, or ImageNet's."""
        return cls(pd.DataFrame(columns=COLUMNS, dtype=str))

    @classmethod
    def of(cls, pack: Pack, rows: np.ndarray, role: Role) -> "Seen":
        """The images `rows` of a Pack, in the role that they played."""
        rows = np.asarray(rows, dtype=np.int64)
        part = pack.table.iloc[rows]
        return cls(
            pd.DataFrame(
                {
                    "key_id": pack.key_id,
                    # Without patients an image's own id stands in the Pack; it would never match, so it is not kept.
                    "patient_id": part["patient_id"].to_numpy() if pack.patients_known else "",
                    "sha256": part["sha256"].str[:16].to_numpy(),
                    "role": role,
                    LOOK: [one.tobytes().hex() for one in looks(pack, rows)],
                },
                columns=COLUMNS,
            )
        )

    def __add__(self, other: "Seen") -> "Seen":
        tables = [seen.table for seen in (self, other) if len(seen)]
        return Seen(pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)) if tables else self

    def __len__(self) -> int:
        return len(self.table)

    def save(self, folder: PathLike) -> None:
        """Write `seen.csv` into an artifact's folder.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        with atomic(Path(folder) / SEEN) as stream:
            stream.write(self.table.to_csv(index=False, lineterminator="\n").encode())

    @classmethod
    def load(cls, folder: PathLike) -> "Seen":
        """Read the `seen.csv` of an artifact.

        Raises:
            ArtifactError: the file is missing or is none.
        """
        path = Path(folder) / SEEN
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
        except FileNotFoundError:
            raise ArtifactError(f"{path} is missing.", fix="Restore it, or make the artifact again.") from None
        except ValueError:
            table = pd.DataFrame()
        if list(table.columns) == COLUMNS[:-1]:  # of version 0.1.0, which took no fingerprints
            table[LOOK] = ""
        if list(table.columns) != COLUMNS:
            raise ArtifactError(
                f"{path} is damaged: expected the columns {', '.join(COLUMNS)}.",
                fix="Restore it from a copy, or make the artifact again.",
            )
        return cls(table)

    def of_roles(self, *roles: Role) -> "Seen":
        """Those of these roles alone."""
        return Seen(self.table[self.table["role"].isin(roles)].reset_index(drop=True))

    def overlap(self, pack: Pack, rows: np.ndarray) -> Overlap:
        """Compare some rows of a Pack with what was seen."""
        rows = np.asarray(rows, dtype=np.int64)
        part = pack.table.iloc[rows]
        same = part["sha256"].str[:16].isin(set(self.table["sha256"])).to_numpy()
        comparable = (self.table["key_id"] == pack.key_id) & (self.table["patient_id"] != "")
        found = 0
        if pack.patients_known:
            known = set(self.table.loc[comparable, "patient_id"])
            found = len(known & set(part["patient_id"]))
        why = self._unknown_because(pack) if len(part) else ""
        patients, near = None if why and not found else found, self._near(pack, rows[~same])
        return Overlap(patients, int(same.sum()), near, _sentence(found, int(same.sum()), near, why, bool(len(self))))

    def _near(self, pack: Pack, rows: np.ndarray) -> int | None:
        """How many of the rows are near-copies of what was seen, None if none is but some have no fingerprint."""
        if not len(rows) or not len(self):
            return 0
        told = self.table.loc[self.table[LOOK] != "", LOOK].drop_duplicates()
        prints = np.frombuffer(bytes.fromhex("".join(told)), np.uint8).reshape(-1, 32)
        found = int((nearest(looks(pack, rows), prints) <= NEAR).sum()) if len(told) else 0
        return found if found or (self.table[LOOK] != "").all() else None

    def _unknown_because(self, pack: Pack) -> str:
        """Why some patients cannot be compared, or "" when all can."""
        if not len(self):
            return ""
        if not pack.patients_known:
            return "this Pack names no patients"
        if (self.table["key_id"] != pack.key_id).any():
            return "other patient ids were hashed with another key"
        if (self.table["patient_id"] == "").any():
            return "some training images name no patients"
        return ""


def keep_seen(folder: PathLike, seen: Seen) -> None:
    """Add to the `seen.csv` of a run in progress: whom weights have met they have met, whatever they meet later.

    Raises:
        OutputError: the disk is full or cannot be written.
    """
    before = Seen.load(folder) if (Path(folder) / SEEN).is_file() else Seen.nothing()
    (before + seen).save(folder)


def _sentence(found: int, images: int, near: int | None, why: str, any_seen: bool) -> str:
    if not any_seen:
        return "the weights were made without any Pack's images"
    count = f"{images:,} image{'' if images == 1 else 's'}"
    copies = "; whether nearly the same images are among it is unknown" if near is None else ""
    if near:
        copies = f"; {near:,} other image{'' if near == 1 else 's'} nearly the same as one of it"
    patients = f"{found:,} patient{'' if found == 1 else 's'}"
    if why and not found:
        return f"overlap of patients with the training data is unknown ({why}); {count} shared by checksum{copies}"
    least = "at least " if why else ""
    return f"{least}{patients} and {count} shared with the training data" + (f" ({why})" if why else "") + copies
