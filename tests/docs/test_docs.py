"""What the pages say can be typed, is there, and has the names that the code has."""

import ast
import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml

import kontrast
from kontrast.cli import build_app
from kontrast.config import _config_parameter, from_dict, load_yaml
from kontrast.engine.grid import Arm, Study

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "configs").rglob("*.yaml")),
]
MARKDOWN = [path for path in PAGES if path.suffix == ".md"]
NAMES = {path: str(path.relative_to(ROOT)) for path in PAGES}


def blocks(path, *languages):
    """The fenced blocks of a page in any of the languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in found if language in languages]


def command_lines(path):
    """Every line that starts `kontrast`, maybe behind a variable, `$`, srun, torchrun or python -m, as words."""
    if path.suffix == ".md":
        texts = blocks(path, "console", "bash", "sh")
    elif path.suffix == ".yaml":  # comments of studies
        texts = [re.sub(r"^#\s?", "", path.read_text(encoding="utf-8"), flags=re.M)]
    else:
        return []
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:(?:srun|torchrun)\b.*?)?\s*(?:\S*/)?kontrast (.*)", line)
            if found and "[OPTIONS]" not in line and not re.match(r"\s*pip ", line):
                words = shlex.split(found[1], comments=True)
                yield [word for word in words if word not in ("--json", "--debug")]


TYPED = [
    pytest.param(words, id=f"{NAMES[path]}-{' '.join(words)[:60]}")
    for path in PAGES
    if path.name != "commands.md"
    for words in command_lines(path)
]


def test_there_is_much_to_check():
    assert len(TYPED) > 50
    assert {words.values[0][0] for words in TYPED} >= set(kontrast.COMMANDS) - {"embed"}


@pytest.mark.parametrize("words", TYPED)
def test_what_is_shown_can_be_typed(words):
    app = build_app()
    if words == ["--help"]:
        return
    assert words[0] in kontrast.COMMANDS
    if words[1:] != ["--help"]:
        app.parse_args(words, exit_on_error=False, print_error=False)


def anchors(path):
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES.get)
def test_every_link_leads_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), target
        assert place.is_relative_to(ROOT), f"{target} leads out of the project"
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES.get)
def test_python_blocks_use_what_is_there(path):
    for text in [*blocks(path, "python"), *blocks(path, "py")]:
        check_python(ast.parse(text))


def test_the_examples_use_what_is_there():
    check_python(ast.parse((ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")))
    notebook = yaml.safe_load((ROOT / "examples" / "quickstart.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            check_python(ast.parse("".join(cell["source"])))


def check_python(tree):
    """Each `kontrast.NAME` exists, and takes the keywords that it is given."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("kontrast.")):
            continue
        name = ast.unparse(node.func).removeprefix("kontrast.")
        assert name in kontrast.COMMANDS, name
        function = getattr(kontrast, name)
        allowed = set(inspect.signature(function).parameters)
        config = _config_parameter(function)
        if config is not None:
            allowed |= {field.name for field in dataclasses.fields(config[1])}
        for keyword in node.keywords:
            assert keyword.arg is None or keyword.arg in allowed, f"{name}({keyword.arg}=…)"


def test_the_study_file_is_explained_field_by_field():
    path = ROOT / "docs" / "few-labels.md"
    studies = [yaml.safe_load(text) for text in blocks(path, "yaml")]
    for values in studies:
        from_dict(Study, values)
    assert studies
    study, arm = path.read_text(encoding="utf-8").split("| field of an arm |")
    rows = [re.findall(r"^\| (`.+?) \|", part, re.M) for part in (study, arm)]
    explained = [{name for row in part for name in re.findall(r"`(\w+)`", row)} for part in rows]
    assert explained[0] >= {field.name for field in dataclasses.fields(Study)}
    assert explained[1] >= {field.name for field in dataclasses.fields(Arm)}


def test_the_table_of_commands_is_whole():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Commands\n")[1].split("\n## ")[0]
    table = re.findall(r"^\| `(\w+)", section, re.M)
    assert [name for name in table if name in kontrast.COMMANDS] == list(kontrast.COMMANDS)


@pytest.mark.parametrize("path", MARKDOWN, ids=NAMES.get)
def test_words_in_code_that_look_like_options_are_options(path):
    """`--option` in running text belongs to some command, or to one of the tools that the page names."""
    known = set(re.findall(r"--[a-z][a-z-]+", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")))
    known |= {"--help", "--json", "--debug", "--cluster", "--signal", "--no-index", "--find-links", "--extra-index-url"}
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for code in re.findall(r"`([^`\n]+)`", text):
        assert set(re.findall(r"(?<!\S)--[a-z][a-z-]+", code)) <= known, code


def test_the_first_lines_are_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[3].startswith("make demo") and lines[4].startswith("make test")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for path in MARKDOWN:
        for text in blocks(path, "console", "bash"):
            assert set(re.findall(r"^make ([\w-]+)", text, re.M)) <= set(targets)


def test_studies_named_in_pages_can_be_read():
    for path in MARKDOWN:
        for name in re.findall(r"configs/study/[\w-]+\.yaml", path.read_text(encoding="utf-8")):
            from_dict(Study, load_yaml(ROOT / name))
