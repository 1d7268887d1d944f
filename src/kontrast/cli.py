"""The command line: a table of commands, each the Python function of the same name."""

import codecs
import importlib
import inspect
import io
import json
import os
import shlex
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn, get_args

from kontrast import COMMANDS, __version__, console
from kontrast.config import nearest
from kontrast.errors import Interrupted, KontrastError, UsageError
from kontrast.types import Outcome

EVERYWHERE = (
    "Every command also takes --json (one JSON object on standard output, also of an error; all else on standard "
    "error) and --debug (tracebacks)."
)
WRITES = {"report": "PAGE.html"}
"""What stands for the value of --out where it is no folder."""
LEAVES_NOTHING = ("scan", "report", "doctor")
"""Commands that write one page at their end, or nothing at all: interrupted, there is nothing to resume."""


def __getattr__(name: str) -> Any:
    # The function that a stage defines, beneath `config.verb`: its one argument `config` is what cyclopts reads.
    if name in COMMANDS:
        return inspect.unwrap(getattr(importlib.import_module(f"kontrast.stages.{name}"), name))
    raise AttributeError(f"module 'kontrast.cli' has no attribute {name!r}")


def build_app():  # type: ignore[no-untyped-def]
    """The cyclopts application; commands are named by import path, so none is loaded before it is used."""
    from cyclopts import App, Parameter

    app = App(
        name="kontrast",
        version=__version__,
        help="Unlabelled medical images and a handful of labels in, a tested classifier out.\n\n"
        "`kontrast COMMAND --help` shows what a command takes; with --dry-run each says what it would do.",
        help_epilogue=EVERYWHERE,
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main says what becomes of the work
        exit_on_error=False,  # main says what is wrong, as for any other mistake
        print_error=False,
        default_parameter=Parameter(converter=_exactly),
    )
    for name, summary in COMMANDS.items():
        app.command(f"kontrast.cli:{name}", name=name, help=summary, sort_key=list(COMMANDS).index(name))
    return app


def usage(name: str) -> str:
    """How a command is called: `kontrast finetune ENCODER PACK --out DIR [OPTIONS]`."""
    words = ["kontrast", name]
    options = []
    for parameter in inspect.signature(__getattr__(name)).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            words.append(f"{parameter.name.removesuffix('s').upper()}...")
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            words.append(parameter.name.upper())
        elif parameter.default is parameter.empty:
            options.append(f"--{parameter.name} {WRITES.get(name, 'DIR')}")
    return " ".join([*words, *options, "[OPTIONS]"])


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
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(error if isinstance(error, KontrastError) else _fault(error), words, as_json=as_json)
    except KeyboardInterrupt:
        _fail(_interrupted(words), words, as_json=as_json)
    if isinstance(outcome, Outcome) and _speaks():
        if as_json:
            print(outcome.to_json())
        elif outcome.out is not None and outcome.status != "planned":
            print(outcome.out)
    sys.exit(outcome.exit_code if isinstance(outcome, Outcome) else 0)


def _fail(error: KontrastError, words: list[str], *, as_json: bool) -> NoReturn:
    """End with an error: words for people on standard error, with `--json` an object on standard output too."""
    if isinstance(error, Interrupted):
        # torchrun ends with SIGTERM all whose fellow ended first; each should still be seen to have saved.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(file=sys.stderr)
    for text, indent in ((f"kontrast: {error.problem}", ""), (error.fix, "  ")):
        print(console.fitted(text, sys.stderr, indent), file=sys.stderr)
    if as_json and _speaks():
        verb = words[0] if words and words[0] in COMMANDS else None
        said = {"verb": verb, "status": "failed", "error": error.problem, "fix": error.fix}
        print(json.dumps(said | error.facts | {"exit_code": error.exit_code}))
    sys.exit(error.exit_code)


def _fault(error: Exception) -> KontrastError:
    """An error that nobody foresaw. Its text could quote a header or a file: its kind and place are named only."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    fix = "Run again with --debug for the details, and please report it."
    if not _alone():
        fix = "Where another process ended first, this one only lost it, and what that one said counts. Else: " + fix
    return KontrastError(
        f"a fault of kontrast's own ({type(error).__name__} in {place.name}, line {place.lineno}).", fix=fix
    )


def _alone() -> bool:
    """Whether this is the only process, as torchrun's environment says: most commands never load torch."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


def _speaks() -> bool:
    """Whether this process prints results: of several the first one."""
    return _alone() or os.environ.get("RANK", "0") == "0"


def _interrupted(words: list[str]) -> KontrastError:
    leaves_nothing = "--dry-run" in words or (words and words[0] in LEAVES_NOTHING) or words[:2] == ["pack", "verify"]
    if leaves_nothing:
        return Interrupted("interrupted; nothing was written.", fix="Run the same command again.", exit_code=130)
    return Interrupted("interrupted.", fix="Run the same command again: it resumes.", exit_code=130)


