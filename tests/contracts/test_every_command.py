"""What holds for every command: help, neighbours, dry runs, JSON, again is done, nothing overwritten, Python alike."""

import dataclasses
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import kontrast
from contracts.commands import CASES, problem, run, tree
from kontrast.artifacts.card import read_card
from kontrast.cli import build_app, usage
from kontrast.config import _config_parameter, flag
from kontrast.errors import KontrastError
from kontrast.types import Outcome

RUN = [name for name in CASES if name != "demo"]  # minutes; `make demo` and its own test run it
WRITES = [name for name in RUN if CASES[name].out is not None]
ARTIFACTS = [name for name in WRITES if not CASES[name].suffix]
DRAWS_NOTHING = {"scan", "pack", "report", "doctor"}


def options_of(name):
    """Option → default, as the Python function takes them."""
    function = getattr(kontrast, name)
    found = _config_parameter(function)
    options = {}
    for parameter in inspect.signature(function).parameters.values():
        if found is not None and parameter.name == found[0]:
            options |= {f.name: getattr(found[2], f.name) for f in dataclasses.fields(found[1])}
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            options[parameter.name] = parameter.default
    return options


def arguments_of(name):
    """The command line's options: name → cyclopts' argument."""
    arguments = build_app()[name].assemble_argument_collection()
    return {a.names[0]: a for a in arguments if a.names and a.names[0].startswith("--")}


def test_no_command_is_forgotten():
    assert list(CASES) == list(kontrast.COMMANDS)


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_and_python_have_the_same_names_and_defaults(name):
    ours = {flag(option): default for option, default in options_of(name).items()}
    theirs = arguments_of(name)
    assert set(theirs) == set(ours)
    for option, argument in theirs.items():
        default = argument.field_info.default
        assert default == ours[option] or (default is inspect.Parameter.empty and ours[option] in (default, ())), option


@pytest.mark.parametrize("name", CASES)
def test_help_explains_every_option(name):
    done = run([name, "--help"])
    assert (done.code, done.err) == (0, "")
    rows = re.split(r"\n(?=[│|] (?:[* ] +)?-)", done.out)
    for option in arguments_of(name):
        row = next((row for row in rows if re.match(rf"[│|] (?:[* ] +)?{option}\b", row)), "")
        text = re.sub(r"(?s)[│╰╯─]|--?[\w-]+|\b[A-Z]+\b|\[(choices|default|required).*?\]", "", row)
        assert text.split(), f"{name} {option} is not explained"


@pytest.mark.parametrize("name", CASES)
def test_help_shows_how_to_call_it_and_what_every_command_takes(name):
    said = " ".join(run([name, "--help"]).out.split())
    assert said.startswith(f"Usage: {usage(name)} ")
    assert "--json" in said and "--debug" in said


@pytest.mark.parametrize("name", CASES)
def test_python_s_help_names_every_option_with_its_text(name):
    function = getattr(kontrast, name)
    parameters = inspect.signature(function).parameters
    text = inspect.getdoc(function)
    for option, argument in arguments_of(name).items():
        python = option[2:].replace("-", "_")
        assert parameters[python].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[python].default == argument.field_info.default
        assert re.search(rf"^    {python}: \S", text, re.M), python


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_a_json_object_too(name, world, tmp_path):
    for words, code in (
        ([*world.words(name, tmp_path / "out"), "--no-such-option", "--json"], 2),
        ([name, "--json", "too", "many", "words", "by", "far"], 2),
    ):
        done = run(words)
        (line,) = done.out.splitlines()
        said = json.loads(line)
        head, fix = problem(done)
        assert done.code == said["exit_code"] == code and said["status"] == "failed" and said["verb"] == name
        assert (said["error"], said["fix"]) == (head, fix.strip())


@pytest.mark.parametrize("name", [name for name in RUN if {"src", "pack", "truth", "study"} & set(CASES[name].inputs)])
def test_an_error_of_the_work_itself_is_a_json_object_too(name, world, tmp_path):
    gone = dict.fromkeys(("src", "pack", "truth", "study"), tmp_path / "gone")
    done = run([*world.words(name, tmp_path / "out", **gone), "--json"])
    said = json.loads(done.out)
    assert said["exit_code"] == done.code and str(tmp_path / "gone") in said["error"] and said["fix"]


