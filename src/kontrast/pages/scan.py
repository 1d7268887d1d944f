"""The page of `kontrast scan --html`: one file, no network, everything escaped."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

MARK = '<meta name="generator" content="kontrast scan">'
"""By this line a page is known as one that a later scan may replace."""


def data_uri(pixels: np.ndarray) -> str:
    """(H, W) uint8 as a JPEG inside a page."""
    ok, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def render(
    source: str,
    facts: dict[str, Any],
    thumbnails: Sequence[tuple[str, np.ndarray]],
    pairs: Sequence[tuple[str, np.ndarray]],
    **parts: Any,
) -> str:
    """The page as text.

    Args:
        source: name of the scanned folder.
        facts: `survey.facts`.
        thumbnails: (caption, picture).
        pairs: the same of images that look alike, two after two.
        parts: `notes`, `problems`, `command`, `layout`, `version` for the template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pictures, both = ([(words, data_uri(picture)) for words, picture in shown] for shown in (thumbnails, pairs))
    template = environment.get_template("scan.html.j2")
    return template.render(source=source, facts=facts, thumbnails=pictures, pairs=both, mark=MARK, **parts)
