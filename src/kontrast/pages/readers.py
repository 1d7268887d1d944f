"""The part of a report about readers: their operating points on the ROC curves of a system."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from kontrast.artifacts.evaluation import read_evaluation, scored_cases
from kontrast.artifacts.wording import decimal
from kontrast.metrics.roc import roc_curve
from kontrast.pages.drawing import COLOURS, GREY, INK, canvas, clean, styled, svg
from kontrast.pages.sections import Found

COLUMNS = 3


def readers_section(found: Found, scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """The figure and a line a finding: how many readers lie above the curve; None where there are no readers."""
    readers = scores.get("readers")
    if not readers:
        return None
    evaluation = read_evaluation(found.path)
    _, truth, values, _ = scored_cases(evaluation)
    curves, points, rows = {}, {}, []
    for f, name in enumerate(evaluation.findings):
        known = {reader: at[name] for reader, at in readers.items() if name in at and "reason" not in at[name]}
        if not known:
            continue
        curves[name] = roc_curve(truth[:, f], values[:, f])
        points[name] = [(1 - at["specificity"], at["sensitivity"]) for at in known.values()]
        above = sum(at["sensitivity"] > at["system_sensitivity"] for at in known.values())
        means = {key: decimal(float(np.mean([at[key] for at in known.values()]))) for key in next(iter(known.values()))}
        rows.append({"finding": name, "readers": len(known), "above": above, **means})
    return {"rows": rows, "figure": roc_with_readers(curves, points)} if rows else None


@styled
def roc_with_readers(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], points: Mapping[str, list[tuple[float, float]]]
) -> Markup:
    """A small ROC curve for each finding with one mark a reader.

    Args:
        curves: finding → false-positive and true-positive rates.
        points: finding → (false-positive rate, sensitivity) of each reader.
    """
    drawn = []
    names = list(curves)
    for start in range(0, len(names), COLUMNS):
        row = names[start : start + COLUMNS]
        figure, panels = canvas(2.6 * len(row), 2.7, len(row))
        for axes, name in zip(panels, row, strict=True):
            axes.plot((0, 1), (0, 1), color=GREY, lw=0.9, ls=":")
            axes.plot(*curves[name], color=COLOURS[0], lw=1.4)
            axes.plot(*zip(*points[name], strict=True), "x", color=INK, ms=5, mew=1.2)
            axes.set_title(clean(name), loc="left", fontsize=9.5)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="1 − specificity")
        panels[0].set_ylabel("sensitivity")
        drawn.append(svg(figure, f"ROC curves of {', '.join(map(clean, row))} with readers' operating points"))
    return Markup("\n").join(drawn)