def test_ctrl_c_and_a_fault_are_json_objects_too(world, monkeypatch):
    words = ["scan", str(world.paths["src"]), "--json"]
    monkeypatch.setattr("kontrast.data.survey.look", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    said = json.loads(run(words).out)
    assert said["exit_code"] == 130 and "nothing was written" in said["error"]
    monkeypatch.setattr("kontrast.data.survey.look", lambda *_, **__: {}["Mueller^Hans"])
    done = run(words)
    assert json.loads(done.out)["exit_code"] == 1 and "KeyError" in json.loads(done.out)["error"]
    assert "Mueller" not in done.out + done.err


@pytest.mark.parametrize("name", [name for name in RUN if CASES[name].out == "out"])
def test_a_missing_out_is_said_with_the_words_to_send_again(name, world, tmp_path):
    words = world.words(name, tmp_path / "out")
    at = words.index("--out")
    head, fix = problem(run(words[:at]))
    assert head == f"{name} was not told where to write: --out is missing."
    assert f"kontrast {shlex.join(words[:at])} --out " in fix
    head, fix = problem(run(words[: at + 1]))
    assert head == "--out stands without a value." and "--out " in fix


@pytest.mark.parametrize("name", CASES)
def test_a_number_with_a_point_is_never_rounded_in_silence(name, world, tmp_path):
    for option, argument in arguments_of(name).items():
        kinds = {argument.hint, *get_args(argument.hint)}
        if int in kinds and float not in kinds:
            done = run([*world.words(name, tmp_path / "out"), option, "2.5"])
            said = problem(done)[0]
            assert done.code == 2 and ("2.5 does not fit: it takes a whole number" in said or "more than once" in said)


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_option_names_its_neighbour(name, world, tmp_path):
    option = max(arguments_of(name), key=len)
    typo = option[:-3] + option[-2:]
    done = run([*world.words(name, tmp_path / "out"), typo, "1"])
    assert done.code == 2 and option in problem(done)[0]
    with pytest.raises((KontrastError, TypeError)) as error:
        world.call(name, tmp_path / "out", **{typo[2:].replace("-", "_"): 1})
    assert option[2:].replace("-", "_") in str(error.value)
    assert tree(tmp_path).keys() == {str(tmp_path)}


@pytest.mark.parametrize("name", kontrast.COMMANDS)
def test_a_wrong_command_names_its_neighbour(name):
    done = run([name[0] + name[1:].replace(name[2], name[2] * 2, 1)])
    assert done.code == 2 and f'"{name}"' in problem(done)[0]


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("demo", "doctor")])  # these need none
def test_a_missing_argument_is_named(name):
    done = run([name])
    assert done.code == 2 and problem(done)


