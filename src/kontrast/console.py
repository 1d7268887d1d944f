"""What a person sees while a command runs: lines, decisions with their reasons, warnings, a progress line.

Results go to standard output; with `--json` these lines move to standard error, so that standard output holds one
JSON object and nothing else. Nothing here may receive patient identifiers.
"""

import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 79
"""Columns of a live line: one less than those of the narrowest terminal in use, where a full line would scroll."""

_stream: TextIO | None = None
_quiet = False
_warns = True


def configure(*, stream: TextIO | None = None, quiet: bool = False) -> None:
    """Send lines to `stream` (None: standard output); `quiet` silences all but warnings."""
    global _stream, _quiet
    _stream, _quiet = stream, quiet


@contextmanager
def silent(*, warnings: bool = False) -> Iterator[None]:
    """Silence all but warnings while the block runs, or those too."""
    global _quiet, _warns
    before = _quiet, _warns
    _quiet, _warns = True, _warns and not warnings
    try:
        yield
    finally:
        _quiet, _warns = before


def _console() -> "Console":
    from rich.console import Console

    return Console(file=_stream or sys.stdout, highlight=False, soft_wrap=True)


def say(message: str = "", *, whole: bool = False) -> None:
    """A plain line, or several; `whole` keeps one that will be copied (a command) from being parted on a terminal."""
    if _quiet:
        return
    stream = _stream or sys.stdout
    for line in message.split("\n"):
        text = line.lstrip()
        print(line if whole else fitted(text, stream, line[: len(line) - len(text)]), file=stream, flush=True)


def decided(option: str, value: Any, reason: str) -> None:
    """Say what was chosen automatically, and why."""
    note(f"{option} = {value}  ({reason})")


def note(message: str, indent: str = "  ", more: str | None = None) -> None:
    """A line that may be long, behind an indent; `more` stands before what a terminal has no room for."""
    if not _quiet:
        stream = _stream or sys.stdout
        print(fitted(message, stream, indent, more), file=stream, flush=True)


def warn(message: str) -> None:
    """One line that should not be missed; always on standard error."""
    if _warns:
        print(fitted(f"warning: {message}", sys.stderr), file=sys.stderr, flush=True)


def fitted(text: str, stream: TextIO, indent: str = "", more: str | None = None) -> str:
    """`text` behind its indent; on a terminal parted between words, where the terminal would part them anywhere.

    Args:
        text: one line.
        stream: where it will be written.
        indent: before its first line.
        more: before each further one; two spaces more than `indent` when left out.
    """
    width = max(shutil.get_terminal_size().columns - 1, 40)
    if not stream.isatty() or len(indent + text) <= width:
        return indent + text
    more = indent + "  " if more is None else more
    # A command at the end will be copied: it gets a line, and only the terminal may break that.
    text = re.sub(r"(?<=: )kontrast .*$", lambda command: command[0].replace(" ", "\0"), text)
    lines = textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=more, break_long_words=False, break_on_hyphens=False
    )
    return lines.replace("\0", " ")


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A small table that fits 80 columns; the first column is text, the others are aligned right."""
    if _quiet:
        return
    from rich import box
    from rich.table import Table

    grid, console = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False), _console()
    # Where all does not fit, names are parted between their words, and not within the longest as rich would.
    longest = max((len(word) for row in rows for word in row[0].split()), default=0)
    needed = sum(max(map(len, column)) + 3 for column in zip(columns, *rows, strict=True))
    part = needed > console.width and longest < console.width // 3
    for index, name in enumerate(columns):
        grid.add_column(name, justify="right" if index else "left", overflow="fold", no_wrap=part and not index)
    for name, *cells in rows:
        grid.add_row(textwrap.fill(name, max(longest, 1)) if part else name, *cells)
    console.print(grid)


class Progress:
    """A line that says how far, how fast and how long: live on a terminal, a plain line now and then elsewhere."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0, every_s: float = 15.0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self._first = done, done
        self._start = self._shown = time.monotonic()
        self._every_s = every_s
        stream = _stream or sys.stdout
        self._live = stream.isatty() and not _quiet
        self._stream = stream
        self._width = 0

    def update(self, advance: int = 1, **fields: Any) -> None:
        """Move on by `advance` units; `fields` are short facts to show (`loss=4.21`)."""
        self.done += advance
        now = time.monotonic()
        if (self._live and (now - self._shown > 0.2 or self.done >= self.total)) or (
            not self._live and now - self._shown > self._every_s
        ):
            self._show(now, fields)

    def _show(self, now: float, fields: dict[str, Any]) -> None:
        self._shown = now
        rate = (self.done - self._first) / max(now - self._start, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        share = f"{100 * self.done / max(self.total, 1):3.0f} %"
        line = f"{self.title}  {share}  {self.done}/{self.total} {self.unit}  {rate:.3g}/s  ETA {clock(left)}"
        for name, value in fields.items():
            fact = f"  {name} {value}"
            if self._live and len(line + fact) > WIDTH:
                break
            line += fact
        if self._live:
            line = line[:WIDTH]
            print("\r" + line.ljust(self._width), end="", file=self._stream, flush=True)
            self._width = len(line)
        else:
            say(line)

    def close(self) -> None:
        """End the line."""
        if self._live and self._width:
            print(file=self._stream, flush=True)


@contextmanager
def progress(title: str, total: int, unit: str = "steps", done: int = 0) -> Iterator[Progress]:
    """A progress line for `total` units of which `done` are done already."""
    line = Progress(title, total, unit, done)
    try:
        yield line
    finally:
        line.close()


def clock(seconds: float) -> str:
    """Seconds as people read them: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds == float("inf"):
        return "?"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
