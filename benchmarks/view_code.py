"""Views on one CPU core: this tree's code against an earlier revision's, and OpenCV's rotation and resizing alone.

    python benchmarks/view_code.py [--before 443c8b1] [--out benchmarks/results/view_code.json]

Both make the same views in turns, 15 rounds after one that does not count; `ratio` is the median of the rounds' ratios,
the times, in microseconds of the processor a view, are each contestant's median. `warp` and `resize` are one call of
OpenCV's in fp32, of an image or of its middle, to the view's size and nothing else. `difference` is the largest between
the grey values of the two, which lie between 0 and 1.
"""

import argparse
import inspect
import json
import subprocess
import types
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from benchmarks.speed.measure import alternate, cpu, machine, pictures, ratio

from kontrast.methods import METHODS
from kontrast.views import cpu as now
from kontrast.views import geometry
from kontrast.views.params import View, draw

CASES = {
    "xray, 224 px from 224": ("xray", 224, 224, 16),
    "natural, 224 px from 224": ("natural", 224, 224, 16),
    "xray, 224 px from 320": ("xray", 224, 320, 16),
    "natural, 224 px from 320": ("natural", 224, 320, 16),
    "xray, 64 px from 64": ("xray", 64, 64, 64),
    "natural, 64 px from 64": ("natural", 64, 64, 64),
    "xray's local, 96 px from 224": ("local", 96, 224, 16),
}
"""The recipe, the views' side, the images' and their number."""


def earlier(revision: str) -> types.ModuleType:
    """`views/cpu.py` as it was then, beside the rest of this tree."""
    source = Path(now.__file__).relative_to(Path(__file__).resolve().parents[1])
    text = subprocess.run(["git", "show", f"{revision}:{source}"], capture_output=True, text=True, check=True).stdout
    module = types.ModuleType("earlier")
    exec(compile(text, f"{revision}:{source}", "exec"), vars(module))
    return module


def make(code: Any, images: Any, params: Any, size: int) -> Any:
    """Views by one of the two; what `apply` took before was the margin, too."""
    pad = {"pad": geometry.margin(size, params.limit)} if "pad" in inspect.signature(code.apply).parameters else {}
    return code.apply(images, params, size, threads=1, **pad)


def recipe(kind: str, size: int) -> View:
    """A global view of MoCo v2's or of X-rays, or a local one of X-rays."""
    if kind == "local":
        local = METHODS["swav"].xray.at(224).local_view
        assert local is not None
        return local
    return getattr(METHODS["moco"], kind).at(size).global_views[0]  # type: ignore[no-any-return]


def compare(before: Any, kind: str, size: int, source: int, n: int) -> dict[str, float]:
    """One case."""
    images = pictures(n, source, source)
    params = draw(recipe(kind, size), n, torch.Generator().manual_seed(0))
    one, view = images[0].astype(np.float32), np.empty((size, size), np.float32)
    edge = source // 16
    middle = one[edge:-edge, edge:-edge]
    turn = cv2.getRotationMatrix2D(((source - 1) / 2, (source - 1) / 2), 5, source / size)
    works = {
        "before": cpu(lambda: make(before, images, params, size)),
        "now": cpu(lambda: make(now, images, params, size)),
        "warp": cpu(lambda: [cv2.warpAffine(one, turn, (size, size), view, cv2.INTER_LINEAR) for _ in images]),
        "resize": cpu(lambda: [cv2.resize(middle, (size, size), view) for _ in images]),
    }
    seconds = alternate(works, 15)
    found = {name: round(1e6 * median(took) / n, 1) for name, took in seconds.items()}
    found["ratio"] = round(ratio(seconds["before"], seconds["now"]), 2)
    difference = np.abs(make(before, images, params, size) - make(now, images, params, size)).max()
    return found | {"difference": float(f"{difference:.2g}")}


def main() -> None:
    """What the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", default="443c8b1")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    before, cases = earlier(asked.before), {}
    for what, case in CASES.items():
        cases[what] = compare(before, *case)
        print(what, *(f"{name} {value:g}" for name, value in cases[what].items()), sep="  ", flush=True)
    if asked.out:
        written = {"before": asked.before, "machine": machine(), "cases": cases}
        asked.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
