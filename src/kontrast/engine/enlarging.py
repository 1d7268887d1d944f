"""A study that is asked for more than its folder holds: what may be added, and what the record says of it."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from kontrast import console
from kontrast.artifacts.card import CARD, card_hash
from kontrast.artifacts.claims import standing
from kontrast.config import from_dict
from kontrast.engine.cells import shown_cell
from kontrast.engine.grid import Arm, Cell, Study, cells_of
from kontrast.errors import UsageError
from kontrast.types import counted

ADDABLE = ("arms", "protocols", "fractions", "seeds", "draws")
"""The fields of a study that span its grid."""


def enlarges(plan: Study, held: Mapping[str, Any]) -> bool:
    """Whether a plan asks for all that a folder was asked for, in the same words, and for more cells.

    Each cell from before is then one of the plan's, in the same folder and trained alike: its arm is as it was, but for
    protocols that it may have gained, and so are all settings but the grid's, and the run in which its options are
    searched.

    Args:
        plan: what is asked for now.
        held: the content of the folder's card or claim.
    """
    if held.get("kind") != "study":
        return False
    try:
        before = from_dict(Study, held["config"])
    except UsageError:  # of a version with other fields
        return False
    kept = [field.name for field in fields(Study) if field.name not in ADDABLE]
    if any(getattr(plan, name) != getattr(before, name) for name in kept):
        return False
    if any(name not in plan.arms or _weights(plan.arms[name]) != _weights(arm) for name, arm in before.arms.items()):
        return False
    old, new = set(cells_of(before)), set(cells_of(plan))
    # What is searched is chosen in a first run, which has to stay the first.
    return old < new and (not plan.search or _searched(before).items() <= _searched(plan).items())


def _weights(arm: Arm) -> Arm:
    """What an arm is trained from and with, whatever is then done with its features."""
    return replace(arm, protocols=None)


def _searched(plan: Study) -> dict[tuple[str, str, float], Cell]:
    """The run in which the options of an arm, protocol and fraction are searched: the first."""
    return {cell.key[:3]: cell for cell in reversed(cells_of(plan))}


def say_added(plan: Study, config: Mapping[str, Any]) -> None:
    """Print what a plan adds to what was asked for: `Added: arms byol; seeds 2, 3 …`."""
    before = from_dict(Study, config)
    parts = []
    for name in ADDABLE:
        old, new = getattr(before, name), getattr(plan, name)
        if name == "draws":
            parts += [f"draws {old} to {new}"] if old != new else []
        elif more := [str(one) for one in new if one not in old]:
            parts.append(f"{name} {', '.join(more)}")
    for name, arm in before.arms.items():
        gained = [one for one in plan.arms[name].protocols or () if one not in (arm.protocols or before.protocols)]
        parts += [f"{', '.join(gained)} for {name}"] if gained else []
    new = len(cells_of(plan)) - len(cells_of(before))
    console.say(f"Added to what was asked for here before: {'; '.join(parts)}; {counted(new, 'training')} more.")


def asked_before(out: Path) -> list[dict[str, Any]]:
    """The grids that a study's folder was asked for before it is finished anew, the oldest first, for its card.

    Each has the fields of ADDABLE, arms by name and protocols of their own, and whether it was `finished`: then its
    results could be seen.
    """
    found = standing(out)
    if found is None:
        return []
    state, held = found
    if state == "done":
        return [*held.get("content", {}).get("earlier", []), _grid(held["config"]) | {"finished": True}]
    return [_grid(config) | {"finished": False} for config in held.get("earlier", [])]


def _grid(config: Mapping[str, Any]) -> dict[str, Any]:
    arms = [
        f"{name} ({', '.join(own)})" if (own := arm.get("protocols")) else name for name, arm in config["arms"].items()
    ]
    return {name: config.get(name) for name in ADDABLE} | {"arms": arms}


def shown_before(plan: Study, cells: list[Cell], out: Path) -> Cell:
    """The cell that stands for the study: the one that its audit is of, where there is one already."""
    found = standing(out / "audit")
    if found is not None:
        of = {one["sha256"] for one in found[1].get("parents", []) if one["role"] == "classifier"}
        for cell in cells:
            folder = out / "classifiers" / cell.name
            if (folder / CARD).is_file() and card_hash(folder) in of:
                return cell
    return shown_cell(plan, cells)
