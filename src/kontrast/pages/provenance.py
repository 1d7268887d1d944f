"""The part of a report about what was made from what, with which settings."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from kontrast.pages.sections import Found

FOLDERS = re.compile(r"(?<![\w.$}~-])(?:~|[A-Za-z]:)?(?:[\\/]+[^\\/\s\"'<>|:*?]+)*[\\/]+(?=[^\\/\s\"'])")
"""The folders of a full path within other words."""


def without_folders(value: Any) -> Any:
    """Settings with full paths cut to their last part: where things lie on a machine is nobody else's business."""
    if isinstance(value, Mapping):
        return {without_folders(k): without_folders(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(v) for v in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~/")):
        return "…/" + PurePosixPath(value).name
    if PureWindowsPath(value).is_absolute() or value.startswith("~\\"):
        return "…/" + PureWindowsPath(value).name
    return FOLDERS.sub("…/", value)


def provenance(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Each artifact: name, kind, hash of its card, what it was made from, version and settings."""
    names = {sha: f"{one.card.kind} {one.name}, before it grew" for one in found for sha in one.shas - {one.sha}}
    names |= {one.sha: f"{one.card.kind} {one.name}" for one in found}
    rows = []
    for one in found:
        made_from = [(p.role, p.sha256) for p in one.card.parents]
        made_from += [(p["role"], p["sha256"]) for p in one.card.content.get("inputs", [])]
        rows.append(
            {
                "name": one.name,
                "kind": f"{one.card.kind} of permuted labels" if one.permuted else one.card.kind,
                "sha": one.sha[:12],
                "parents": [{"name": names.get(sha, role), "sha": sha[:12]} for role, sha in made_from],
                "version": one.card.version,
                "config": json.dumps(without_folders(one.card.config), indent=1, ensure_ascii=False),
            }
        )
    return rows
