"""The model card as Markdown, in the parts of Mitchell et al. 2019 (arXiv:1810.03993)."""

from collections.abc import Mapping, Sequence

from kontrast.pages.cards.checklists import BLANK
from kontrast.pages.cards.subject import Subject

PARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Model": {
        "Network": ("network",),
        "Start": ("initial",),
        "Training": ("training", "selection", "policy", "dropped"),
        "Output": ("output",),
        "Made by": ("software",),
        "Authors, contact, licence": (),
    },
    "Use": {
        "Intended use and users": (),
        "Out of scope": (),
        "Regulatory status": (),
    },
    "Data": {
        "Sources": ("sources",),
        "Flow": ("flow",),
        "Cohort": ("people",),
        "Reference standard": ("elements",),
        "Preparation": ("treatment",),
        "Partitions": ("partitions", "missing"),
        "Ethics approval": (),
    },
    "Testing": {
        "Internal testing": ("internal",),
        "Testing on another Pack": ("other",),
        "External testing": (),
        "Overlap with training": ("overlap",),
        "Scores": ("scores",),
        "How uncertain": ("uncertainty",),
        "Calibration": ("calibration",),
        "Subgroups": ("subgroups",),
        "What metadata alone would score": ("floors",),
        "Where it looks": ("explanation", "explanation_checks"),
    },
    "Limits": {"Known limits": ("limits",), "Ethical considerations": ()},
}
"""Parts, their headings, and the topics of `facts` under each; without topics only a person can tell."""

WHEN_KNOWN = {"Testing on another Pack"}
"""Headings that are left out where nothing is known."""


def render(about: Subject, known: Mapping[str, Sequence[str]]) -> str:
    """The card.

    Args:
        about: the Classifier.
        known: of `facts`.
    """
    drawn = ["", "**Every image behind it is drawn by a program: it says nothing about patients.**"]
    lines = [
        f"# Model card: {about.classifier.name}",
        "",
        "A classifier of findings on radiographs, for research. It is no medical device, and no clinical use of it was "
        f"tested. Parts marked {BLANK} only a person can tell.",
        *(drawn if about.generated else []),
    ]
    for part, headings in PARTS.items():
        lines += ["", f"## {part}"]
        for heading, topics in headings.items():
            said = [line for topic in topics for line in known.get(topic, ())]
            if not said and heading in WHEN_KNOWN:
                continue
            lines += ["", f"### {heading}", ""]
            lines += [f"- {line}" for line in said] or [BLANK if not topics else "*(no artifact of this run tells)*"]
    return "\n".join(lines) + "\n"
