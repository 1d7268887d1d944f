"""docs/speed.md and docs/scaling.md hold what benchmarks/results/speed/ holds, to the letter."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    for name in [n for n in sys.modules if n.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    import benchmarks.speed.page as made

    return made


@pytest.mark.parametrize("name", ["speed", "scaling"])
def test_the_pages_are_made_from_the_committed_files(page, name):
    text = page.PAGE.with_name(f"{name}.md").read_text(encoding="utf-8")
    assert text == page.page(name), "run: python -m benchmarks.speed.page"
    assert "{{" not in text


def test_every_figure_is_a_number_with_its_machine_or_says_why_it_is_none(page):
    for path in sorted(page.RESULTS.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["machine"]["processor"] and found["machine"]["versions"]["torch"]
        for line in found["figures"]:
            assert isinstance(line["value"], float | int) or "not measured" in line["note"], line


def test_ratios_are_of_rounds_in_turn(page):
    from benchmarks.speed.measure import alternate, ratio

    order = []

    def contestant(name, seconds):
        return lambda: order.append(name) or seconds

    found = alternate({"slow": contestant("slow", 6.0), "fast": contestant("fast", 2.0)}, rounds=4)
    assert order == ["slow", "fast"] + ["slow", "fast", "fast", "slow"] * 2
    assert found == {"slow": [6.0] * 4, "fast": [2.0] * 4} and ratio(found["slow"], found["fast"]) == 3
