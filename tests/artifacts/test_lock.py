"""One writer at a time, also in the moment in which the lock's file goes away."""

import contextlib
import fcntl
import multiprocessing
import os

import pytest

from kontrast.artifacts import lock
from kontrast.artifacts.lock import locked
from kontrast.errors import OutputError


def test_one_who_had_opened_the_old_file_does_not_get_in_beside_the_next(tmp_path, monkeypatch):
    """A holds it; B opens the file; A ends, which deletes it; C takes a new one; only then does B ask for its lock."""
    first, third = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(locked(tmp_path))
    real = fcntl.flock

    def late(stream, how):
        monkeypatch.setattr(lock.fcntl, "flock", real)
        first.close()
        third.enter_context(locked(tmp_path))
        real(stream, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with third:
        with pytest.raises(OutputError, match="in use"), locked(tmp_path):
            pytest.fail("two are in")
        assert (tmp_path / ".lock").is_file()
    assert list(tmp_path.iterdir()) == []


def test_one_who_comes_just_after_the_end_gets_in(tmp_path, monkeypatch):
    first = contextlib.ExitStack()
    first.enter_context(locked(tmp_path))
    real = fcntl.flock

    def late(stream, how):
        monkeypatch.setattr(lock.fcntl, "flock", real)
        first.close()
        real(stream, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with locked(tmp_path), pytest.raises(OutputError, match="in use"), locked(tmp_path):
        pytest.fail("two are in")


def _go_in_and_out(folder, results):
    met = entered = 0
    while entered < 200:
        try:
            with locked(folder):
                entered += 1
                try:
                    os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    met += 1
                (folder / "inside").unlink(missing_ok=True)
        except OutputError:
            continue
    results.put(met)


def test_two_processes_never_meet(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    two = [context.Process(target=_go_in_and_out, args=(tmp_path, results)) for _ in range(2)]
    for process in two:
        process.start()
    assert [results.get(timeout=60) for _ in two] == [0, 0]
    for process in two:
        process.join()