def _run(words: list[str]) -> Any:
    """What the command returns.

    Raises:
        UsageError: words that are no command or option, or do not fit one.
    """
    app = build_app()
    from cyclopts import CycloptsError

    if words and words[0] in COMMANDS:
        app[words[0]].usage = f"Usage: {usage(words[0])}"
    try:
        return app(words)
    except CycloptsError as error:
        raise _worded(error, words) from None


def _worded(error: Any, words: list[str]) -> UsageError:
    """What the parser does not understand, in the words of whoever typed it."""
    from cyclopts import (
        CoercionError,
        MissingArgumentError,
        RepeatArgumentError,
        UnknownOptionError,
        UnusedCliTokensError,
    )

    if not error.command_chain:
        return _no_command(words)
    name = error.command_chain[0]
    see = f"See `kontrast {name} --help`."
    match error:
        case UnknownOptionError(token=token) if (token.keyword or token.value).startswith("-"):
            return _no_option(name, token.keyword or token.value)
        case MissingArgumentError(argument=argument) if argument is not None:
            # A misspelt --out is missing under its own name: what was typed says more than what was not.
            unknown = [word for word in error.unused_tokens or () if word.startswith("--")]
            if unknown and argument.name not in words:
                return _no_option(name, unknown[0])
            return _missing(name, argument.name, words)
        case UnusedCliTokensError(unused_tokens=more):
            return UsageError(f"{name} takes no {shlex.join(more or ())} here.", fix=f"Write: {usage(name)}")
        case RepeatArgumentError(token=token) if token is not None:
            return UsageError(f"{token.keyword} is given more than once.", fix=f"Give it once. {see}")
        case CoercionError(token=token, argument=argument) if token is not None and argument is not None:
            kinds = _kinds(argument.hint)
            guess = nearest(token.value, [kind for kind in kinds if kind not in _KINDS.values()])
            wanted = " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
            return UsageError(
                f"{argument.name} {token.value or repr('')} does not fit: it takes {wanted}.",
                fix=(f"Did you mean {guess!r}? " if guess else "") + see,
            )
    return UsageError(" ".join(str(error).split()), fix=see)


def _no_command(words: list[str]) -> UsageError:
    guess = nearest(words[0], [*COMMANDS, "--help", "--version"])
    return UsageError(
        f'"{words[0]}" is no command.' + (f' Did you mean "{guess}"?' if guess else ""),
        fix=f"Commands: {', '.join(COMMANDS)}. See `kontrast --help`.",
    )


def _no_option(name: str, typed: str) -> UsageError:
    """An option that the command does not have, with the nearest one that it has."""
    typed = typed.partition("=")[0]
    options = [option for argument in build_app()[name].assemble_argument_collection() for option in argument.names]
    # Without the dashes, which all share: with them any two short options are alike.
    names = [o.removeprefix("--") for o in [*options, "--json", "--debug", "--help"] if o.startswith("--")]
    guess = nearest(typed.lstrip("-"), names)
    return UsageError(
        f"{name} has no option {typed}." + (f" Did you mean --{guess}?" if guess else ""),
        fix=f"See `kontrast {name} --help`.",
    )


def _missing(name: str, missing: str, words: list[str]) -> UsageError:
    """An argument or an option's value that is not there; `--out` with what was typed, ready to be sent again."""
    if missing in words:
        return UsageError(f"{missing} stands without a value.", fix=f"Write one behind it: {usage(name)}")
    if missing == "--out":
        typed = shlex.join(["kontrast", *words, "--out", WRITES.get(name, "DIR")])
        return UsageError(
            f"{name} was not told where to write: --out is missing.",
            fix=f"Add it, with a name that does not exist yet: {typed}",
        )
    return UsageError(f"{name} needs {missing}, which is missing.", fix=f"Write: {usage(name)}")


_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "no value", Path: "a path", str: "text"}


def _kinds(hint: Any) -> list[str]:
    """What may stand for a value of a type: `a whole number`, a choice's words."""
    if isinstance(hint, str):
        return [hint]
    return [_KINDS[hint]] if hint in _KINDS else [kind for part in get_args(hint) for kind in _kinds(part)]


def _exactly(kind: Any, tokens: Any) -> Any:
    """Refuse `--epochs 2.5` where whole numbers are wanted, which the parser would round in silence, and `--lr inf`."""
    from cyclopts import CoercionError, convert

    kinds = _kinds(kind)
    for token in () if isinstance(tokens, dict) else tokens:
        rounded = "." in token.value and "a whole number" in kinds and "a number" not in kinds
        endless = token.value.lower().lstrip("+-") in ("inf", "infinity", "nan") and "a number" in kinds
        # `prepare "$FOLDER"` with FOLDER unset would read the folder where one is.
        if rounded or (endless and "text" not in kinds) or (not token.value and "a path" in kinds):
            raise CoercionError(token=token, target_type=kind)
    return convert(kind, tokens)


def _bear_any_text() -> None:
    """Print what the terminal's encoding lacks as `?`, and file names that are no UTF-8 as the bytes they are."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = codecs.lookup(stream.encoding).name == "utf-8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "replace")
