"""Write docs/commands.md from the commands themselves: python docs/make_commands.py.

Nothing in that page is written by hand, so an option and its text stand in one place, beside the code.
tests/docs/test_commands.py fails when the page is out of date.
"""

import inspect
import re
from pathlib import Path

import kontrast
from kontrast import COMMANDS
from kontrast.cli import build_app, usage
from kontrast.stages.pretrain import NAMED

PAGE = Path(__file__).parent / "commands.md"

HEAD = """# Commands

<!-- Made by docs/make_commands.py from the commands themselves: change their docstrings, not this page. -->

`kontrast COMMAND --help` prints the same. In Python each command is a function of the same name and the same options:
`kontrast probe ENCODER PACK --out DIR --label-fraction 0.1` is
`kontrast.probe(ENCODER, PACK, out=DIR, label_fraction=0.1)`. It returns an `Outcome` that stands for its output path,
so it can be the next command's input.

Every command also takes `--json` (one JSON object on standard output, all other lines on standard error; of an error
too: `error`, `fix` and `exit_code`) and `--debug` (a traceback where one would help). The same command again resumes,
or says that it is done; another command is refused an output folder that is in use.

| exit code | meaning |
|---|---|
| 0 | done, already done, or planned (`--dry-run`) |
| 1 | a fault of kontrast's own, or a failed check of `doctor` |
| 2 | a word, option or value that does not fit |
| 3 | source images, tables or labels that cannot be used |
| 4 | an artifact that is missing, damaged, unsafe or of another kind |
| 5 | an output folder in use, or a disk that cannot be written |
| 6 | training that cannot go on |
| 7 | a patient on both sides of a split |
| 8 | an optional dependency is missing |
| 75 | stopped by SIGTERM or SIGUSR1 after saving: run again |
| 130 | stopped by Ctrl-C after saving: run again |

"""


def section(name: str) -> str:
    """One command: usage, what it does, arguments and options."""
    text = build_app()[name].generate_docs(heading_level=2)
    head = f"## kontrast {name}\n\n```console\n{usage(name)}\n```"
    rest = text.partition("```\n\n")[2]
    short, _, options = rest.partition("\n\n")
    # What the parser offers but nobody needs to read: the negative of each switch, and empty defaults.
    options = re.sub(r", --(no|empty)-[a-z-]+(?=`)", "", options)
    options = re.sub(r" \*\[default: (\(\)|False)\]\*", "", options).replace("**Parameters**:", "**Options**:")
    # a new method has a page of its own and need not change this one
    options = options.replace(NAMED, "auto, or the name of a [method](methods).")
    return "\n\n".join(part for part in (head, short.strip(), more(name), options.strip()) if part) + "\n"


def more(name: str) -> str:
    """What a command's docstring says between its first line and its arguments."""
    text = inspect.getdoc(getattr(kontrast, name)) or ""
    return re.split(r"\n(?:Args|Raises|Returns|Source):", text)[0].partition("\n")[2].strip()


def page() -> str:
    """The whole page."""
    contents = "".join(f"- [`{name}`](#kontrast-{name}): {text}\n" for name, text in COMMANDS.items())
    return HEAD + contents + "\n" + "\n".join(section(name) for name in COMMANDS)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
