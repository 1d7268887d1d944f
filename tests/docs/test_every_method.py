"""The figures on the pages of methods are those of the committed file."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "results" / "every_method.json"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))  # it stands on two of its neighbours
    try:
        import every_method
    finally:
        sys.path.pop(0)
    return every_method


def test_the_pages_have_the_files_figures(benchmark: Any) -> None:
    found = json.loads(FILE.read_text(encoding="utf-8"))
    arms = [name for name, row in found["fractions"]["0.1"].items() if "over_random" in row]
    assert len(arms) >= 11
    for name in arms:
        page = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
        assert benchmark.page(found, name) in page, f"run: python benchmarks/every_method.py --page {name}"
        assert "python benchmarks/every_method.py" in page
