"""The paragraph of a demo's page that says what follows from its scores, and what does not."""

from collections.abc import Mapping
from typing import Any

from kontrast.artifacts.wording import decimal
from kontrast.pages import figures
from kontrast.pages.drawing import COLOURS, GREY
from kontrast.pages.results import PROTOCOLS
from kontrast.pages.study import difference
from kontrast.types import counted


def conclusion_section(content: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    """The paragraph, and the curves that it is about.

    Args:
        content: of a demo's card.
        colours: by arm, where the page has some.
    """
    arm, baseline, rows = content["arm"], content["baseline"], content["differences"]
    curves = {
        name: [(row["fraction"], *(row[which],) * 3) for row in rows]
        for name, which in ((baseline, "second"), (arm, "first"))
    }
    seen = {arm: (colours.get(arm, COLOURS[0]), "o"), baseline: (GREY, "o")}
    drawn = figures.efficiency({PROTOCOLS["probe"]: curves}, seen, baseline) if rows else None
    return {"text": conclusion(content), "curves": drawn}


def conclusion(content: Mapping[str, Any]) -> str:
    """What to conclude, from the content of a demo's card: `findings`, `patients`, and `differences` by fraction."""
    findings, patients = counted(len(content["findings"]), "finding"), content["patients"]
    said = [
        f"The question was whether pretraining without labels helped: {content['arm']} against {content['baseline']} "
        f"weights in the same network, each under a linear probe, by macro AUROC over the {findings} that every "
        f"probe could learn, on the same {patients} made-up test patients."
    ]
    if not content["differences"]:
        said.append("There is no such finding on so few patients, so nothing follows.")
    for row in content["differences"]:
        gap = difference(row)
        if gap is None:
            continue
        said.append(
            f"With {100 * row['fraction']:g} % of the labels it is {decimal(row['first'])} against "
            f"{decimal(row['second'])}, a difference of {gap['text']} {gap['range']}: {_verdict(row)}."
        )
    if any((difference(row) or {}).get("mark") for row in content["differences"]):
        said.append("Some findings are so rare that many replicates lack them, so the intervals cover less than 95 %.")
    said.append(
        "This is one seed, and every image is drawn by a program. The figures show that the parts work together; "
        "neither a score here nor which of two is better says anything about patients."
    )
    return " ".join(said)


def _verdict(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return "too few cases for an interval, so nothing follows"
    if row["low"] <= 0 <= row["high"]:
        return "the interval includes 0, so these patients do not tell which of the two is better"
    better, worse = ("pretraining", "random weights")[:: 1 if row["value"] > 0 else -1]
    return f"the interval leaves out 0, so on patients like these {better} did better than {worse}"
