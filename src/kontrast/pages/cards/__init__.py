"""A model card and reporting checklists for one Classifier, from artifacts' files alone.

    subject     which Classifier, and which artifacts are about it
    facts       what the artifacts know, by topic, a sentence or two each
    figures     the scores among it
    model       the model card, Markdown
    atlas       the model card, JSON by the schema of RSNA's ATLAS
    checklists  CLAIM 2024 and TRIPOD+AI, Markdown: what is known, and blanks where only a person can tell

What belongs here: sorting and wording what was computed and saved. What does not: guessing. A blank is a blank, and no
testing is called external or clinical because the files cannot say that.
"""

import json
from collections.abc import Sequence

from kontrast.pages.cards import atlas, checklists, model
from kontrast.pages.cards.facts import facts
from kontrast.pages.cards.subject import subject
from kontrast.pages.report import by_kind
from kontrast.pages.sections import Found


def cards(found: Sequence[Found], name: str | None = None) -> dict[str, str]:
    """The model card and the checklists of one Classifier: file name → content. The same artifacts give the same text.

    Args:
        found: artifacts, from `report.find_artifacts`.
        name: of the Classifier, as a report names it; None: the only one, or the only one that was explained.

    Raises:
        UsageError: no Classifier, several, or no such one.
        ArtifactError: a file is not what its card says.
    """
    about = subject(found, name)
    known = facts(about, by_kind(found))
    return {
        "model-card.md": model.render(about, known),
        "model-card.json": json.dumps(atlas.card(about, known), indent=2, ensure_ascii=False) + "\n",
        "claim-2024.md": checklists.render(checklists.CLAIM, known, about.classifier.name),
        "tripod-ai.md": checklists.render(checklists.TRIPOD, known, about.classifier.name),
    }
