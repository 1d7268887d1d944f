"""The page on watching a run: its tables are the benchmark's file, its numbers the code's and the logs'."""

import importlib.util
from pathlib import Path

from kontrast.engine import monitor, watching
from kontrast.engine.history import read_history
from kontrast.engine.probing import DEFAULT_PENALTY
from kontrast.methods import METHODS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")


def benchmark():
    spec = importlib.util.spec_from_file_location("collapse", ROOT / "benchmarks" / "collapse.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_the_benchmarks():
    module = benchmark()
    rows = module.read()
    assert module.markdown(rows) in PAGE
    healthy = [row for row in rows if not row["spoilt_by"]]
    methods = [row["method"] for row in healthy]
    assert len(set(methods)) == len(methods) >= 11 and set(methods) <= set(METHODS)
    assert not any(row["signs"] for row in healthy), "a healthy run is left in peace"
    assert all(row["cause"] for row in rows if row["signs"])
    assert len(rows) == len(healthy) + len(module.SPOILT)


def test_its_numbers_are_the_codes():
    assert (monitor.ALIKE, monitor.ALIKE_OUTPUTS, monitor.FEW, monitor.SAME) == (0.02, 0.2, 0.25, 0.2)
    assert (monitor.LINES, monitor.MANY, monitor.AT_CHANCE, monitor.ROWS) == (5, 10, 0.005, 1024)
    assert (watching.IMAGES, watching.TIMES, watching.NEIGHBOURS, DEFAULT_PENALTY) == (2000, 20, 20, 0.1)
    words = ("below 0.02", "below 0.2", "below a quarter", "half a percent", "last five logged lines", "1,024", "2,000")
    assert all(word in PAGE for word in words)


def test_what_it_says_of_real_radiographs_is_in_their_logs():
    """The five-line mean of directions at its lowest after step 50, and when the monitor would have spoken."""
    for method, lowest, spoken in (
        ("simclr", 0.52, None),
        ("moco", 0.35, None),
        ("swav", 0.31, None),
        ("byol", 0.20, 72),
    ):
        lines = read_history(ROOT / "results" / "nih" / "encoders" / method / "metrics.jsonl")
        start = lines[0]["effective_rank"]
        means = {
            lines[at - 1]["step"]: sum(line["effective_rank"] for line in lines[at - 5 : at]) / 5
            for at in range(5, len(lines) + 1)
            if lines[at - 1]["step"] >= 50
        }
        assert round(min(means.values()) / start, 2) == lowest and f"{lowest:.2f}" in PAGE
        first = next((at for at in range(5, len(lines) + 1)
                      if lines[at - 1]["step"] >= 50 and monitor.signs(lines[:at], start)), None)  # fmt: skip
        assert (first and lines[first - 1]["step"]) == spoken
        assert all(0.38 < line["feature_std_ratio"] < 0.68 for line in lines)
    assert "after step 72 of 470" in PAGE
