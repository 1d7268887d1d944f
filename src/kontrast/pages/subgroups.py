"""Forest plots of a classifier's scores by subgroup, from an audit."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from kontrast.pages.drawing import COLOURS, FULL, GREY, INK, canvas, clean, styled, svg
from kontrast.pages.sections import Found, read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MACRO = {"auroc": "macro AUROC", "sensitivity": "macro sensitivity", "specificity": "macro specificity"}
"""Means over findings that are drawn, and their words."""

MOST = 3
"""Panels side by side."""


def subgroup_forests(found: Found) -> list[dict[str, Any]]:
    """A figure for each Pack whose subgroups an audit scored: `pack` and `forest`.

    Panels are the means of MACRO, after which come scores that the audit has of a whole group (a rate with `value`,
    `low` and `high` beside `macro`); those that no group has are left out.
    """
    drawn, audit = [], read_json(found.path, "audit.json")
    for pack, entry in (audit["classifier"] or {}).items():
        groups = {
            attribute: {
                word: scores | _rate(entry, attribute, word) for word, scores in parts.items() if "macro" in scores
            }
            for attribute, parts in entry["subgroups"].items()
            if isinstance(parts, Mapping)
        }
        groups = {attribute: parts for attribute, parts in groups.items() if parts}
        panels = _panels([scores for parts in groups.values() for scores in parts.values()])
        if groups and panels:
            drawn.append({"pack": pack, "forest": forest(groups, panels)})
    return drawn


def _rate(entry: Mapping[str, Any], attribute: str, word: str) -> dict[str, Any]:
    """The under-diagnosis rate of a group, where the audit has it."""
    rates = (entry.get("rates") or {}).get(attribute) or {}
    found = (rates.get("underdiagnosis") or {}).get("groups", {}).get(word)
    return {"under-diagnosis rate": found} if found else {}


def _panels(every: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Scores that some group has, and their words, at most MOST: rates of whole groups before sensitivity and all."""
    rates = {
        key: key.replace("_", " ")
        for scores in every
        for key, one in scores.items()
        if isinstance(one, Mapping) and "value" in one and one["value"] is not None
    }
    macro = {
        key: words
        for key, words in MACRO.items()
        if any((scores["macro"].get(key) or {}).get("value") is not None for scores in every)
    }
    first = {key: words for key, words in macro.items() if key == "auroc"}
    return dict(list((first | rates | macro).items())[:MOST])


@styled
def forest(groups: Mapping[str, Mapping[str, Mapping[str, Any]]], panels: Mapping[str, str]) -> Markup:
    """Rows are groups under the attribute that parts them, a panel a score.

    Args:
        groups: attribute → group → scores.
        panels: key of a score → its words.
    """
    rows: list[tuple[str, Mapping[str, Any] | None]] = []
    for attribute, parts in groups.items():
        rows.append((attribute, None))
        rows += [(f"{word}  ({scores['rows']:,})", scores) for word, scores in parts.items()]
    width = FULL if len(panels) > 1 else 0.62 * FULL
    figure, axes = canvas(width, 0.23 * len(rows) + 0.7, len(panels), sharey=True)
    for one, (key, words) in zip(axes, panels.items(), strict=True):
        _panel(one, rows, key)
        one.set_xlabel(words)
    axes[0].set(ylim=(len(rows) - 0.5, -0.5))
    ticks = axes[0].set_yticks(range(len(rows)), [clean(name, 34) for name, _ in rows])
    for tick, (_, scores) in zip(ticks, rows, strict=True):
        if scores is None:
            tick.label1.set_fontweight("bold")
    for one in axes:
        one.tick_params(axis="y", length=0)
    names = ", ".join(clean(name) for name, scores in rows if scores is not None)
    return svg(figure, f"{', '.join(panels.values())} of {names}")


def _panel(axes: "Axes", rows: Sequence[tuple[str, Mapping[str, Any] | None]], key: str) -> None:
    for place, (_, scores) in enumerate(rows):
        if scores is None:
            axes.axhspan(place - 0.5, place + 0.5, color="#f4f6f9", lw=0)
            continue
        found = scores["macro"].get(key) if key in scores["macro"] else scores.get(key)
        if not found or found["value"] is None:
            axes.text(0.02, place, "–", color=GREY, va="center", transform=axes.get_yaxis_transform())
            continue
        if found.get("low") is not None:
            axes.plot((found["low"], found["high"]), (place, place), color=COLOURS[0], lw=1.5)
        axes.plot(found["value"], place, "o", color=COLOURS[0], ms=4.5)
    if key == "auroc":
        axes.axvline(0.5, color=GREY, lw=0.9, ls=":")
    axes.spines["bottom"].set_color(INK)
