"""Lines that fit a terminal, and pass a pipe as they are."""

import io

import pytest

from kontrast import console

PATH = "path/that-may-not-be-parted/however-long-it-is/because.it.is.copied"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    stream = Terminal()
    console.configure(stream=stream)
    yield stream
    console.configure()


def test_long_lines_are_parted_between_words_on_a_terminal_alone(terminal):
    text = f"a word and a {PATH} and more"
    assert console.fitted(text, io.StringIO(), "  ") == "  " + text
    assert console.fitted(text, terminal, "  ").splitlines() == ["  a word and a", f"    {PATH}", "    and more"]
    command = "kontrast prepare xrays --layout folder --out packs/xrays"
    assert console.fitted(f"Write this: {command}", terminal).splitlines() == ["Write this:", f"  {command}"]
    assert console.fitted(text, terminal, "> ", "| ").splitlines() == ["> a word and a", f"| {PATH}", "| and more"]


def test_lines_that_fit_stay_as_they_are_and_commands_are_never_parted(terminal):
    console.say("a  b\n  c   d")
    console.say(f"  kontrast prepare {PATH} --out packs/a", whole=True)
    console.say("  one two three four five six seven eight nine ten eleven")
    console.decided("--size", 64, "a reason that goes on for longer than the line")
    assert terminal.getvalue().splitlines() == [
        "a  b",
        "  c   d",
        f"  kontrast prepare {PATH} --out packs/a",
        "  one two three four five six seven eight nine",
        "    ten eleven",
        "  --size = 64  (a reason that goes on for longer",
        "    than the line)",
    ]


def test_a_live_line_drops_whole_facts_that_have_no_room(terminal):
    line = console.Progress("pretrain moco", 10, "steps")
    line.update(10, loss=1.25, images="a text that has no room left in it")
    shown = terminal.getvalue().removeprefix("\r")
    assert len(shown) <= 79 and shown.rstrip().endswith("  loss 1.25")


def test_silence_spares_warnings_unless_asked(capsys):
    with console.silent():
        console.say("no")
        console.note("no")
        console.warn("heard")
    with console.silent(warnings=True):
        console.warn("no")
    console.say("again")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("again\n", "warning: heard\n")
