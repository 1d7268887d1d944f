"""Figures as inline SVG and pictures as data addresses, so that a page needs no other file."""

import base64
import functools
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, distinguishable with any colour vision and in print; the baseline is grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#5D3A9B")
GREY, INK, LINE = "#6b7480", "#1c2430", "#d5dbe3"
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
FULL, HALF = 9.6, 4.7
"""Widths in inches of a page's whole and half column: on A4 they shrink by a quarter, and 9.5 pt becomes 7."""

Look = tuple[str, str]
"""Colour and marker."""

T = TypeVar("T")


def palette(arms: Sequence[str], baseline: str | None = None) -> dict[str, str]:
    """One colour an arm, the same in every figure of a page; grey for the baseline."""
    others = [arm for arm in dict.fromkeys(arms) if arm != baseline]
    chosen = {arm: COLOURS[i % len(COLOURS)] for i, arm in enumerate(others)}
    return {arm: chosen.get(arm, GREY) for arm in arms}


def looks(arm_of: Mapping[str, str], colours: Mapping[str, str]) -> dict[str, Look]:
    """How each line of a figure is drawn: its arm's colour, and a marker of its own among that arm's.

    Args:
        arm_of: line → arm.
        colours: from `palette`.
    """
    used: dict[str, int] = {}
    found = {}
    for name, arm in arm_of.items():
        found[name] = (colours.get(arm, GREY), MARKERS[used.get(arm, 0) % len(MARKERS)])
        used[arm] = used.get(arm, 0) + 1
    return found


def clean(text: str, most: int = 40) -> str:
    """Words as a figure can show them: without control characters, not longer than `most`."""
    words = "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "\ufffd" for c in str(text))
    return words if len(words) <= most else words[: most - 1] + "…"


def styled(draw: Callable[..., T]) -> Callable[..., T]:
    """Draw in the page's style, and take a finding's name for what it is, dollar signs and all scripts included."""

    @functools.wraps(draw)
    def call(*args: Any, **keywords: Any) -> T:
        import matplotlib

        style: dict[Any, Any] = {
            "svg.hashsalt": "kontrast", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5,
            "text.parse_math": False, "axes.unicode_minus": True, "axes.labelsize": 9.5, "axes.titlesize": 10,
            "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5, "legend.frameon": False,
            "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
            "axes.edgecolor": GREY, "axes.spines.top": False, "axes.spines.right": False, "path.simplify": False,
        }  # fmt: skip
        with matplotlib.rc_context(style), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's browser has the letters
            return draw(*args, **keywords)

    return call


def canvas(width: float, height: float, panels: int = 1, **options: Any) -> "tuple[Figure, list[Axes]]":
    """An empty figure of panels side by side; sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False, **options)[0])


def svg(figure: "Figure", label: str) -> Markup:
    """The figure as an SVG element, the same bytes each time.

    Only what a browser needs is kept: no addresses of name spaces, and no ids that another figure's could meet.

    Args:
        figure: drawn.
        label: what it shows, for those who cannot see it.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    mark = "f" + hashlib.sha256((label + text).encode()).hexdigest()[:8]

    def renamed(found: re.Match[str]) -> str:
        return f' id="{mark}{found[1]}"' if found[1] in used else ""

    text = re.sub(r' id="([^"]*)"', renamed, text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{mark}", text)
    width, height = figure.get_size_inches()
    opening = (
        f'<svg viewBox="0 0 {72 * width:g} {72 * height:g}" role="img" aria-label="{escape(label)}" '
        f'style="width: {96 * width:.0f}px">'
    )
    return Markup(re.sub(r"\n\s*", "\n", opening + text[text.index(">") + 1 :]))  # noqa: S704  (escaped by Matplotlib)


def data_uri(image: np.ndarray, *, most: int | None = None) -> str:
    """A picture as a data address: PNG, or JPEG for a photograph.

    Args:
        image: (H, W) or (H, W, 3 B, G, R) uint8.
        most: of a photograph, the longest side in pixels that is kept.
    """
    import cv2

    kind, options = ".png", [cv2.IMWRITE_PNG_COMPRESSION, 9]
    if most is not None:
        kind, options = ".jpeg", [cv2.IMWRITE_JPEG_QUALITY, 88]
        scale = most / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ok, code = cv2.imencode(kind, image, options)
    if not ok:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype} is no picture")
    return f"data:image/{kind[1:]};base64," + base64.b64encode(code.tobytes()).decode()


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
    return svg(figure, f"How often each of {len(names)} findings is positive, uncertain, negative or not mentioned")


@styled
def training(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], keys: Mapping[str, str], seen: Mapping[str, Look]
) -> Markup:
    """Logged numbers over the steps of each run, one panel a number; what no run logged is left out.

    Args:
        runs: name → lines of `metrics.jsonl`.
        keys: what to draw → its words.
        seen: from `looks`.
    """
    drawn = {key: {name: _points(lines, key) for name, lines in runs.items() if _points(lines, key)} for key in keys}
    drawn = {key: by_name for key, by_name in drawn.items() if by_name}
    if not drawn:
        return Markup()
    figure, panels = canvas(FULL if len(drawn) > 1 else HALF, 2.5, len(drawn))
    for axes, (key, by_name) in zip(panels, drawn.items(), strict=True):
        for name, points in by_name.items():
            alone = "o" if len(points) == 1 else ""
            axes.plot(*zip(*points, strict=True), color=seen[name][0], lw=1.3, label=clean(name), marker=alone, ms=3)
        axes.set_title(keys[key], loc="left", fontsize=9.5)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", nbins=4, integer=True)
    _legend(figure, panels, len(runs))
    return svg(figure, f"{', '.join(keys[key] for key in drawn)} over the steps of {', '.join(map(clean, runs))}")


def _points(lines: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if isinstance(line.get(key), int | float)]


def _legend(figure: "Figure", panels: "Sequence[Axes]", names: int) -> None:
    """One legend for all panels, above them; none for a single line."""
    parts = [part for axes in panels for part in zip(*axes.get_legend_handles_labels(), strict=True)]
    once = {words: handle for handle, words in parts}
    if names > 1:
        columns = 8 if max(map(len, once)) <= 10 and len(panels) > 1 else 3
        figure.legend(list(once.values()), list(once), loc="outside upper left", ncols=columns)


@styled
def efficiency(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, float]]]],
    seen: Mapping[str, Look],
    baseline: str,
) -> Markup:
    """Label-efficiency curves, one panel a protocol on one scale.

    Args:
        curves: protocol → arm → (fraction, mean, lowest, highest over seeds).
        seen: from `looks`.
        baseline: drawn dashed.
    """
    figure, panels = canvas(FULL if len(curves) > 1 else HALF, 3.4, len(curves), sharey=True)
    arms = dict.fromkeys(arm for by_arm in curves.values() for arm in by_arm)
    for axes, (protocol, by_arm) in zip(panels, curves.items(), strict=True):
        for number, (arm, points) in enumerate(by_arm.items()):
            x, mean, low, high = (np.array(part) for part in zip(*points, strict=True))
            # a little apart, so that the bars of several arms can be told
            at = 100 * x * 1.025 ** (number - (len(by_arm) - 1) / 2)
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
    _legend(figure, panels, len(arms))
    return svg(figure, f"Macro AUROC against the share of labels, for {', '.join(map(clean, arms))}")


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
        _legend(figure, axes, len(scores))
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
