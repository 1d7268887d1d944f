"""What a report cannot tell, from what its artifacts are and lack."""

from collections.abc import Mapping, Sequence

from kontrast.artifacts.evaluation import SCORES
from kontrast.pages.sections import Found, read_json

FEW = 30
"""Positives or negatives below which an interval is known to cover less than it says."""


def limits(of: Mapping[str, Sequence[Found]]) -> list[str]:
    """Sentences, the weightiest first.

    Args:
        of: kind → the artifacts of the page.
    """
    said = []
    if any(one.card.content.get("generated") for one in of["pack"]):
        said.append("Images of a Pack here are drawn by a program. Nothing about patients follows from them.")
    if of["evaluation"]:
        said += _of_testing(of)
    if of["evaluation"] and not of["audit"]:
        said.append(
            "No audit is on this page: near-copies between splits, missed illness in groups of patients, and what is "
            "left without lungs or borders are not shown (kontrast audit)."
        )
    if of["classifier"] and not of["explanation"]:
        said.append("No heat maps were made: whether a classifier looks at the findings is not shown.")
    for one in of["explanation"]:
        unknown = [name for name, found in one.card.content["findings"].items() if not found["n"]]
        if unknown:
            said.append(f"Where the finding is was not known for {', '.join(unknown)}: those maps are unchecked.")
        if not any("sanity" in found for found in one.card.content["findings"].values()):
            said.append("The maps were not checked against random weights (explain --sanity).")
        if not any("repeat" in found for found in one.card.content["findings"].values()):
            said.append("Whether another seed would give the same maps was not looked at (explain --repeat).")
    said.append(
        "Labels are the reference standard here, whatever made them: labels read off reports by a program err, and so "
        "do readers. How often is not known to kontrast."
    )
    said.append("Nothing here was tried in practice: no reader used it, no decision depended on it.")
    return list(dict.fromkeys(said))


def _of_testing(of: Mapping[str, Sequence[Found]]) -> list[str]:
    said, trained = [], {p.sha256 for one in of["classifier"] for p in one.card.parents if p.role == "pack"}
    packs = {one.name: next((p.sha256 for p in one.card.parents if p.role == "pack"), None) for one in of["evaluation"]}
    inside = [name for name, sha in packs.items() if sha in trained]
    outside = [name for name, sha in packs.items() if sha is not None and trained and sha not in trained]
    if inside:
        said.append(
            "Testing is internal: the test patients come from the same source as those of training. How the classifier "
            "would do elsewhere is open."
        )
    if outside:
        said.append(
            f"{', '.join(outside)}: another Pack than that of training. Whether it is another hospital, and so "
            "external testing, the files do not say."
        )
    few = _few(of["evaluation"])
    for unit in ("images", "patients"):
        if names := [name for name, which in few.items() if which == unit]:
            said.append(f"Fewer than {FEW} positive or negative {unit} were tested for {', '.join(names)}.")
    return said


def _few(evaluations: Sequence[Found]) -> dict[str, str]:
    """The findings with few cases of a class, and of what: `images`, or `patients` where only these are few."""
    names: dict[str, str] = {}
    for one in evaluations:
        for name, entry in read_json(one.path, SCORES)["findings"].items():
            n, positives = entry.get("n") or 0, entry.get("positives") or 0
            if min(positives, n - positives) < FEW:
                names[name] = "images"
            elif str(entry.get("note", "")).startswith(("few:", "wide:")):
                names.setdefault(name, "patients")
    return names
