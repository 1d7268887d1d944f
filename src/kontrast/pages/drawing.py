"""How figures look and how they enter a page: inline SVG and data addresses, so that it needs no other file."""

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
            "text.parse_math": False, "axes.unicode_minus": False, "axes.labelsize": 9.5, "axes.titlesize": 10,
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


def legend(figure: "Figure", panels: "Sequence[Axes]", names: int) -> None:
    """One legend for all panels, above them; none for a single line."""
    parts = [part for axes in panels for part in zip(*axes.get_legend_handles_labels(), strict=True)]
    once = {words: handle for handle, words in parts}
    if names > 1:
        each = 0.7 + 0.085 * max(map(len, once))  # inches of a line, its space and its words
        columns = max(1, min(8 if len(panels) > 1 else 3, int(figure.get_figwidth() / each)))
        figure.legend(list(once.values()), list(once), loc="outside upper left", ncols=columns)


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
    wide = ' class="wide"' if width > HALF + 1 else ""
    opening = (
        f'<svg{wide} viewBox="0 0 {72 * width:g} {72 * height:g}" role="img" '
        f'aria-label="{escape(label)}" '
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
