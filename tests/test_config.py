"""A configuration's fields as values and as keywords; numbers with their nouns."""

import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest

from kontrast.config import from_dict, load_yaml, verb
from kontrast.errors import UsageError
from kontrast.types import Outcome, counted


@dataclass(frozen=True)
class Config:
    start: str = "random"
    classifier: Path | None = None
    labels: tuple[Path, ...] = ()


def test_an_outcome_stands_for_its_path_in_any_field():
    made = Outcome("probe", Path("some/folder"))
    for value in (made, Path("some/folder"), "some/folder"):
        config = from_dict(Config, {"start": value, "classifier": value, "labels": value})
        assert config == Config("some/folder", Path("some/folder"), (Path("some/folder"),))


@dataclass(frozen=True, kw_only=True)
class Options:
    encoder: str = "auto"
    """Which one."""
    epochs: int = 3
    """How often,
    in passes."""


@verb
def work(encoder: Path, /, *, out: Path, config: Options = Options(), dry_run: bool = False):
    """Work.

    Args:
        encoder: from where.
        out: to where.
        config: how.
        dry_run: only say it.
    """
    return encoder, out, config, dry_run


def test_a_verb_takes_and_shows_its_options_as_keywords():
    assert str(inspect.signature(work)).startswith(
        "(encoder_: pathlib.Path, /, *, out: pathlib.Path, encoder: str = 'a"
    )
    text = inspect.getdoc(work).splitlines()
    assert text[3:] == [
        "    encoder_: from where.",
        "    out: to where.",
        "    encoder: Which one.",
        "    epochs: How often, in passes.",
        "    dry_run: only say it.",
    ]
    assert work("a", out="b", encoder="c", epochs=5) == ("a", "b", Options(encoder="c", epochs=5), False)
    assert work("a", out="b", config=Options(epochs=7), encoder="c")[2] == Options(encoder="c", epochs=7)


@pytest.mark.parametrize(
    ("arguments", "keywords", "says"),
    [
        (("a",), {}, "missing a required argument: 'out'"),
        ((), {"out": "b"}, "missing a required argument: 'encoder'"),
        (("a", "b"), {"out": "b"}, "too many positional"),
        (("a",), {"out": "b", "epohcs": 1}, "Did you mean 'epochs'"),
        (("a",), {"out": "b", "epochs": "many"}, "epochs 'many' does not fit"),
        (("a",), {"out": "b", "epochs": float("inf")}, "epochs inf does not fit: it takes a number that has an end"),
    ],
)
def test_a_wrong_call_of_a_verb_is_a_usage_error(arguments, keywords, says):
    with pytest.raises(UsageError, match=says):
        work(*arguments, **keywords)


def test_a_list_stands_for_its_paths_where_any_number_may_stand():
    @verb
    def gather(first, /, *packs, out):
        return first, packs, out

    assert gather("a", ["b", "c"], "d", ("e",), out="o") == ("a", ("b", "c", "d", "e"), "o")
    assert gather("a", [], out="o") == ("a", (), "o")
    with pytest.raises(UsageError, match="missing a required argument: 'first'"):
        gather([], out="o")
    assert work(["a"], out="b")[0] == ["a"], "one path is not several"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "patient", "1 patient"), (0, "image", "0 images"), (2000, "study", "2,000 studies"), (1, "study", "1 study")],
)
def test_a_number_has_its_noun_in_the_right_number(number, noun, text):
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"pack: p\narms: [", "line 2 is not valid YAML: expected the node content"),
        (b"pack: \xf6", "not valid YAML: it is no text"),
        (b"- a", "should hold `name: value` lines"),
        (b"!!python/object/apply:os.system [ls]", "not valid YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_says_where(tmp_path, content, says):
    (tmp_path / "study.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        load_yaml(tmp_path / "study.yaml")
