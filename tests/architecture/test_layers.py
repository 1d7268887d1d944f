"""Imports run downward only. The table of layers is the design's; a new module must find its place in it."""

import ast
import re
from pathlib import Path

import pytest

from kontrast import COMMANDS

SRC = Path(__file__).parents[2] / "src" / "kontrast"

# A unit may import the units of the layers below its own, and those that EXTRA grants it.
LAYERS: list[set[str]] = [
    {"errors", "types", "config", "console", "options", "cluster", "workers", "apart"},
    {"distributed"},
    {"data", "views", "nn", "metrics"},
    {"methods", "artifacts", "saliency"},
    {"engine", "pages"},
    {"stages"},
    {"cli"},
    {"__main__"},
]
LEVEL = {unit: level for level, layer in enumerate(LAYERS) for unit in layer}
ROOT = {"COMMANDS", "__version__"}
"""What the root itself holds; any command that is imported from it is a stage."""
CALLERS = {"demo", "study"}
"""The stages that run others, through the public functions."""
MODULES = sorted(SRC.rglob("*.py"))


def unit_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return parts[0]


def imports_of(path: Path) -> set[str]:
    """Dotted kontrast modules that a file imports anywhere, functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "kontrast"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            if node.module and node.module.split(".")[0] == "kontrast":
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_run_downward(path: Path) -> None:
    unit = unit_of(path)
    if unit == "__init__":
        assert not imports_of(path), "the root stays light: stages load on use"
        return
    assert unit in LEVEL, f"{unit} is in no layer: put it into LAYERS and into docs/architecture.md"
    for name in imports_of(path):
        target = name.partition(".")[2].partition(".")[0]
        if target in ROOT:
            continue
        if target == "" or target in COMMANDS:  # `import kontrast`, `from kontrast import pretrain`
            assert unit == "stages" and path.stem in CALLERS, f"{path.relative_to(SRC)} reaches for other commands"
            continue
        assert target in LEVEL, f"{path.relative_to(SRC)} imports {name}, which is in no layer"
        same_unit = target == unit and unit != "stages"
        base = LEVEL[unit] == 0 and LEVEL[target] == 0
        assert same_unit or base or LEVEL[target] < LEVEL[unit], f"{path.relative_to(SRC)} imports {name} upward"


@pytest.mark.parametrize("path", sorted((SRC / "stages").glob("*.py")), ids=lambda p: p.stem)
def test_stages_are_light_and_independent(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    light = {"kontrast", "cyclopts", "pydantic"}
    for node in tree.body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top, *rest = name.split(".")
            if top == "kontrast":
                assert not rest or rest[0] in LAYERS[0], f"{path.name} imports {name} at the top"
            else:
                assert top in light or top in __import__("sys").stdlib_module_names, f"{path.name} imports {name}"


ONLY = {
    "torch.distributed": {"distributed"},
    "pydicom": {"data/decode"},
    "pandas": {"data", "artifacts", "stages", "engine", "pages"},
}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_some_libraries_have_one_home(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for library, homes in ONLY.items():
        imported = any(line.strip().startswith((f"import {library}", f"from {library}")) for line in text.splitlines())
        inside = path.relative_to(SRC).with_suffix("").as_posix()
        at_home = any(inside == home or inside.startswith(f"{home}/") for home in homes)
        assert not imported or at_home, f"{path.relative_to(SRC)} imports {library}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SRC)))
def test_files_stay_small(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{path.relative_to(SRC)} has {lines} lines: look for two rooms in it"


@pytest.mark.parametrize("path", sorted(p for p in SRC.rglob("__init__.py")), ids=lambda p: str(p.parent.name))
def test_a_folder_opens_with_what_belongs_there(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


def test_the_tree_in_the_docs_names_every_module() -> None:
    """But those of which a folder has one a command, a method, a layout, a card or a part of a phantom."""
    text = (SRC.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = set(re.findall(r"\w+", text[text.index("src/kontrast/\n") : text.index("Imports run downward")]))
    alike = {"stages", "methods", "cards", "decode", "layouts", "lungs", "phantom"}
    missing = {path.stem for path in MODULES if path.parent.name not in alike} - tree - {"__init__", "__main__"}
    assert not missing, f"docs/architecture.md has no word of {sorted(missing)}"
