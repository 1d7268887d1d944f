"""ROC and precision-recall curves of an evaluation with their bands, from its predictions and truth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from kontrast.artifacts.evaluation import read_evaluation, scored_cases
from kontrast.artifacts.wording import decimal
from kontrast.errors import UsageError
from kontrast.metrics.curves import GRID, curves
from kontrast.pages.drawing import COLOURS, GREY, canvas, clean, styled, svg
from kontrast.pages.sections import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 2.3
"""Inches of a panel: four fit beside each other on a page, two on a phone."""

REPLICATES = 400
"""Most replicates behind a band: its edges are drawn, not quoted."""


def curve_section(found: Found, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Both kinds of curve of the cases that were scored, by finding, or in `why` the reason why there are none.

    Args:
        found: an evaluation.
        scores: its `scores.json`.
    """
    one = read_evaluation(found.path)
    try:
        cases = scored_cases(one)
    except UsageError:
        return {
            "roc": None,
            "pr": None,
            "why": "Curves need labels under the policy of the scores, which is not known.",
        }
    how = scores.get("interval") or {}
    options = {"replicates": min(how.get("replicates", 0), REPLICATES), "seed": how.get("seed", 0)}
    drawn = {
        name: found_curves
        for f, name in enumerate(one.findings)
        if (found_curves := curves(cases.truth[:, f], cases.scores[:, f], cases.patients, **options))
    }
    if not drawn:
        return {"roc": None, "pr": None, "why": "No finding has both classes, so there is no curve."}
    areas = {name: scores["findings"][name] for name in drawn if name in scores["findings"]}
    return {"roc": panels(drawn, areas, "roc"), "pr": panels(drawn, areas, "pr"), "why": ""}


def panels(drawn: Mapping[str, Mapping[str, Any]], areas: Mapping[str, Any], kind: str) -> Markup:
    """A small figure for each finding; the page puts as many beside each other as it has room for.

    Args:
        drawn: finding → `metrics.curves.curves`.
        areas: finding → its entry in `scores.json`, for the words above the panel.
        kind: `roc` or `pr`.
    """
    key, words = ("auroc", "AUROC") if kind == "roc" else ("ap", "average precision")
    made = []
    for name, found in drawn.items():
        value = f"{words} {decimal(areas.get(name, {}).get(key, {}).get('value'))}"
        made.append(_figure(found, kind, name, value))
    return Markup("\n").join(made)


@styled
def _figure(found: Mapping[str, Any], kind: str, name: str, value: str) -> Markup:
    figure, (axes,) = canvas(SIDE, 1.12 * SIDE)
    _panel(axes, found, kind, f"{clean(name, 26)}\n{value}")
    return svg(figure, f"{'ROC' if kind == 'roc' else 'Precision-recall'} curve of {clean(name)}, {value}")


def _panel(axes: "Axes", found: Mapping[str, Any], kind: str, title: str) -> None:
    one = found[kind]
    if one["low"] is not None:
        axes.fill_between(GRID, one["low"], one["high"], color=COLOURS[0], alpha=0.22, lw=0)
    axes.plot(GRID, one["value"], color=COLOURS[0], lw=1.5)
    chance: Sequence[float] = (0, 1) if kind == "roc" else (found["prevalence"],) * 2
    axes.plot((0, 1), chance, color=GREY, lw=1.0, ls=":")
    axes.set_title(title, fontsize=9, loc="left")
    x, y = ("1 − specificity", "sensitivity") if kind == "roc" else ("sensitivity", "precision")
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xticks((0, 0.5, 1), ("0", ".5", "1"))
    axes.set_yticks((0, 0.5, 1), ("0", ".5", "1"))
