"""Figures as inline SVG and images as data addresses, so that a page needs no other file."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, distinguishable with any colour vision and in print; the baseline is grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#3B3B3B")
GREY = "#8a929c"


def colour_of(names: Sequence[str], baseline: str | None = None) -> dict[str, str]:
    """One colour a name, the same in every figure of a page."""
    others = [name for name in names if name != baseline]
    chosen = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)}
    return {name: chosen.get(name, GREY) for name in names}


def canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    """An empty figure in the page's style; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def svg(figure: "Figure") -> str:
    """The figure as an SVG element, the same bytes each time."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kontrast", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    text = stream.getvalue()
    return text[text.index("<svg") :]


def data_uri(image: np.ndarray) -> str:
    """(H, W) or (H, W, 3 BGR) uint8 as a PNG data address."""
    import cv2

    ok, code = cv2.imencode(".png", image)
    if not ok:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype} is no picture")
    return "data:image/png;base64," + base64.b64encode(code.tobytes()).decode()


def prevalence(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Stacked bars of how often each finding is 1, -1, 0 and blank: finding → {"1", "0", "-1", "blank"}."""
    names = list(counts)[::-1]
    figure, axes = canvas(7.2, 0.26 * len(names) + 0.9)
    left = np.zeros(len(names))
    for key, label, colour in (
        ("1", "positive", COLOURS[1]),
        ("-1", "uncertain", COLOURS[4]),
        ("0", "negative", COLOURS[0]),
        ("blank", "not mentioned", "#dfe3e8"),
    ):
        values = np.array([counts[name][key] for name in names], dtype=float)
        if values.any():
            axes.barh(names, values, left=left, color=colour, label=label, height=0.72)
        left += values
    axes.set_xlabel("images", fontsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    return svg(figure)


def training(runs: Mapping[str, Sequence[Mapping[str, Any]]], key: str, label: str) -> str | None:
    """A logged number over the steps of each run; None where no run logged it."""
    colours = colour_of(list(runs))
    figure, axes = canvas(3.6, 2.4)
    drawn = False
    for name, lines in runs.items():
        points = [(line["step"], line[key]) for line in lines if isinstance(line.get(key), int | float)]
        if points:
            axes.plot(*zip(*points, strict=True), color=colours[name], lw=1.2, label=name)
            drawn = True
    axes.set_xlabel("step", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    if len(runs) > 1:
        axes.legend(fontsize=7, frameon=False)
    return svg(figure) if drawn else None


def efficiency(curves: Mapping[str, Sequence[tuple[float, float, float, float]]], baseline: str, title: str) -> str:
    """Label-efficiency curves: arm → (fraction, mean, lowest, highest over seeds), against the share of labels."""
    colours = colour_of(list(curves), baseline)
    figure, axes = canvas(3.6, 2.9)
    for number, (name, points) in enumerate(curves.items()):
        x, mean, low, high = (np.array(part) for part in zip(*points, strict=True))
        # a little apart, so that bars of several arms can be told
        at = 100 * x * 1.02 ** (number - len(curves) / 2)
        axes.errorbar(at, mean, (mean - low, high - mean), color=colours[name], lw=1.4, marker="o", ms=3.5, label=name,
                      capsize=2, ls="--" if name == baseline else "-")  # fmt: skip
    axes.set_xscale("log")
    ticks = sorted({100 * p[0] for points in curves.values() for p in points})
    axes.set_xticks(ticks, [f"{t:g} %" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training patients whose labels are used", fontsize=8)
    axes.set_ylabel("macro AUROC on test", fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.legend(fontsize=7, frameon=False)
    return svg(figure)


def forest(scores: Mapping[str, Mapping[str, Mapping[str, Any]]], label: str = "AUROC") -> str:
    """Per-finding values with intervals: model → finding → {"value", "low", "high"}; what is None is not drawn."""
    models = list(scores)
    findings = list(dict.fromkeys(name for by_finding in scores.values() for name in by_finding))[::-1]
    colours = colour_of(models)
    figure, axes = canvas(7.2, (0.13 * len(models) + 0.14) * len(findings) + 0.9)
    step = 0.7 / max(len(models), 1)
    for number, model in enumerate(models):
        for place, finding in enumerate(findings):
            found = scores[model].get(finding, {})
            if found.get("value") is None:
                continue
            y = place + (len(models) / 2 - number - 0.5) * step
            if found.get("low") is not None:
                axes.plot((found["low"], found["high"]), (y, y), color=colours[model], lw=1.3)
            axes.plot(found["value"], y, "o", color=colours[model], ms=3.6)
        axes.plot([], [], "o-", color=colours[model], ms=3.6, lw=1.3, label=model)
    axes.axvline(0.5, color=GREY, lw=0.8, ls=":")
    axes.set_yticks(range(len(findings)), findings)
    axes.set_xlabel(f"{label} with 95 % interval", fontsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return svg(figure)


def bars(values: Mapping[str, Mapping[str, Any]], baseline: float | None, label: str) -> str:
    """Horizontal bars with intervals: name → {"value", "low", "high"}; a dotted line where chance or a floor is."""
    names = [name for name, found in values.items() if found.get("value") is not None][::-1]
    figure, axes = canvas(7.2, 0.3 * max(len(names), 1) + 0.7)
    for place, name in enumerate(names):
        found = values[name]
        axes.barh(place, found["value"], color=COLOURS[5], height=0.6)
        if found.get("low") is not None:
            axes.plot((found["low"], found["high"]), (place, place), color="#1c2430", lw=1.2)
    if baseline is not None:
        axes.axvline(baseline, color=GREY, lw=1, ls=":")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(label, fontsize=8)
    return svg(figure)
