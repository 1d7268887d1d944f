"""The card of an artifact: what it is, what made it, from what.

`card.json` is written last, so a folder with a card is complete; while work is under way the folder holds `run.json`
instead (claims.py). Cards carry no time stamp, so the same work gives the same bytes.

To change the format of a kind: raise its number in PROTOCOLS, keep reading the old one, add a golden file to the tests.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kontrast import __version__
from kontrast.artifacts.disk import write_json
from kontrast.errors import ArtifactError
from kontrast.types import CARD as CARD
from kontrast.types import CLAIM as CLAIM
from kontrast.types import PathLike

PROTOCOLS: dict[str, int] = {
    "phantom": 1,
    "pack": 2,
    "encoder": 1,
    "classifier": 2,
    "evaluation": 1,
    "explanation": 1,
    "embedding": 1,
    "study": 1,
    "audit": 1,
    "demo": 1,
    "export": 1,
}
MADE_BY = {
    "pack": "kontrast prepare SRC", "encoder": "kontrast pretrain PACK", "classifier": "kontrast probe ENCODER PACK"
}  # fmt: skip


@dataclass(frozen=True)
class Parent:
    """What an artifact was made from: its role (`pack`, `encoder`), kind and the SHA-256 of its card.

    A plain file has no card: its kind is `file`, and the SHA-256 is its own.
    """

    role: str
    kind: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """The readable description of an artifact.

    Attributes:
        kind: a key of PROTOCOLS.
        config: the whole resolved configuration that made it.
        parents: what it was made from.
        files: SHA-256 and size in bytes of each file beside the card.
        content: what its kind needs to be used (architecture, findings, statistics …).
        protocol: format number of the kind, which alone decides whether it can be read.
        version: of kontrast, when written; for people.
    """

    kind: str
    config: dict[str, Any]
    parents: tuple[Parent, ...] = ()
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    protocol: int = 1
    version: str = __version__


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def described(path: Path) -> dict[str, Any]:
    """SHA-256 and size of a file, as a card has them."""
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def card_hash(folder: PathLike) -> str:
    """SHA-256 of an artifact's card, by which its children name it."""
    return sha256_file(Path(folder) / CARD)


def hashes_of(folder: PathLike) -> frozenset[str]:
    """`card_hash`, and those of the cards that a Pack had before it grew: its children may name any of them."""
    earlier = read_card(folder).content.get("history", [])
    return frozenset((card_hash(folder), *(entry["sha256"] for entry in earlier)))


def parent(role: str, folder: PathLike) -> Parent:
    """The reference that a child's card keeps of `folder`."""
    return Parent(role=role, kind=read_card(folder).kind, sha256=card_hash(folder))


def parents_of(**sources: PathLike) -> list[Parent]:
    """References to those of the named sources that are artifacts (`random`, `imagenet` or a weights file are none)."""
    return [parent(role, folder) for role, folder in sources.items() if (Path(folder) / CARD).is_file()]


def read_card(folder: PathLike, kind: str | None = None) -> Card:
    """Read and check the card of an artifact.

    Args:
        folder: the artifact.
        kind: the kind it must be, or None for any.

    Raises:
        ArtifactError: no such folder, no card, a card that is no card, another kind, or a newer protocol.
    """
    folder = Path(folder)
    path = folder / CARD
    what = f"{article(kind)} {kind}" if kind else "an artifact"
    if not folder.is_dir():
        make = f", or make one: {MADE_BY[kind]} --out {folder}" if kind in MADE_BY else "."
        raise ArtifactError(f"Expected {what} at {folder}, but there is no such folder.", fix=f"Check the path{make}")
    if not path.is_file():
        if (folder / CLAIM).is_file():
            raise ArtifactError(
                f"{folder} is unfinished: the command that makes it was interrupted.",
                fix="Run that command again, it resumes; then try this one.",
            )
        raw = f" Raw images become a Pack with: kontrast prepare {folder} --out PACK" if kind == "pack" else ""
        raise ArtifactError(
            f"Expected {what} at {folder}, but it holds no {CARD}.",
            fix=f"Name a folder that a kontrast command wrote with --out.{raw}",
        )
    damaged = ArtifactError(
        f"{path} is damaged: it is not a card that kontrast wrote.", fix="Make the artifact again, or restore it."
    )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found, protocol, version = str(values["kind"]), int(values["protocol"]), str(values["version"])
    except (ValueError, TypeError, KeyError):
        raise damaged from None
    if kind is not None and found != kind:
        raise ArtifactError(
            f"Expected {what} at {folder}, but it is {article(found)} {found}.",
            fix=f"Name the folder of {what}.",
        )
    if protocol > PROTOCOLS.get(found, 0):  # before fields that it may add
        raise ArtifactError(
            f"{folder} was written by kontrast {version} in a newer format (protocol {protocol}).",
            fix=f"Upgrade kontrast to at least {version}.",
        )
    try:
        return Card(**{**values, "parents": tuple(Parent(**p) for p in values["parents"])})
    except (TypeError, KeyError, AttributeError):
        raise damaged from None


def write_card(
    folder: Path,
    kind: str,
    *,
    config: Mapping[str, Any],
    parents: Sequence[Parent] = (),
    content: Mapping[str, Any] | None = None,
    files: Sequence[str] = (),
    known: Mapping[str, dict[str, Any]] | None = None,
) -> Card:
    """Finish an artifact: hash `files` (names within `folder`), write the card atomically, drop the claim.

    `known` files stay as an earlier card has them: hashed again, one damaged since would pass for whole.
    """
    for left in folder.glob(".*.partial"):  # half written when a run was killed
        left.unlink()
    hashes = {name: described(folder / name) for name in files}
    hashes = dict(sorted((hashes | dict(known or {})).items()))
    card = Card(
        kind=kind, config=dict(config), parents=tuple(parents), files=hashes,
        content=dict(content or {}), protocol=PROTOCOLS[kind],
    )  # fmt: skip
    write_json(folder / CARD, asdict(card))
    (folder / CLAIM).unlink(missing_ok=True)
    return card


def verify_files(folder: PathLike, names: Sequence[str] | None = None) -> None:
    """Check that the files of an artifact are those its card describes.

    Raises:
        ArtifactError: a file is missing, cut short or changed; the message names it.
    """
    folder = Path(folder)
    for name, expected in read_card(folder).files.items():
        if names is not None and name not in names:
            continue
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing.", fix="Restore it from a copy, or make the artifact again.")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise ArtifactError(
                f"{path} is cut short or grown: {expected['bytes']:,} bytes expected, {size:,} found.",
                fix="Restore it from a copy, or make the artifact again.",
            )
        if sha256_file(path) != expected["sha256"]:
            raise ArtifactError(
                f"{path} is damaged: its checksum is not the one in {CARD}.",
                fix="Restore it from a copy, or make the artifact again.",
            )


def article(noun: str | None) -> str:
    """`a` or `an`, as the noun wants."""
    return "an" if noun and noun[0] in "aeiou" else "a"
