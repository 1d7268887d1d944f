"""Figures: prevalence, curves of training and of labels, and values with intervals by finding."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from kontrast.pages.drawing import (
    COLOURS,
    FULL,
    GREY,
    HALF,
    INK,
    LINE,
    MARKERS,
    Look,
    canvas,
    clean,
    legend,
    styled,
    svg,
)
from kontrast.types import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = dict(zip(MARKERS, ("-", "--", ":", "-.") * 2, strict=True))
"""How the line of a run is drawn, by its marker."""


@styled
def prevalence(counts: Mapping[str, Mapping[str, int]]) -> Markup:
    """Stacked bars of how often each finding is 1, -1, 0 and blank: finding → {"1", "0", "-1", "blank"}."""
    names = list(counts)
    figure, (axes,) = canvas(FULL, 0.27 * len(names) + 0.8)
    left = np.zeros(len(names))
    for key, label, colour in (
        ("1", "positive", COLOURS[1]),
        ("-1", "uncertain", COLOURS[4]),
        ("0", "negative", COLOURS[0]),
        ("blank", "not mentioned", "#dfe3e8"),
    ):
        values = np.array([counts[name][key] for name in names], dtype=float)
        if values.any():
            axes.barh(range(len(names)), values, left=left, color=colour, label=label, height=0.74)
        left += values
    for place, name in enumerate(names):
        share = f" ({100 * counts[name]['1'] / left[place]:.1f} %)" if left[place] else ""
        axes.text(left[place] + 0.01 * left.max(), place, f"{counts[name]['1']:,}{share}", va="center", fontsize=9)
    axes.set(xlabel="images; at the right, how many are positive", ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), [clean(name) for name in names])
    axes.set_xlim(0, 1.13 * max(left.max(initial=0), 1))
    axes.tick_params(axis="y", length=0)
    axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    each = counted(len(names), "finding")
    return svg(figure, f"How often each of {each} is positive, uncertain, negative or not mentioned")


@styled
def training(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], keys: Mapping[str, str], seen: Mapping[str, Look]
) -> Markup:
    """Logged numbers over the steps of each run, one panel a number; what no run logged is left out.

    Args:
        runs: name → lines of `metrics.jsonl`.
        keys: what to draw → its words.
        seen: from `looks`; an arm's second run is dashed.
    """
    drawn = {key: {name: _points(lines, key) for name, lines in runs.items() if _points(lines, key)} for key in keys}
    drawn = {key: by_name for key, by_name in drawn.items() if by_name}
    if not drawn:
        return Markup()
    figure, panels = canvas(FULL if len(drawn) > 1 else HALF, 2.5, len(drawn))
    for axes, (key, by_name) in zip(panels, drawn.items(), strict=True):
        for name, points in by_name.items():
            colour, marker = seen[name]
            steps, values = zip(*points, strict=True)
            alone = "o" if len(points) == 1 else ""
            axes.plot(steps, values, color=colour, ls=LINES[marker], lw=1.3, label=clean(name), marker=alone, ms=3)
        axes.set_title(keys[key], loc="left", fontsize=9.5)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", nbins=4, integer=True)
    legend(figure, panels, len(runs))
    return svg(figure, f"{', '.join(keys[key] for key in drawn)} over the steps of {', '.join(map(clean, runs))}")


def _points(lines: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if isinstance(line.get(key), int | float)]


@styled
def efficiency(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, float]]]],
    seen: Mapping[str, Look],
    baseline: str,
    bands: Mapping[str, Mapping[str, Mapping[float, tuple[float, float]]]] | None = None,
) -> Markup:
    """Label-efficiency curves, one panel a protocol on one scale.

    Args:
        curves: protocol → arm → (fraction, mean, lowest, highest over draws and seeds).
        seen: from `looks`.
        baseline: drawn dashed.
        bands: protocol → arm → fraction → interval of the mean over test samples, shaded.
    """
    figure, panels = canvas(FULL if len(curves) > 1 else HALF, 3.4, len(curves), sharey=True)
    arms = dict.fromkeys(arm for by_arm in curves.values() for arm in by_arm)
    for axes, (protocol, by_arm) in zip(panels, curves.items(), strict=True):
        for number, (arm, points) in enumerate(by_arm.items()):
            x, mean, low, high = (np.array(part) for part in zip(*points, strict=True))
            # a little apart, so that the bars of several arms can be told
            at = 100 * x * 1.025 ** (number - (len(by_arm) - 1) / 2)
            ends = (bands or {}).get(protocol, {}).get(arm, {})
            if len(x) > 1 and all(fraction in ends for fraction in x):
                edges = np.array([ends[fraction] for fraction in x]).T
                axes.fill_between(at, *edges, color=seen[arm][0], alpha=0.13, lw=0)
            axes.errorbar(at, mean, (mean - low, high - mean), color=seen[arm][0], marker=seen[arm][1], ms=4.5, lw=1.5,
                          label=clean(arm), capsize=2.5, ls="--" if arm == baseline else "-")  # fmt: skip
        axes.set_xscale("log")
        ticks = sorted({100 * point[0] for points in by_arm.values() for point in points})
        axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
        axes.set_xlabel("training patients whose labels are used")
        axes.set_title(protocol, loc="left")
        axes.grid(axis="y", color=LINE, lw=0.6)
        axes.set_axisbelow(True)
    panels[0].set_ylabel("macro AUROC on test")
    legend(figure, panels, len(arms))
    return svg(figure, f"Macro AUROC against the share of labels, for {', '.join(map(clean, arms))}")


@styled
def reliability(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Markup:
    """Share of positives against mean probability: words → points of `metrics.calibration.reliability`."""
    figure, (axes,) = canvas(HALF, 3.4)
    axes.plot((0, 1), (0, 1), color=GREY, lw=0.9, ls=":")
    for number, (words, points) in enumerate(curves.items()):
        last = number == len(curves) - 1
        axes.plot(
            [point["p"] for point in points], [point["positives"] for point in points], MARKERS[number], ms=4.5, lw=1.5,
            ls="-" if last else "--", color=COLOURS[0] if last else COLOURS[1], label=words,
        )  # fmt: skip
    axes.set(xlabel="mean probability", ylabel="share of positives", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    legend(figure, [axes], len(curves))
    return svg(figure, f"Share of positives against mean probability, {' and '.join(curves)}")


TALLEST = 11.0
"""Inches of the tallest figure that an A4 page still holds."""


@styled
def forest(
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]], seen: Mapping[str, Look], label: str, *, last: str = "macro"
) -> Markup:
    """Per-finding values with intervals.

    Args:
        scores: model → finding → {"value", "low", "high"}; a dash is drawn for what is None.
        seen: from `looks`.
        label: what the values are.
        last: the name that stands at the end, set apart: a mean of the others.
    """
    names = list(dict.fromkeys(name for by_finding in scores.values() for name in by_finding))
    findings = [name for name in names if name != last] + [name for name in names if name == last]
    room = 0.15 * len(scores) + 0.12
    panels = 2 if len(findings) * room > 4.5 and len(findings) > 3 else 1
    most = max(1, int((TALLEST - 1) / room))
    ends = [end for found in _found(scores, findings) for end in (found["value"], found.get("low"), found.get("high"))]
    known = [end for end in ends if end is not None]
    # 0.5, where guessing is, always in sight
    low, high = min([0.5, *known]), max([0.5, *known])
    limits = (low - 0.04 * (high - low) - 0.01, high + 0.04 * (high - low) + 0.01)
    drawn = []
    while findings:
        rows = min(most, -(-len(findings) // panels))
        page, findings = findings[: rows * panels], findings[rows * panels :]
        columns = [page[i : i + rows] for i in range(0, len(page), rows)]
        figure, axes = canvas(FULL, rows * room + 0.9, len(columns))
        for one, column in zip(axes, columns, strict=True):
            _forest(one, {model: scores[model] for model in scores}, column, seen, last)
            one.set(xlim=limits, ylim=(rows - 0.5, -0.5), xlabel=label)
        legend(figure, axes, len(scores))
        drawn.append(svg(figure, f"{label} of {', '.join(map(clean, scores))} for {', '.join(map(clean, page))}"))
    return Markup("\n").join(drawn)


def _found(scores: Mapping[str, Mapping[str, Mapping[str, Any]]], findings: Sequence[str]) -> list[Mapping[str, Any]]:
    return [by_finding[name] for by_finding in scores.values() for name in findings if name in by_finding]


def _forest(
    axes: "Axes", scores: Mapping[str, Mapping[str, Mapping[str, Any]]], findings: Sequence[str],
    seen: Mapping[str, Look], last: str,
) -> None:  # fmt: skip
    step = 0.76 / max(len(scores), 1)
    for place in range(0, len(findings), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="#f4f6f9", lw=0)
    axes.axvline(0.5, color=GREY, lw=0.9, ls=":")
    for number, (model, by_finding) in enumerate(scores.items()):
        colour, marker = seen[model]
        for place, finding in enumerate(findings):
            y = place + (number - (len(scores) - 1) / 2) * step
            found = by_finding.get(finding, {})
            if found.get("value") is None:
                axes.text(
                    0.015,
                    y,
                    "–",
                    color=colour,
                    va="center",
                    fontweight="bold",
                    fontsize=12,
                    transform=axes.get_yaxis_transform(),
                )
                continue
            if found.get("low") is not None:
                axes.plot((found["low"], found["high"]), (y, y), color=colour, lw=1.5)
            axes.plot(found["value"], y, marker, color=colour, ms=4.5)
        axes.plot([], [], marker=marker, color=colour, ms=4.5, lw=1.5, label=clean(model))
    ticks = axes.set_yticks(range(len(findings)), [clean(name) for name in findings])
    for tick, name in zip(ticks, findings, strict=True):
        if name == last:
            tick.label1.set_fontweight("bold")
            axes.axhline(findings.index(name) - 0.5, color=INK, lw=0.8)
    axes.tick_params(axis="y", length=0)
