"""Where a command runs: pipes that close, other locales, file names of any bytes, a home that cannot be written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.commands import CASES, problem, run, start


def test_a_reader_that_goes_away_ends_it_quietly(world, tmp_path):
    process = start(world.words("scan", tmp_path / "page.html"))
    assert process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGPIPE)
    assert "Traceback" not in err and "fault" not in err


@pytest.mark.parametrize("name", ["scan", "report"])
def test_another_locale_than_utf_8(name, world, tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    page = tmp_path / ("page" + CASES[name].suffix)
    process = start(world.words(name, page), **plain)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    out.encode("ascii")
    assert page.read_text(encoding="utf-8")


def test_file_names_that_are_no_utf_8(world, tmp_path):
    folder = os.fsencode(tmp_path) + b"/r\xf6ntgen"
    try:
        Path(os.fsdecode(folder)).mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    command = [sys.executable, "-m", "kontrast", *world.words("score", Path(os.fsdecode(folder)) / "out")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(folder + b"/out")


def test_a_home_without_a_key_that_cannot_be_written(world, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file where the home should be: no user can write below it")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KONTRAST_KEY")
    done = run(world.words("prepare", tmp_path / "pack"))
    said, fix = problem(done)
    assert done.code == 5 and "patient key" in said and "--key" in fix
    assert not (tmp_path / "pack").exists()
    (tmp_path / "key").write_text("ab" * 32)
    assert run([*world.words("prepare", tmp_path / "pack"), "--key", tmp_path / "key"]).code == 0
    for name in ("scan", "probe", "doctor"):  # these need no key
        assert run(world.words(name, tmp_path / (name + CASES[name].suffix))).code == 0
