"""Dataclass ⇄ keywords ⇄ YAML ⇄ command line, and the nearest neighbour of a wrong word.

A configuration is a frozen dataclass beside the code that it configures, with a docstring under each field that
`--help` and Python's `help()` show. This module only builds, checks and prints them; it knows none of them.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import math
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from kontrast.errors import UsageError

C = TypeVar("C")


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be, or None."""
    found = difflib.get_close_matches(word.lower(), {c.lower(): None for c in choices}, n=1, cutoff=0.5)
    return next((c for c in choices if found and c.lower() == found[0]), None)


def choose(word: str, choices: Iterable[str], what: str) -> str:
    """`word` if it is one of `choices`, else an error that names its nearest neighbour.

    Raises:
        UsageError: `word` is none of the choices.
    """
    options = list(choices)
    if word in options:
        return word
    guess = nearest(word, options)
    hint = f"Did you mean {guess!r}? " if guess else ""
    raise UsageError(f"{what} {word!r} is not known.", fix=f"{hint}Choose from: {', '.join(options)}.")


def flag(name: str) -> str:
    """The option as a user types it: `label_fraction` is `--label-fraction`."""
    return "--" + name.replace("_", "-")


def require(condition: bool, problem: str, fix: str) -> None:
    """Check a user's value.

    Raises:
        UsageError: the condition does not hold.
    """
    if not condition:
        raise UsageError(problem, fix=fix)


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values (paths as text, tuples as lists), for a card."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return to_dict(value)
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return value

    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_dict(cls: type[C], values: Mapping[str, Any], *, where: str = "") -> C:
    """Build a configuration from plain values, checking every name and type.

    Args:
        cls: a dataclass.
        values: field values; lists become tuples and text becomes paths where the fields say so.
        where: what the values came from, for the message (`study.yaml`).

    Raises:
        UsageError: a name that is no field, or a value of the wrong type.
    """
    from pydantic import TypeAdapter, ValidationError

    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    prefix = f"{where}: " if where else ""
    for name in values:
        if name not in names:
            guess = nearest(name, names)
            raise UsageError(
                f"{prefix}{name!r} is no option here.",
                fix=(f"Did you mean {guess!r}? " if guess else "") + f"Options: {', '.join(names)}.",
            )
    # The outcome of a command, or a Path, stands for its path wherever one may be named, also in fields of text.
    values = {n: os.fspath(v) if isinstance(v, os.PathLike) else v for n, v in values.items()}
    for name, value in values.items():
        require(
            not isinstance(value, float) or math.isfinite(value),
            f"{prefix}{name} {value} does not fit: it takes a number that has an end.",
            f"Set {flag(name)} to one, or leave it out.",
        )
    several = {f.name for f in dataclasses.fields(cls) if "tuple[" in str(f.type)}  # type: ignore[arg-type]
    # One value where several may stand: `labels="labels.csv"` is `labels=("labels.csv",)`.
    values = {
        n: (v,) if n in several and isinstance(v, (str, Path, int, float)) and not isinstance(v, bool) else v
        for n, v in values.items()
    }
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            names = _names_beside(cls, first["loc"])
            guess = nearest(str(first["loc"][-1]), names)
            raise UsageError(
                f"{prefix}{place} is no option here.",
                fix=(f"Did you mean {guess!r}? " if guess else "")
                + (f"Options: {', '.join(names)}." if names else "docs/few-labels.md explains every field."),
            ) from None
        allowed = first.get("ctx", {}).get("expected", "")
        guess = nearest(str(first["input"]), str(allowed).replace("'", "").replace(" or ", ", ").split(", "))
        raise UsageError(
            f"{prefix}{place} {first['input']!r} does not fit: {first['msg']}.",
            fix=(f"Did you mean {guess!r}? " if guess else "") + f"Set {flag(place)} to a value of that kind.",
        ) from None


