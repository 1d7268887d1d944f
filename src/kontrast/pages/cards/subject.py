"""Which Classifier a card is about, and which artifacts are about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from kontrast.config import nearest
from kontrast.errors import UsageError
from kontrast.pages.sections import Found


@dataclass(frozen=True)
class Subject:
    """A Classifier and what stands around it.

    Attributes:
        classifier: it.
        encoder: what it began from, where that is an artifact at hand.
        packs: the Packs at hand that it, its encoder or its evaluations were made from; its own first.
        evaluations: of it.
        explanations: of it.
        audits: of it.
    """

    classifier: Found
    encoder: Found | None
    packs: tuple[Found, ...]
    evaluations: tuple[Found, ...]
    explanations: tuple[Found, ...]
    audits: tuple[Found, ...]

    @property
    def generated(self) -> bool:
        """Whether every Pack at hand is drawn by a program."""
        return bool(self.packs) and all(one.card.content.get("generated") for one in self.packs)


def subject(found: Sequence[Found], name: str | None) -> Subject:
    """The Classifier that a card is to be about.

    Args:
        found: the artifacts of a report.
        name: of it, as the report names it; None: the only one, or the only one that was explained.

    Raises:
        UsageError: none, several, or no such one.
    """
    classifiers = [one for one in found if one.card.kind == "classifier" and not one.permuted]
    if not classifiers:
        raise UsageError("--cards is about a Classifier, and there is none here.", fix="Name its folder too.")
    names = [one.name for one in classifiers]
    if name is not None:
        chosen = [one for one in classifiers if one.name == name]
        if not chosen:
            guess = nearest(name, names)
            hint = f"Did you mean {guess!r}? " if guess else ""
            raise UsageError(f"--classifier {name!r} is not here.", fix=f"{hint}There are: {', '.join(names)}.")
    else:
        explained = {sha for one in found if one.card.kind == "explanation" for sha in _of(one)}
        chosen = classifiers if len(classifiers) == 1 else [one for one in classifiers if one.sha in explained]
        if len(chosen) != 1:
            raise UsageError(
                f"--cards is about one Classifier, and there are {len(classifiers)} here.",
                fix=f"Say which with --classifier: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}.",
            )
    return _around(chosen[0], found)


def _around(one: Found, found: Sequence[Found]) -> Subject:
    def made_from(kind: str) -> tuple[Found, ...]:
        return tuple(o for o in found if o.card.kind == kind and one.sha in _of(o))

    behind = {p.sha256 for p in one.card.parents}
    encoder = next((o for o in found if o.card.kind == "encoder" and o.sha in behind), None)
    evaluations, explanations, audits = (made_from(kind) for kind in ("evaluation", "explanation", "audit"))
    around = [one, *([encoder] if encoder else []), *evaluations, *explanations]
    wanted = list(dict.fromkeys(p.sha256 for o in around for p in o.card.parents))
    packs = sorted((o for o in found if o.card.kind == "pack" and o.sha in wanted), key=lambda o: wanted.index(o.sha))
    return Subject(one, encoder, tuple(packs), evaluations, explanations, audits)


def _of(one: Found) -> set[str]:
    """The Classifiers that an artifact is about; those that maps were compared with are not."""
    return {p.sha256 for p in one.card.parents if p.role == "classifier"}
