"""docs/results.md holds what results/ holds, to the letter."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_from_the_committed_files() -> None:
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "results" / "make.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.PAGE.read_text(encoding="utf-8") == make.page(), "run: python results/make.py"
    assert "{{" not in make.page()
