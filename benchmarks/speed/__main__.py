"""Runs cases: `python -m benchmarks.speed [CASE…] [--out FOLDER]`."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

# Before anything starts a pool of threads: "a core" is one thread on one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CASES = ("step", "rivals", "views", "prepare", "loading", "scoring", "startup", "growth")
RESULTS = Path(__file__).parents[1] / "results" / "speed"


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="all when left out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    import cv2
    import torch
    from benchmarks.speed.measure import machine

    from kontrast import console

    console.configure(quiet=True)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for case in asked.cases or CASES:
        module = importlib.import_module(f"benchmarks.speed.{case}")
        before = machine()
        lines = module.run()
        content = {"machine": before, "load_after": [round(x, 1) for x in os.getloadavg()], "figures": lines}
        path = asked.out / f"{case}.json"
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