@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_writes_nothing_and_says_what_would_be_done(name, world, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KONTRAST_KEY")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path, world.root)
    out = tmp_path / ("out" + CASES[name].suffix)
    done = run([*world.words(name, out), "--dry-run"])
    assert done.code == 0, done.err
    assert done.out.strip()
    as_json = run([*world.words(name, out), "--dry-run", "--json"])
    assert json.loads(as_json.out)["status"] == "planned"
    assert world.call(name, out, dry_run=True).status == "planned"
    assert tree(tmp_path, world.root) == before


@pytest.mark.parametrize("name", RUN)
def test_json_is_one_object_on_standard_output(name, ran):
    out, done = ran(name)
    assert done.code == 0, done.err
    (line,) = done.out.splitlines()
    said = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (said["verb"], said["status"]) == (name, "done")
    assert said["out"] == (str(out) if CASES[name].out is not None else said["out"])
    assert len(said) > 3, "the summary is empty"
    assert "[" not in done.err or "\x1b[" not in done.err


@pytest.mark.parametrize("name", ARTIFACTS)
def test_it_leaves_a_finished_artifact_and_nothing_else(name, ran):
    out, _ = ran(name)
    card = read_card(out)
    left = {p.name for p in out.iterdir() if p.name.startswith(".") or p.name == "run.json" or "checkpoint" in p.name}
    assert not left
    assert set(card.files) <= {str(p.relative_to(out)) for p in out.rglob("*")}


@pytest.mark.parametrize("name", [name for name in WRITES if name != "scan"])
def test_again_it_is_done_and_no_file_is_touched(name, ran, world):
    out, first = ran(name)
    before = tree(out if out.is_dir() else out.parent, world.root)
    again = run([*world.words(name, out), "--json"])
    assert again.code == 0, again.err
    said, earlier = json.loads(again.out), json.loads(first.out)
    assert (said["status"], said["out"]) == ("already done", str(out))
    plain = run(world.words(name, out))
    assert plain.code == 0 and plain.out.rstrip().endswith(str(out)) and "already" in plain.out
    # Outcomes stand for their paths, so one command's is the next one's input.
    called = world.call(name, out, wrap=lambda path: Outcome("made before", path))
    assert called.status == "already done" and Path(called) == out
    assert tree(out if out.is_dir() else out.parent, world.root) == before
    timing = {"images_per_s", "seconds", "bytes", "status"}
    assert {k: v for k, v in said.items() if k not in timing} == {k: v for k, v in earlier.items() if k not in timing}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_folder_with_something_else_is_refused_and_kept(name, world, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("to a friend")
    (tmp_path / "file").write_text("mine")
    other = world.paths["evaluation" if name not in ("evaluate", "score") else "classifier"]
    before = tree(tmp_path, world.root)
    for out, says in ((tmp_path / "mine", "not empty"), (tmp_path / "file", "is a file"), (other, "not a")):
        for extra in ([], ["--dry-run"]):
            done = run([*world.words(name, out), *extra])
            said = problem(done)[0]
            assert done.code == 5 and says in said and str(out) in said, said
    assert tree(tmp_path, world.root) == before


@pytest.mark.parametrize("name", ["scan", "report"])
def test_a_file_of_somebody_else_is_refused_and_kept(name, world, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<p>mine</p>")
    before = tree(tmp_path, world.root)
    done = run(world.words(name, page))
    assert done.code == 5 and str(page) in problem(done)[0]
    assert tree(tmp_path, world.root) == before


@pytest.mark.parametrize("name", [name for name in ARTIFACTS if name != "study"])
def test_other_settings_are_refused_and_named(name, ran, world):
    out, _ = ran(name)
    before = tree(out)
    done = run([*world.words(name, out), "--seed", "5"])
    assert done.code == 5 and "seed was 0, is 5" in problem(done)[0]
    assert tree(out) == before


@pytest.mark.parametrize("name", CASES)
def test_every_command_that_draws_takes_a_seed(name):
    assert ("--seed" in arguments_of(name)) == (name not in DRAWS_NOTHING)


@pytest.mark.parametrize("name", [name for name in RUN if CASES[name].inputs])
def test_a_missing_input_is_named_with_its_fix(name, world, tmp_path):
    gone = tmp_path / "no such thing"
    for position, word in enumerate(CASES[name].inputs):
        if word not in world.paths:
            continue
        words = world.words(name, tmp_path / ("out" + CASES[name].suffix), **{word: gone})
        done = run(words)
        said = problem(done)[0]
        assert done.code in (2, 3, 4) and str(gone) in said, (position, said)
        assert "Traceback" in run([*words, "--debug"]).err
    assert tree(tmp_path).keys() == {str(tmp_path)}


@pytest.mark.parametrize("name", [name for name in RUN if {"pack", "encoder", "classifier"} & set(CASES[name].inputs)])
def test_an_artifact_of_another_kind_is_named(name, world, tmp_path):
    for word in {"pack", "encoder", "classifier"} & set(CASES[name].inputs):
        other = world.paths["evaluation"]
        done = run(world.words(name, tmp_path / "out", **{word: other}))
        said = problem(done)[0]
        assert done.code == 4 and str(other) in said and "it is an evaluation" in said, said
    assert tree(tmp_path).keys() == {str(tmp_path)}


def test_the_module_runs_as_the_command_does(world, tmp_path):
    words = world.words("score", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "kontrast", *words, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "done"
    bad = subprocess.run([sys.executable, "-m", "kontrast", "scroe"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2 and 'Did you mean "score"' in bad.stderr and not bad.stdout
