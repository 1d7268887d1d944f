"""The command line: a table of commands, each the Python function of the same name."""

import signal
import sys
import traceback
from typing import NoReturn

from kontrast import COMMANDS, __version__, console
from kontrast.errors import KontrastError
from kontrast.types import Outcome


def build_app():  # type: ignore[no-untyped-def]
    """The cyclopts application; commands are named by import path, so none is loaded before it is used."""
    from cyclopts import App

    app = App(
        name="kontrast",
        version=__version__,
        help="Unlabelled medical images and a handful of labels in, a tested classifier out.",
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main says that the work resumes
    )
    for name, summary in COMMANDS.items():
        app.command(f"kontrast.stages.{name}:{name}", name=name, help=summary, sort_key=list(COMMANDS).index(name))
    return app


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code: 0 done, 2 to 8 see `errors`, 75 requeue, 130 Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json, debug = ("--json" in words), ("--debug" in words)
    words = [word for word in words if word not in ("--json", "--debug")]
    if as_json:
        console.configure(stream=sys.stderr)
    # A closed pipe (`kontrast scan … | head`) ends the program quietly, as for any Unix tool.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        outcome = build_app()(words)
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
