"""The report: one self-contained HTML page from any artifacts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kontrast import __version__
from kontrast.artifacts.card import CARD, CLAIM, Card, card_hash, read_card
from kontrast.artifacts.encoder import WORDS
from kontrast.errors import UsageError
from kontrast.pages import figures, results, sections
from kontrast.pages.sections import Found

KINDS = ("study", "evaluation", "pack", "encoder", "classifier", "explanation", "audit", "embedding", "phantom")
MANY = 8
"""Above this many evaluations within a study its grid tells the story; their tables would bury it."""


def find_artifacts(folders: Sequence[Path]) -> list[Found]:
    """The artifacts named, and those below them (a study holds many), each once, named so that those of a kind differ.

    Raises:
        UsageError: a folder that neither is nor holds an artifact.
        ArtifactError: an unfinished artifact, or a damaged card.
    """
    found: dict[Path, Card] = {}
    for folder in folders:
        if (folder / CLAIM).is_file():
            read_card(folder)
        cards = sorted(folder.rglob(CARD)) if folder.is_dir() else []
        if not cards:
            raise UsageError(
                f"{folder} is no artifact and holds none.", fix="Name folders that kontrast commands wrote with --out."
            )
        for card in cards:
            found.setdefault(card.parent.resolve(), read_card(card.parent))
    order = {kind: place for place, kind in enumerate(KINDS)}
    named = []
    for kind in sorted({card.kind for card in found.values()}, key=lambda kind: (order.get(kind, len(order)), kind)):
        paths = [path for path, card in found.items() if card.kind == kind]
        named += [
            Found(name, path, found[path], card_hash(path)) for name, path in zip(_names(paths), paths, strict=True)
        ]
    return named


def _names(paths: Sequence[Path]) -> list[str]:
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

    Raises:
        ArtifactError: a file is not what its card says.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    of = {kind: [one for one in found if one.card.kind == kind] for kind in KINDS}
    evaluations, hidden = _shown_evaluations(of["evaluation"], of["study"])
    arms = _arms(of)
    baseline = next((one.card.config["baseline"] for one in of["study"]), "random")
    colours = figures.palette(list(dict.fromkeys(arms.values())), baseline)
    environment = Environment(
        loader=PackageLoader("kontrast", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        version=__version__,
        warnings=_warnings(of),
        hidden=hidden,
        studies=[
            results.study_section(one, {arm: (colours[arm], "o") for arm in one.card.config["arms"]})
            for one in of["study"]
        ],
        packs=[sections.pack_section(one) for one in of["pack"]],
        training=sections.training_section(
            of["encoder"], figures.looks({o.name: arms[o.sha] for o in of["encoder"]}, colours)
        ),
        evaluations=results.evaluation_section(
            evaluations,
            {one.sha: one for one in of["classifier"]},
            figures.looks({one.name: arms[one.sha] for one in evaluations}, colours),
        ),
        explanations=[sections.explanation_section(one) for one in of["explanation"]],
        audits=[sections.audit_section(one) for one in of["audit"]],
        provenance=sections.provenance(found),
    )


def _shown_evaluations(evaluations: Sequence[Found], studies: Sequence[Found]) -> tuple[list[Found], int]:
    """The evaluations with tables of their own, and how many a study's grid stands for."""
    within = [one for one in evaluations if any(study.path in one.path.parents for study in studies)]
    if len(within) <= MANY:
        return list(evaluations), 0
    return [one for one in evaluations if one not in within], len(within)


def _arms(of: Mapping[str, Sequence[Found]]) -> dict[str, str]:
    """What each artifact's weights began with, by which it is coloured: SHA-256 of a card → encoder's name or word.

    A study's arms, which have no card, come first under their own names.
    """
    arms = {f"arm {arm}": arm for study in of["study"] for arm in study.card.config["arms"]}
    arms |= {one.sha: one.name for one in of["encoder"]}
    for one in of["classifier"]:
        start = one.card.config.get("start")
        behind = next((p.sha256 for p in one.card.parents if p.role == "encoder"), None)
        arms[one.sha] = start if start in WORDS else arms.get(str(behind), str(behind))
    for one in of["evaluation"]:
        behind = next((p.sha256 for p in one.card.parents if p.role == "classifier"), None)
        arms[one.sha] = arms.get(str(behind), one.name)
    return arms


def _warnings(of: Mapping[str, Sequence[Found]]) -> list[str]:
    texts = [
        f"The Pack {one.name} names no patients: "
        "whether its people are also in other sets or splits is unknown, not none."
        for one in of["pack"]
        if not one.card.content["patients_known"]
    ]
    notes: dict[str, list[str]] = {}
    for one in of["evaluation"]:
        note = one.card.content.get("summary", {}).get("note")
        if note:
            notes.setdefault(note, []).append(one.name)
    return texts + [f"{', '.join(names[:4])}{' …' if len(names) > 4 else ''}: {note}." for note, names in notes.items()]
