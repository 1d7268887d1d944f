"""The model card as JSON by the schema of RSNA's ATLAS, `atlas.rsna.org/schemas/2025-11/model.json`.

Keys and words are those of the schema's version 2025-11 as its author publishes it (github.com/cekahn/ROADMAP,
ATLAS.2025-11.json), with the address that published cards give. `Name` and `Link` are all that it requires. What only a
person can tell is left out, since the schema has no blanks, and named in the comments.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from kontrast.artifacts.evaluation import SCORES
from kontrast.pages.cards.subject import Subject
from kontrast.pages.sections import read_json
from kontrast.types import FINDINGS

SCHEMA = "https://atlas.rsna.org/schemas/2025-11/model.json"

METRICS = {
    "auroc": "area under the receiver operating characteristic curve", "ap": "average precision", "f1": "F1 score",
    "kappa": "Cohen's kappa", "mcc": "Matthews correlation coefficient", "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity", "specificity": "specificity", "ppv": "positive predictive value",
    "npv": "negative predictive value", "brier": "Brier score", "ece": "expected calibration error",
    "calibration_slope": "calibration slope", "calibration_intercept": "calibration intercept",
    "calibration_in_the_large": "calibration-in-the-large",
}  # fmt: skip
"""Scores and the schema's words for them."""

LOOKING = {"hit": "point inside mask/box/approximation", "iou": "mean intersection over union"}

LEFT_OUT = (
    "Descriptors: Authors, Organizations, Contact, Date, Ethical review, Funding, License, References",
    "Model properties: Availability, Clinical benefit, Clinical workflow phase, Degree of automation, Indications for "
    "use, Instructions for use, Recommendation, Sustainability, User",
)
"""Fields that only a person can fill in."""


def card(about: Subject, known: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The card.

    Args:
        about: the Classifier.
        known: of `facts`.
    """
    findings = list(about.classifier.card.content.get("findings", []))

    def said(*topics: str) -> str:
        return " ".join(line for topic in topics for line in known.get(topic, ()))

    properties = {
        "Architecture": said("network", "initial"),
        "Decision threshold": " ".join(line for line in known.get("output", ()) if line.startswith("Thresholds")),
        "Input": said("treatment"),
        "Limitations": said("limits"),
        "Output": {"Description": said("output")},
        "Regulatory information": {
            "Comment": "Research use only. No clearance is known to the program that wrote this."
        },
        "Reproducibility": said("software", "training", "selection"),
        "Use": {"Intended": ["Research"], "Excluded": ["Diagnosis", "Treatment", "Triage"]},
    }
    comments = said("internal", "other", "overlap", "uncertainty", "scores", "calibration", "subgroups", "explanation")
    return {
        "$schema": SCHEMA,
        "Model": {
            "Name": about.classifier.name,
            "Link": link(about.classifier.sha),
            "Indexing": {"Content": _content(findings), "Keywords": findings},
            "Descriptors": {
                "Version": about.classifier.sha[:12],
                "Comments": " ".join(
                    [
                        *(["Every image behind this model is drawn by a program."] if about.generated else []),
                        f"Data: {said('sources', 'flow', 'partitions')}",
                        "The link names the model's card by its SHA-256 (RFC 6920): put an address in its place.",
                        f"To be filled in by a person: {'; '.join(LEFT_OUT)}.",
                    ]
                ),
            },
            "Model properties": {key: value for key, value in properties.items() if value},
            "Model performance": {
                "Metrics": _metrics(about),
                "Comments": comments or "No evaluation was among the files.",
            },
        },
    }


def link(sha: str) -> str:
    """The name of a file by its SHA-256 in hexadecimal, as RFC 6920 writes it: a URI that needs no server."""
    return "ni:///sha-256;" + base64.urlsafe_b64encode(bytes.fromhex(sha)).decode().rstrip("=")


def _content(findings: Sequence[str]) -> list[str]:
    """RSNA's content codes: AI, and chest where the findings are those of chest radiographs."""
    return ["AI", "CH"] if len(set(findings) & set(FINDINGS)) >= 2 else ["AI"]


def _metrics(about: Subject) -> list[str]:
    """The schema's words for the scores that some finding has."""
    has: set[str] = set()
    for one in about.evaluations:
        for entry in read_json(one.path, SCORES)["findings"].values():
            has |= {key for key in METRICS if (entry.get(key) or {}).get("value") is not None}
    words = [METRICS[key] for key in METRICS if key in has]
    looked = [entry for one in about.explanations for entry in one.card.content["findings"].values()]
    return words + [LOOKING[k] for k in LOOKING if any((e.get(k) or {}).get("value") is not None for e in looked)]
