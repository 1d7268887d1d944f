"""CLAIM 2024 and TRIPOD+AI filled with what a run knows, as Markdown.

Items are numbered as published; their wording here is kontrast's own and short. The published lists say what each asks:
CLAIM 2024, Tejani et al., Radiol. Artif. Intell. 2024;6(4):e240300; TRIPOD+AI, Collins et al., BMJ 2024;385:e078378.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

BLANK = "*(to be filled in)*"


class Item(NamedTuple):
    """An item of a checklist: its number, what it asks for, and the topics of `facts` that answer it, if any do."""

    number: str
    words: str
    topics: tuple[str, ...] = ()


class Checklist(NamedTuple):
    """A published list: its name, where it is, and its items under the headings of its sections."""

    name: str
    source: str
    sections: Mapping[str, Sequence[Item]]


CLAIM = Checklist(
    "CLAIM 2024",
    "Checklist for Artificial Intelligence in Medical Imaging, 2024 update (doi:10.1148/ryai.240300), 44 items",
    {
        "Title and abstract": [
            Item("1", "title says that this is AI, and of which kind"),
            Item("2", "abstract sums up design, methods, results and conclusions"),
        ],
        "Introduction": [
            Item("3", "background, intended use and clinical role"),
            Item("4", "aims and hypotheses"),
        ],
        "Methods: study design": [
            Item("5", "prospective or retrospective"),
            Item("6", "goal of the study"),
        ],
        "Methods: data": [
            Item("7", "where the data come from", ("sources",)),
            Item("8", "who was included and excluded", ("flow",)),
            Item("9", "what was done to the data before use", ("treatment",)),
            Item("10", "selection of subsets of the data", ("flow",)),
            Item("11", "de-identification", ("identity",)),
            Item("12", "how missing data were handled", ("policy", "missing")),
            Item("13", "image acquisition"),
        ],
        "Methods: reference standard": [
            Item("14", "what the reference standard is", ("elements", "policy")),
            Item("15", "why it was chosen"),
            Item("16", "who annotated, with what qualification"),
            Item("17", "how the test set was annotated"),
            Item("18", "agreement between and within annotators"),
        ],
        "Methods: data partitions": [
            Item("19", "how cases were assigned to partitions", ("partitions",)),
            Item("20", "the level at which partitions are disjoint", ("partitions", "overlap")),
        ],
        "Methods: testing data": [Item("21", "intended sample size, and why")],
        "Methods: model": [
            Item("22", "the model in detail: input, output, layers", ("network", "output")),
            Item("23", "software and versions", ("software",)),
            Item("24", "initial weights", ("initial",)),
        ],
        "Methods: training": [
            Item("25", "how it was trained", ("training",)),
            Item("26", "how the final model was chosen", ("selection",)),
            Item("27", "ensembles"),
        ],
        "Methods: evaluation": [
            Item("28", "measures of performance", ("metrics",)),
            Item("29", "uncertainty and significance", ("uncertainty",)),
            Item("30", "robustness and sensitivity analyses", ("subgroups", "floors")),
            Item("31", "explanations of outputs, and how these were validated", ("explanation", "explanation_checks")),
            Item("32", "testing on internal data", ("internal",)),
            Item("33", "testing on external data"),
            Item("34", "clinical trial registration"),
        ],
        "Results: data": [
            Item("35", "numbers included and excluded, with a flow diagram", ("flow",)),
            Item("36", "characteristics of cases by partition", ("people",)),
        ],
        "Results: performance": [
            Item("37", "performance with uncertainty", ("scores",)),
            Item("38", "diagnostic performance and its precision, calibration", ("scores", "calibration")),
            Item("39", "analysis of failures"),
        ],
        "Discussion": [
            Item("40", "limitations", ("limits",)),
            Item("41", "implications for practice"),
        ],
        "Other information": [
            Item("42", "where the protocol or more detail is"),
            Item("43", "availability of software, model and data"),
            Item("44", "funding and the role of funders"),
        ],
    },
)

TRIPOD = Checklist(
    "TRIPOD+AI",
    "Transparent reporting of prediction models that use regression or machine learning (doi:10.1136/bmj-2023-078378), "
    "27 items; filled for the development of a model with internal testing",
    {
        "Title and abstract": [
            Item("1", "title: developing or evaluating, target population, outcome"),
            Item("2", "abstract, by TRIPOD+AI for abstracts"),
        ],
        "Introduction": [
            Item("3a", "healthcare context, and why a model is needed"),
            Item("3b", "target population, purpose in the care pathway, users"),
            Item("3c", "known health inequalities between groups"),
            Item("4", "objectives: development, evaluation or both"),
        ],
        "Methods": [
            Item("5a", "sources of data, and how representative they are", ("sources",)),
            Item("5b", "dates of the data"),
            Item("6a", "setting, number and place of centres"),
            Item("6b", "eligibility", ("flow",)),
            Item("6c", "treatments received"),
            Item("7", "preparation of the data, alike for all groups", ("treatment",)),
            Item("8a", "the outcome, and how and when it was assessed", ("elements", "policy")),
            Item("8b", "who assessed the outcome"),
            Item("8c", "whether they were blind to the predictors"),
            Item("9a", "choice of predictors", ("network",)),
            Item("9b", "definition and measurement of predictors", ("treatment",)),
            Item("9c", "who assessed predictors, where that takes judgement"),
            Item("10", "sample size, and why"),
            Item("11", "missing data", ("policy", "missing")),
            Item("12a", "use of data for development and evaluation", ("partitions",)),
            Item("12b", "handling of predictors in the analysis", ("treatment",)),
            Item("12c", "type of model, building, tuning, internal validation", ("network", "training", "selection")),
            Item("12d", "differences between clusters, such as hospitals"),
            Item("12e", "measures of performance, and why these", ("metrics", "uncertainty")),
            Item("12f", "updating of the model after evaluation"),
            Item("12g", "how predictions were calculated", ("output",)),
            Item("13", "class imbalance: methods, and recalibration after them", ("training", "output")),
            Item("14", "approaches to fairness, and why these", ("subgroups",)),
            Item("15", "output: probability or class, thresholds and why these", ("output",)),
            Item("16", "differences between development and evaluation data", ("internal", "overlap")),
            Item("17", "ethics approval and consent"),
        ],
        "Open science": [
            Item("18a", "funding"),
            Item("18b", "conflicts of interest"),
            Item("18c", "protocol"),
            Item("18d", "registration"),
            Item("18e", "availability of data"),
            Item("18f", "availability of code", ("software",)),
        ],
        "Patient and public involvement": [
            Item("19", "involvement of patients and the public, or that there was none")
        ],
        "Results": [
            Item("20a", "flow of participants, with and without the outcome", ("flow",)),
            Item("20b", "characteristics overall and by setting", ("people",)),
            Item("20c", "comparison of evaluation with development data", ("people",)),
            Item("21", "participants and events in each analysis", ("scores",)),
            Item("22", "the full model, to predict for others", ("network", "software")),
            Item("23a", "performance with intervals, by group too", ("scores", "calibration", "subgroups")),
            Item("23b", "differences in performance between clusters"),
            Item("24", "results of updating"),
        ],
        "Discussion": [
            Item("25", "interpretation, fairness included, beside other studies"),
            Item("26", "limitations", ("limits",)),
            Item("27a", "how poor or missing input is to be handled in use"),
            Item("27b", "what users must do, and what they must know"),
            Item("27c", "next steps, applicability elsewhere"),
        ],
    },
)


def render(checklist: Checklist, known: Mapping[str, Sequence[str]], about: str) -> str:
    """The list as Markdown: under each item what is known, or a blank.

    Args:
        checklist: which.
        known: of `facts`.
        about: what the list is filled for.
    """
    items = [item for section in checklist.sections.values() for item in section]
    blank = [item.number for item in items if not _answers(item, known)]
    lines = [
        f"# {checklist.name}: {about}",
        "",
        f"{checklist.source}. The wording of items here is short and not the published one: fill in the published form "
        "with it before it goes to a journal.",
        "",
        f"Filled by kontrast from the files of this run. What it fills in is what the run knows, which may not be all "
        f"that an item asks. {len(blank)} of {len(items)} items are blank, because only a person can tell: "
        f"{', '.join(blank)}.",
    ]
    for title, section in checklist.sections.items():
        lines += ["", f"## {title}"]
        for item in section:
            lines += ["", f"**{item.number}** {item.words}", ""]
            lines += [f"- {line}" for line in _answers(item, known)] or [BLANK]
    return "\n".join(lines) + "\n"


def _answers(item: Item, known: Mapping[str, Sequence[str]]) -> list[str]:
    return [line for topic in item.topics for line in known.get(topic, ())]
