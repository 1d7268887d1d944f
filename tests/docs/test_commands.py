"""docs/commands.md is what docs/make_commands.py makes of the commands."""

import importlib.util
from pathlib import Path

import pytest

from kontrast import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_commands", DOCS / "make_commands.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(make):
    assert make.PAGE.read_text(encoding="utf-8") == make.page(), "run: python docs/make_commands.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(make, name):
    text = make.section(name)
    assert text.startswith(f"## kontrast {name}\n")
    for line in text.splitlines():
        if line.startswith("* `"):
            assert len(line.partition("`: ")[2]) > 10, line
