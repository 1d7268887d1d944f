"""The report: one self-contained HTML page from any artifacts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kontrast import __version__
from kontrast.artifacts.card import CARD, Card, card_hash, read_card
from kontrast.errors import UsageError
from kontrast.pages import sections

KINDS = ("study", "pack", "encoder", "evaluation", "classifier", "explanation", "audit", "embedding", "phantom")
MANY = 8
"""Above this many evaluations a study's grid tells the story; their tables would bury it."""

Found = tuple[str, Path, Card, str]
"""Name, folder, card, SHA-256 of the card."""


def find_artifacts(folders: Sequence[Path]) -> list[Found]:
    """The artifacts named, and those below them (a study holds many), each once, named so that they differ.

    Raises:
        UsageError: a folder that neither is nor holds an artifact.
        ArtifactError: a damaged card.
    """
    found: dict[Path, Card] = {}
    for folder in folders:
        cards = sorted(folder.rglob(CARD)) if folder.is_dir() else []
        if not cards:
            raise UsageError(
                f"{folder} is no artifact and holds none.", fix="Name folders that kontrast commands wrote with --out."
            )
        for card in cards:
            found.setdefault(card.parent.resolve(), read_card(card.parent))
    names = _names(list(found))
    return [(name, path, card, card_hash(path)) for name, (path, card) in zip(names, found.items(), strict=True)]


def _names(paths: list[Path]) -> list[str]:
    """The shortest tail of each path that no other has."""
    names = []
    for path in paths:
        depth = 1
        while depth < len(path.parts) and sum(p.parts[-depth:] == path.parts[-depth:] for p in paths) > 1:
            depth += 1
        names.append("/".join(path.parts[-depth:]))
    return names


def render(found: Sequence[Found], title: str) -> str:
    """The page.

    Args:
        found: from `find_artifacts`.
        title: its heading.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    by_kind: dict[str, list[Found]] = {kind: [] for kind in KINDS}
    for one in found:
        by_kind.setdefault(one[2].kind, []).append(one)
    evaluations = {name: (path, card) for name, path, card, _ in by_kind["evaluation"]}
    if by_kind["study"] and len(evaluations) > MANY:
        evaluations = {}
    encoders = {name: (path, card) for name, path, card, _ in by_kind["encoder"]}
    packs = [sections.pack_section(path, card) for _, path, card, _ in by_kind["pack"]]
    environment = Environment(
        loader=PackageLoader("kontrast", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        version=__version__,
        warnings=_warnings(by_kind),
        studies=[sections.study_section(path, card) for _, path, card, _ in by_kind["study"]],
        packs=packs,
        training=sections.training_section(encoders) if encoders else {"rows": [], "figures": []},
        evaluations=sections.evaluation_section(evaluations),
        explanations=[sections.explanation_section(path, card) for _, path, card, _ in by_kind["explanation"]],
        audits=[sections.audit_section(path) for _, path, _, _ in by_kind["audit"]],
        provenance=sections.provenance(found),
    )


def _warnings(by_kind: dict[str, list[Any]]) -> list[str]:
    texts = []
    for name, _, card, _ in by_kind["pack"]:
        if not card.content["patients_known"]:
            texts.append(
                f"{name} names no patients: whether its people are also in other sets or splits is unknown, not none."
            )
    for name, _, card, _ in by_kind["evaluation"]:
        note = card.content.get("summary", {}).get("note")
        if note:
            texts.append(f"{name}: {note}")
    return texts
