"""A negative number has the sign that files and terminals have, `-`, on pages and in the documentation too.

A typographic minus (U+2212) stands in formulas and between two numbers, with a space after it.
"""

import ast
import re
from pathlib import Path

import pytest

import kontrast
from kontrast.pages import drawing

ROOT = Path(kontrast.__file__).parent
REPOSITORY = Path(__file__).parents[2]
SIGN = re.compile(r"−(?=[\d.{]|$)")
PROSE = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "results").glob("*.md")]


def strings(path: Path):
    """What a module may print: its constants of text but docstrings, which hold formulas."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def test_in_all_that_is_printed():
    found = {path.name: [t for t in strings(path) if SIGN.search(t)] for path in ROOT.rglob("*.py")}
    assert len(found) > 200
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("path", [*ROOT.rglob("*.j2"), *PROSE], ids=lambda path: path.name)
def test_in_templates_and_documents(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    formulas = [line for line in lines if path.suffix == ".md" and line.startswith("    ")]
    assert not [line for line in lines if SIGN.search(line) and line not in formulas]


def test_on_the_axes_of_figures():
    @drawing.styled
    def draw() -> str:
        figure, (axes,) = drawing.canvas(3, 2)
        axes.plot([-2, -1], [-0.2, 0.1])
        return drawing.svg(figure, "")

    drawn = draw()
    assert "-0.2" in drawn and not SIGN.search(drawn)
