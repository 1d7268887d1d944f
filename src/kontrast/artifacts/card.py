"""The card of an artifact: what it is, what made it, from what; and how a command takes a folder.

`card.json` is written last, so a folder with a card is complete. While work is under way the folder holds
`run.json` instead (the claim: kind, configuration, parents), by which the same command resumes and another refuses.
Cards carry no time stamp, so the same work gives the same bytes.

To change the format of a kind: raise its number in PROTOCOLS, keep reading the old one, add a golden file to the tests.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kontrast import __version__
from kontrast.artifacts.disk import disk_errors, write_json
from kontrast.errors import ArtifactError, OutputError
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
CARD, CLAIM = "card.json", "run.json"


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


@dataclass(frozen=True)
class Claim:
    """An output folder that a command may write.

    Attributes:
        folder: the folder.
        state: `new`, `resume` (the same command was interrupted here), `changed` (it was, with other settings or
            inputs, which is allowed) or `done` (it had finished).
    """

    folder: Path
    state: Literal["new", "resume", "changed", "done"]


def claim(
    out: PathLike,
    kind: str,
    *,
    config: Mapping[str, Any],
    parents: Sequence[Parent] = (),
    dry_run: bool = False,
    allow_changes: bool | None = None,
) -> Claim:
    """Take an output folder, resume in it, find it done, or refuse it. Nothing is ever overwritten.

    Args:
        out: the folder; made if it does not exist.
        kind: what will be written.
        config: the resolved configuration: the same one resumes, another is refused.
        parents: what the artifact is made from, compared likewise.
        dry_run: only look; write nothing.
        allow_changes: take an unfinished folder over with other settings or inputs; None where no command offers it.

    Raises:
        OutputError: the folder holds something else, work with other settings, or cannot be written.
    """
    folder = Path(out)
    wanted = {"kind": kind, "config": json.loads(json.dumps(dict(config))), "parents": [asdict(p) for p in parents]}
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"--out {folder} is a file.", fix="Name a folder that does not exist yet.")
    for name, state in ((CARD, "done"), (CLAIM, "resume")):
        if (folder / name).is_file():
            found = _described(folder / name)
            if allow_changes and state == "resume" and found.get("kind") == kind and any(_other(found, wanted)):
                if not dry_run:
                    write_json(folder / CLAIM, wanted)
                return Claim(folder, "changed")
            _refuse_other(folder, found, wanted, state, offered=allow_changes is False)
            return Claim(folder, state)  # type: ignore[arg-type]
    # A kill in the middle of a claim leaves nothing but half of it.
    if folder.is_dir() and any(path.name != f".{CLAIM}.partial" for path in folder.iterdir()):
        raise OutputError(
            f"--out {folder} is not empty and holds no {kind} of kontrast's.",
            fix="Name a folder that does not exist yet; kontrast overwrites nothing.",
        )
    if not dry_run:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / CLAIM, wanted)
    return Claim(folder, "new")


def _described(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
        raise OutputError(
            f"--out {path.parent} holds a damaged {path.name}: what is in it cannot be told.",
            fix="Name another --out, or restore or delete the folder.",
        )
    return found


def _typed(value: Any) -> str:
    """A setting in an error: nobody types None."""
    return "left out" if value is None else repr(value)


def _other(found: dict[str, Any], wanted: dict[str, Any]) -> tuple[list[str], list[str]]:
    """In words: settings that are not those found, and roles of inputs that are not."""
    old, new = found.get("config", {}), wanted["config"]
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    changed = [f"{name} was {_typed(old.get(name))}, is {_typed(new.get(name))}" for name in names]
    before, now = ({(p["role"], p["sha256"]) for p in one.get("parents", [])} for one in (found, wanted))
    return changed, sorted({role for role, _ in before ^ now})


def _refuse_other(
    folder: Path, found: dict[str, Any], wanted: dict[str, Any], state: str, *, offered: bool = False
) -> None:
    how = "a finished" if state == "done" else "an unfinished"
    if found.get("kind") != wanted["kind"]:
        raise OutputError(
            f"--out {folder} holds {how} {found.get('kind')}, not {article(wanted['kind'])} {wanted['kind']}.",
            fix="Name another --out.",
        )
    changed, roles = _other(found, wanted)
    going_on = " Or go on with these: --allow-changes." if offered and state == "resume" else ""
    if changed:
        raise OutputError(
            f"--out {folder} holds {how} {wanted['kind']} made with other settings: {'; '.join(changed[:4])}.",
            fix="Name another --out, give the same settings again, or delete the folder." + going_on,
        )
    if roles:
        raise OutputError(
            f"--out {folder} holds {how} {wanted['kind']} made from other inputs: not the same {' and '.join(roles)}.",
            fix="Name another --out, or delete the folder." + going_on,
        )


def article(noun: str | None) -> str:
    """`a` or `an`, as the noun wants."""
    return "an" if noun and noun[0] in "aeiou" else "a"
