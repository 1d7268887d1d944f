"""The pages of numbers and of traps name tests that are there, and numbers that those tests hold."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGES = Path(__file__).parents[2] / "docs" / "methods"


def named(text: str) -> list[tuple[str, str]]:
    """Files and tests of a cell: `file.py::test`, then maybe `::another` of the same file, or `file.py` alone."""
    found, file = [], ""
    for name in re.findall(r"`((?:[\w/]+\.py)?(?:::\w+)?)`", text):
        path, _, test = name.partition("::")
        file = path or file
        found.append((file, test))
    return found


def functions_of(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", ["traps", "oracles"])
def test_the_tests_it_names_are_there(page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    cells = [row.split("|")[-2] for row in text.splitlines() if row.startswith("|")]
    names = [name for cell in cells for name in named(cell)]
    assert len(names) > 25
    for file, test in names:
        assert (TESTS / file).is_file(), file
        assert not test or test in functions_of(file), f"{file}::{test}"


def test_every_trap_has_a_row() -> None:
    text = (PAGES / "traps.md").read_text(encoding="utf-8")
    assert {int(number) for number in re.findall(r"^\| T(\d+) ", text, re.M)} == set(range(1, 31))


def test_the_numbers_stand_in_the_tests() -> None:
    rows = [row.split("|")[1:-1] for row in (PAGES / "oracles.md").read_text(encoding="utf-8").splitlines()
            if re.match(r"\|.*\d\.\d{4}", row)]  # fmt: skip
    assert len(rows) > 20
    file = ""
    for _, numbers, where in rows:
        file = named(where)[0][0] if named(where) else file
        held = {abs(float(value)) for value in re.findall(r"\d*\.\d+(?:e-?\d+)?", (TESTS / file).read_text("utf-8"))}
        for number in numbers.split(","):
            assert abs(float(number)) in held, (file, number)
