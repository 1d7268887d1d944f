"""The report: one self-contained HTML page from any artifacts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kontrast import __version__
from kontrast.artifacts.card import CARD, CLAIM, Card, card_hash, read_card
from kontrast.artifacts.encoder import WORDS
from kontrast.artifacts.wording import NO_WIDTH
from kontrast.errors import UsageError
from kontrast.pages import audit, cohort, drawing, results, sections, study
from kontrast.pages.conclusion import conclusion_section
from kontrast.pages.limits import limits
from kontrast.pages.provenance import provenance
from kontrast.pages.saliency import explanation_section
from kontrast.pages.sections import Found
from kontrast.pages.subgroups import subgroup_forests
from kontrast.types import counted

KINDS = ("demo", "study", "evaluation", "pack", "encoder", "classifier", "explanation", "audit", "embedding", "phantom")
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


def by_kind(found: Sequence[Found]) -> dict[str, list[Found]]:
    """The artifacts of each kind in KINDS, in their order; no Classifiers of permuted labels."""
    return {kind: [one for one in found if one.card.kind == kind and not one.permuted] for kind in KINDS}


def render(found: Sequence[Found], title: str) -> str:
    """The page.

    Args:
        found: from `find_artifacts`.
        title: its heading.

    Raises:
        ArtifactError: a file is not what its card says.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    of = by_kind(found)
    evaluations, brief = _shown_evaluations(of["evaluation"], of["study"])
    tuned, which = sections.finetunings(of["classifier"])
    arms = _arms(of)
    baseline = next((one.card.config["baseline"] for one in of["study"]), "random")
    colours = drawing.palette(list(dict.fromkeys(arms.values())), baseline)

    def looks(ones: Sequence[Found]) -> dict[str, drawing.Look]:
        return drawing.looks({one.name: arms[one.sha] for one in ones}, colours)

    environment = Environment(
        loader=PackageLoader("kontrast", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals |= {"counted": counted, "no_width": NO_WIDTH}
    return environment.get_template("report.html.j2").render(
        title=title,
        version=__version__,
        pictures=_pictures(of),
        warnings=_warnings(of),
        conclusions=[conclusion_section(one.card.content, colours) for one in of["demo"]],
        studies=[
            study.study_section(one, {arm: (colours[arm], "o") for arm in one.card.config["arms"]})
            for one in of["study"]
        ],
        packs=[cohort.pack_section(one) for one in of["pack"]],
        absent_packs=_absent_packs(of),
        training=sections.training_section(of["encoder"], looks(of["encoder"])),
        finetuning=sections.finetuning_section(tuned, which, looks(tuned)),
        evaluations=results.evaluation_section(
            evaluations,
            brief,
            {one.sha: one for one in of["classifier"]},
            looks(evaluations),
            _explained(of),
            of["encoder"],
            [frozenset(p.sha256 for p in one.card.parents) for one in of["audit"]],
        ),
        explanations=[explanation_section(one, {c.sha: c.name for c in of["classifier"]}) for one in of["explanation"]],
        audits=[audit.audit_section(one, {c.sha: c.name for c in of["classifier"]}) for one in of["audit"]],
        limits=limits(of),
        provenance=provenance(found),
        by_group=[drawn for one in of["audit"] for drawn in subgroup_forests(one)],
    )


def _explained(of: Mapping[str, Sequence[Found]]) -> set[str]:
    """The cards of Classifiers that heat maps were made of: the ones that the page is about, where there are many."""
    return {p.sha256 for one in of["explanation"] for p in one.card.parents if p.role == "classifier"}


def _shown_evaluations(evaluations: Sequence[Found], studies: Sequence[Found]) -> tuple[list[Found], list[Found]]:
    """The evaluations with tables of their own, and those that one line is enough for: a study's many cells."""
    within = [one for one in evaluations if any(one.path.is_relative_to(whole.path) for whole in studies)]
    if len(within) <= MANY:
        return list(evaluations), []
    return [one for one in evaluations if one not in within], within


def _pictures(of: Mapping[str, Sequence[Found]]) -> str:
    """Whose pictures the page has: of nobody (empty), `generated`, or `patients`.

    Generated are they only if every Pack that they come from is on the page and says so.
    """
    shown = [one for kind in ("pack", "encoder", "explanation") for one in of[kind]]
    sources = {one.sha for one in of["pack"]}
    sources |= {p.sha256 for one in shown for p in one.card.parents if p.kind == "pack"}
    generated = {sha for one in of["pack"] if one.card.content.get("generated") for sha in one.shas}
    if not shown:
        return ""
    return "generated" if sources and sources <= generated else "patients"


def _absent_packs(of: Mapping[str, Sequence[Found]]) -> list[str]:
    """The studies whose Pack is not among the artifacts, so that its prevalence and images cannot be shown."""
    here = {sha for one in of["pack"] for sha in one.shas}
    inputs = {one.name: one.card.content.get("inputs", []) for one in of["study"]}
    return [name for name, used in inputs.items() if any(p["role"] == "pack" and p["sha256"] not in here for p in used)]


def _arms(of: Mapping[str, Sequence[Found]]) -> dict[str, str]:
    """What each artifact's weights began with, by which it is coloured: SHA-256 of a card → encoder's name or word.

    A study's arms, which have no card, come first under their own names.
    """
    arms = {f"arm {arm}": arm for whole in of["study"] for arm in whole.card.config["arms"]}
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
