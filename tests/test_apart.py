"""Work that crashes, hangs or takes all memory costs its own result, and is told by its kind."""

import mmap
import os
import resource
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from deeds import buffers, once, work
from kontrast.apart import SHARED, Apart, Ended, _packed, _unpacked, borrowed


def results(apart, *jobs):
    return list(apart.map(work, jobs))


@pytest.fixture
def apart():
    apart = Apart(memory=40 * 2**20, computing_s=1, wait_s=250.0)
    yield apart
    apart.close()


def test_results_keep_their_places_among_failures(apart):
    found = results(apart, ("", 1), ("SIGSEGV",), ("", 2), ("panic",), ("", 3), ("leave",), ("", 4), ("SIGKILL",))
    assert found[::2] == [1, 2, 3, 4]
    assert "(SIGSEGV: a fault in its decoder" in found[1].how and "(SIGKILL: too little memory?)" in found[7].how
    assert found[3] == Ended("unexpected Panic") and "exit code 3" in found[5].how
    assert results(apart, ("", 5)) == [5]


def test_hangs_end_by_time_of_computing_or_by_the_clock(apart):
    found = results(apart, ("compute",), ("", 1))
    assert found == [Ended("takes more than 1 s of computing to read"), 1]
    hasty = Apart(wait_s=0.5)
    assert results(hasty, ("sleep",), ("", 2)) == [Ended("gives no result within 0.5 s"), 2]
    hasty.close()


def test_memory_is_bounded_and_what_is_below_the_bound_goes(apart):
    bomb = zlib.compress(bytes(90 * 2**20), 1)
    found = results(apart, ("memory",), ("inflate", bomb), ("", 1))
    assert found == [Ended("needs more than 0.0391 GiB of memory to read")] * 2 + [1]
    wider = Apart(memory=150 * 2**20)
    assert results(wider, ("memory",)) == [60 * 2**20]
    wider.close()


def test_a_job_that_another_process_brought_down_is_tried_again(apart, tmp_path):
    mark = tmp_path / "mark"
    assert list(apart.map(once, [(mark,)])) == ["second"]


def test_what_is_large_comes_through_shared_memory_and_is_the_caller_s_own():
    wide = Apart(memory=4 * SHARED)
    first, second = wide.map(buffers, [(3, 0, SHARED // 2), (SHARED,)])  # the latter has no place beside the others
    assert [bytes(one[:3]) for one in first] == [b"\1" * 3, b"", b"\3" * 3] and len(first[2]) == SHARED // 2
    assert second == [b"\1" * SHARED]
    (third,) = wide.map(buffers, [(2, 5, 1)])
    third[0][0] = 9
    assert first[0] == b"\1" * 3 and third == [b"\x09\1", b"\2" * 5, b"\3"]
    wide.close()


def test_without_shared_memory_all_comes_through_the_pipe(monkeypatch):
    """As where files are limited in size, or the system knows no files in memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limited in (True, False):
        plain = Apart()
        if limited:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        else:
            monkeypatch.delattr(os, "memfd_create", raising=False)
        try:
            found = list(plain.map(buffers, [(3, 5000)]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert found == [[b"\1" * 3, b"\2" * 5000]] and plain._shared is None
        plain.close()


def test_shared_memory_is_filled_from_where_it_is_free():
    with mmap.mmap(-1, 100) as shared:
        (data, places), free = _packed(buffers(30, 60, 20), shared, 5)
        assert places == [(5, 35), (35, 95)] and free == 95 and shared[34:36] == b"\1\2" and len(data) < 100
        assert _unpacked(data, places, shared) == [b"\1" * 30, b"\2" * 60, b"\3" * 20]
        assert _packed([1, "two"], shared, free)[0][1] == []


def test_nothing_that_the_work_prints_is_shown(apart, capfd):
    assert results(apart, ("say",)) == [0]
    apart.close()
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_given_up_midway_no_answer_is_taken_for_another_s(apart):
    answers = apart.map(work, [("", i) for i in range(50)])
    assert next(answers) == 0
    answers.close()
    assert results(apart, ("", 99)) == [99]


def test_a_process_that_ended_by_itself_is_replaced(apart):
    results(apart, ("", 1))
    apart._process.kill()
    apart._process.wait()
    assert results(apart, ("", 2)) == [2]


def test_borrowed_ones_are_kept_and_never_shared():
    with borrowed() as one, borrowed() as two:
        assert one is not two
        (pid,) = one.map(os.getpid, [()])
    with borrowed() as two_again, borrowed() as one_again:
        assert {two_again, one_again} == {one, two}
        assert list(one.map(os.getpid, [()])) == [pid] != [os.getpid()]


ORPHAN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from kontrast.apart import Apart
from deeds import work
answers = Apart(computing_s=1).map(work, [("",), (sys.argv[2],)])
next(answers)
print(os.getpid(), flush=True)
next(answers)
"""


@pytest.mark.parametrize("how", ["", "compute"])
def test_the_process_ends_after_the_one_that_it_works_for(how):
    """Whose own end nobody foresees: it is killed. What hangs then ends with its time."""
    words = [sys.executable, "-c", ORPHAN, str(Path(__file__).parent), how]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("the system does not tell a process's children")
        (child,) = children.read_text().split() or [""]
        process.kill()
    deadline = time.monotonic() + 60
    while child and alive(int(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child or not alive(int(child))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except OSError:
        return False
