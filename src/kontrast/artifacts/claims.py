"""How a command takes its output folder: new, resumed, found done, or refused.

While work is under way the folder holds `run.json` (the claim: kind, configuration, parents), by which the same
command resumes and another is refused. The card takes its place when the work is done (card.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kontrast.artifacts.card import CARD, CLAIM, Parent, article
from kontrast.artifacts.disk import disk_errors, write_json
from kontrast.errors import OutputError
from kontrast.types import PathLike


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
    with disk_errors(folder):  # a name that is too long cannot even be looked for
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"--out {folder} is a file.", fix="Name a folder that does not exist yet.")
    if (held := standing(folder)) is not None:
        state, found = held
        if allow_changes and state == "resume" and found.get("kind") == kind and any(_other(found, wanted)):
            if not dry_run:
                write_json(folder / CLAIM, wanted | {"earlier": [*found.get("earlier", []), found["config"]]})
            return Claim(folder, "changed")
        _refuse_other(folder, found, wanted, state, offered=allow_changes is False)
        return Claim(folder, state)
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


def standing(folder: Path) -> tuple[Literal["done", "resume"], dict[str, Any]] | None:
    """What a folder holds: `done` and the content of its card, or `resume` and that of its claim; None for neither.

    A claim that was changed keeps the configurations before it under `earlier`, the oldest first.

    Raises:
        OutputError: the card or the claim is damaged.
    """
    if (folder / CARD).is_file():
        return "done", _described(folder / CARD)
    return ("resume", _described(folder / CLAIM)) if (folder / CLAIM).is_file() else None


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


def _changes(name: str, old: Any, new: Any) -> list[str]:
    """Settings that are not those found, a setting within another as `arms.moco.start`."""
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            text
            for key in {**old, **new}
            for text in _changes(f"{name}.{key}" if name else key, old.get(key), new.get(key))
        ]
    return [f"{name} was {_typed(old)}, is {_typed(new)}"]


def _other(found: dict[str, Any], wanted: dict[str, Any]) -> tuple[list[str], list[str]]:
    """In words: settings that are not those found, and roles of inputs that are not."""
    changed = _changes("", found.get("config", {}), wanted["config"])
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
