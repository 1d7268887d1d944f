"""The command line: a table of commands, each the Python function of the same name."""

import codecs
import io
import signal
import sys
import traceback
from typing import Any, NoReturn

from kontrast import COMMANDS, __version__, console
from kontrast.errors import KontrastError, UsageError
from kontrast.types import Outcome


def build_app():  # type: ignore[no-untyped-def]
    """The cyclopts application; commands are named by import path, so none is loaded before it is used."""
    from cyclopts import App

    app = App(
        name="kontrast",
        version=__version__,
        help="Unlabelled medical images and a handful of labels in, a tested classifier out.\n\n"
        "Every command takes --dry-run (say what would be done), --json (one JSON object on standard output, all else "
        "on standard error) and --debug (tracebacks).",
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main says that the work resumes
        exit_on_error=False,  # main says what is wrong, as for any other mistake
        print_error=False,
    )
    for name, summary in COMMANDS.items():
        app.command(f"kontrast.stages.{name}:{name}", name=name, help=summary, sort_key=list(COMMANDS).index(name))
    return app


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code: 0 done, 2 to 8 see `errors`, 75 requeue, 130 Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json, debug = ("--json" in words), ("--debug" in words)
    words = [word for word in words if word not in ("--json", "--debug")]
    _bear_any_text()
    console.configure(stream=sys.stderr if as_json else None)
    # A closed pipe (`kontrast scan … | head`) ends the program quietly, as for any Unix tool.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        outcome = _run(words)
    except KontrastError as error:
        if debug:
            traceback.print_exc()
        print(f"\nkontrast: {error.problem}\n  {error.fix}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("\nkontrast: interrupted. Run the same command again: it resumes.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        # The text of an unknown error could quote a header or a file: name its kind and place only.
        place = traceback.extract_tb(error.__traceback__)[-1]
        print(
            f"\nkontrast: a fault of kontrast's own ({type(error).__name__} in {place.name}, line {place.lineno}).\n"
            "  Run again with --debug for the details, and please report it.",
            file=sys.stderr,
        )
        sys.exit(1)
    if as_json and isinstance(outcome, Outcome):
        print(outcome.to_json())
    elif isinstance(outcome, Outcome) and outcome.out is not None and outcome.status != "planned":
        print(outcome.out)
    sys.exit(outcome.exit_code if isinstance(outcome, Outcome) else 0)


def _run(words: list[str]) -> Any:
    """What the command returns.

    Raises:
        UsageError: words that are no command or option, or do not fit one.
    """
    app = build_app()
    from cyclopts import CycloptsError

    try:
        return app(words)
    except CycloptsError as error:
        command = " ".join(["kontrast", *(error.command_chain or ())])
        problem = " ".join(str(error).split())
        raise UsageError(problem, fix=f"See `{command} --help`.") from None


def _bear_any_text() -> None:
    """Print what the terminal's encoding lacks as `?`, and file names that are no UTF-8 as the bytes they are."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = codecs.lookup(stream.encoding).name == "utf-8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "replace")
