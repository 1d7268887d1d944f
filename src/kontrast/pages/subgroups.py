"""Forest plots of a classifier's scores by subgroup, from an audit or from an evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from kontrast.artifacts.evaluation import Cases, read_evaluation, scored_cases
from kontrast.data.groups import FEW_ROWS, UNKNOWN, groups
from kontrast.errors import UsageError
from kontrast.metrics.evaluation import repeated_auroc
from kontrast.pages.audit import met_in_training
from kontrast.pages.drawing import COLOURS, FULL, GREY, INK, canvas, clean, styled, svg
from kontrast.pages.sections import Found, read_json
from kontrast.types import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MACRO = {"auroc": "macro AUROC", "sensitivity": "macro sensitivity", "specificity": "macro specificity"}
"""Means over findings that are drawn, and their words."""

MOST = 3
"""Panels side by side."""

ATTRIBUTES = ("sex", "age", "view")
"""What groups of an evaluation go by; an audit crosses them too."""

REPLICATES = 400
"""Most replicates behind an interval that is drawn and not quoted."""


def evaluation_forest(found: Found) -> Markup | None:
    """Macro AUROC of an evaluation by sex, age band and view; None where no two groups of one are large enough.

    The mean is over the findings that have both classes in each of an attribute's groups, else groups could not be
    compared; the figure says how many they are.
    """
    one = read_evaluation(found.path)
    try:
        cases = scored_cases(one)
    except UsageError:
        return None
    how = one.scores.get("interval") or {}
    options = {"replicates": min(how.get("replicates", 0), REPLICATES), "seed": how.get("seed", 0)}
    parted = groups(cases.table)
    if one.scores.get("by") == "study":
        parted["view"] = {}  # a study has several
    drawn: dict[str, dict[str, Any]] = {}
    for attribute in ATTRIBUTES:
        large = {word: rows for word, rows in parted[attribute].items() if word != UNKNOWN and rows.sum() >= FEW_ROWS}
        names, scored = _compared(cases, one.findings, large, options)
        if names:
            drawn[f"{attribute}, over {counted(len(names), 'finding')}"] = scored
    return forest(drawn, {"auroc": MACRO["auroc"]}) if drawn else None


def _compared(
    cases: Cases, findings: Sequence[str], large: Mapping[str, np.ndarray], options: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """The findings with both classes in each group, and group → its number of rows and macro AUROC over these."""
    if len(large) < 2:
        return [], {}
    classes = [[(cases.truth[rows] == value).any(axis=0) for rows in large.values()] for value in (0, 1)]
    common = np.flatnonzero(np.all(classes, axis=(0, 1)))
    names = [findings[int(f)] for f in common]
    scored = {}
    for word, rows in large.items() if names else ():
        people = None if cases.patients is None else cases.patients[rows]
        truth, scores = cases.truth[rows][:, common], cases.scores[rows][:, common]
        macro = repeated_auroc(truth, [scores], names, patients=people, **options)["macro"]
        scored[word] = {"rows": len(truth), "macro": {"auroc": macro}}
    return names, scored


def subgroup_forests(found: Found) -> list[dict[str, Any]]:
    """A figure for each Pack whose subgroups an audit scored: `pack`, `forest`, and `met` (why its figures flatter).

    Panels are the means of MACRO, after which come scores that the audit has of a whole group (a rate with `value`,
    `low` and `high` beside `macro`); those that no group has are left out.
    """
    drawn, audit = [], read_json(found.path, "audit.json")
    for pack, entry in (audit["classifier"] or {}).items():
        scored = {
            attribute: {
                word: scores | _rate(entry, attribute, word) for word, scores in parts.items() if "macro" in scores
            }
            for attribute, parts in entry["subgroups"].items()
            if isinstance(parts, Mapping)
        }
        scored = {attribute: parts for attribute, parts in scored.items() if parts}
        panels = _panels([scores for parts in scored.values() for scores in parts.values()])
        if scored and panels:
            drawn.append({"pack": pack, "forest": forest(scored, panels), "met": met_in_training(entry)})
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
def forest(scored: Mapping[str, Mapping[str, Mapping[str, Any]]], panels: Mapping[str, str]) -> Markup:
    """Rows are groups under the attribute that parts them, a panel a score.

    Args:
        scored: attribute → group → scores.
        panels: key of a score → its words.
    """
    rows: list[tuple[str, Mapping[str, Any] | None]] = []
    for attribute, parts in scored.items():
        rows.append((attribute, None))
        unlike = len({tuple(scores["macro"]["auroc"].get("findings", ())) for scores in parts.values()}) > 1
        rows += [(_group(word, scores, unlike), scores) for word, scores in parts.items()]
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


def _group(word: str, scores: Mapping[str, Any], unlike: bool) -> str:
    """A group with its number of images, and of findings in its mean where other groups have others."""
    held = len(scores["macro"]["auroc"].get("findings", ()))
    return f"{word}  ({scores['rows']:,}" + (f"; {counted(held, 'finding')})" if unlike else ")")


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