def _names_beside(cls: Any, place: Iterable[Any]) -> list[str]:
    """The fields beside the last name of `place` (`arms`, `moco`, `methd`); none where no class stands there."""
    *above, _ = place
    for name in above:
        # A dictionary's values are of its second type, whatever their keys.
        cls = get_type_hints(cls).get(name) if dataclasses.is_dataclass(cls) else (*get_args(cls), None, None)[1]
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file, with the safe loader: nothing in it is ever executed.

    Raises:
        UsageError: the file is missing, no YAML, or no mapping.
    """
    import yaml

    if not path.is_file():
        raise UsageError(f"{path} is not a file.", fix="Name an existing YAML file.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is no text in UTF-8"
        raise UsageError(
            f"{path}{where} is not valid YAML: {problem}.", fix="Mend the file; see configs/ for examples."
        ) from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} should hold `name: value` lines.", fix="See configs/ for examples.")
    return values


def _config_parameter(function: Callable[..., Any]) -> tuple[str, type, Any] | None:
    for parameter in inspect.signature(inspect.unwrap(function)).parameters.values():
        annotation = parameter.annotation
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            return parameter.name, annotation, parameter.default
    return None


def check_options(function: Callable[..., Any], options: Mapping[str, Any], *, where: str = "") -> None:
    """Check options of a command without running it.

    Raises:
        UsageError: a name that is no option of it, or a value that does not fit.
    """
    found = _config_parameter(function)
    if found is not None:
        _, cls, default = found
        from_dict(cls, {f.name: getattr(default, f.name) for f in dataclasses.fields(cls)} | dict(options), where=where)


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a stage's function take its configuration's fields as flat keywords, as the command line does.

    `pretrain(pack, out="e", epochs=5)` is `pretrain(pack, out="e", config=PretrainConfig(epochs=5))`. Signature and
    docstring name the fields, so that `help()` shows them; the command line reads them from the wrapped function.
    Where any number of paths may stand, a list of them may too: `pretrain([a, b], …)` is `pretrain(a, b, …)`.

    Raises (when called):
        UsageError: a keyword that is neither an argument nor an option, with its nearest neighbour; or a missing one.
    """
    found = _config_parameter(function)
    signature = inspect.signature(function)
    flat = _flat(signature, found)
    names = [name.rstrip("_") for name in flat.parameters]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        if found is not None:
            name, cls, default = found
            fields = [f.name for f in dataclasses.fields(cls)]
            options = {k: keywords.pop(k) for k in list(keywords) if k in fields}
            if options:
                base = keywords.pop(name, default)
                keywords[name] = from_dict(cls, {f: getattr(base, f) for f in fields} | options)
        for key in keywords:
            if key not in names and key not in signature.parameters:
                guess = nearest(key, names)
                raise UsageError(
                    f"{function.__name__}() has no option {key!r}.",
                    fix=(f"Did you mean {guess!r}? " if guess else "") + f"Options: {', '.join(names)}.",
                )
        if any_number:
            args = tuple(one for given in args for one in (given if isinstance(given, (list, tuple)) else (given,)))
        try:
            signature.bind(*args, **keywords)
        except TypeError as error:
            raise UsageError(
                f"{function.__name__}(): {error}.", fix=f"See help(kontrast.{function.__name__})."
            ) from None
        return function(*args, **keywords)

    call.__signature__ = flat  # type: ignore[attr-defined]
    call.__doc__ = _described(function, flat, found)
    return call


def _flat(signature: inspect.Signature, found: tuple[str, type, Any] | None) -> inspect.Signature:
    """The signature with the configuration's fields as keywords in its place.

    A positional argument and an option may share a name (`finetune ENCODER … --encoder NAME`), parameters of one
    signature may not: there the argument, which no caller names, gets a final underscore.
    """
    if found is None:
        return signature
    name, cls, default = found
    fields = dataclasses.fields(cls)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name == name:
            parameters += [
                inspect.Parameter(f.name, parameter.kind, default=getattr(default, f.name), annotation=f.type)
                for f in fields
            ]
        elif parameter.name in {f.name for f in fields}:
            parameters.append(parameter.replace(name=f"{parameter.name}_"))
        else:
            parameters.append(parameter)
    return signature.replace(parameters=parameters)


def _described(function: Callable[..., Any], flat: inspect.Signature, found: tuple[str, type, Any] | None) -> str:
    """The docstring with the fields' texts in place of the configuration's line."""
    text = inspect.getdoc(function) or ""
    if found is None:
        return text
    name, cls, _ = found
    texts = field_texts(cls)
    lines = []
    for line in text.split("\n"):
        word, colon, rest = line.strip().partition(": ")
        if colon and word == name:
            lines += [f"    {field}: {about}" for field, about in texts.items()]
        elif colon and f"{word}_" in flat.parameters:
            lines.append(f"    {word}_: {rest}")
        else:
            lines.append(line)
    return "\n".join(lines)


def field_texts(cls: type) -> dict[str, str]:
    """What the docstring under each field of a dataclass says, or the help of a shared type (`options`)."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    texts = {
        f.name: part.help for f in dataclasses.fields(cls) for part in get_args(f.type) if getattr(part, "help", None)
    }
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return {f.name: texts[f.name] for f in dataclasses.fields(cls) if f.name in texts}
