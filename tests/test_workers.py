"""Jobs in other processes: order, ends, deaths."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from kontrast.workers import WorkerDied, run


def double(number, wait=0.0):
    time.sleep(wait)
    return 2 * number


def die(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_the_order_of_the_jobs():
    jobs = [(i, 0.05 * (i % 2 == 0)) for i in range(8)]
    assert list(run(double, jobs, 2)) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_threads_of_this_process_keep_the_order_too():
    jobs = [(i, 0.05 * (i % 2 == 0)) for i in range(8)]
    assert list(run(double, jobs, 2, threads=True)) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert set(run(os.getpid, [()] * 4, 2, threads=True)) == {os.getpid()}


def test_a_death_is_told_apart_and_results_before_it_are_kept():
    got = []
    with pytest.raises(WorkerDied):
        got.extend(run(die, [(i,) for i in range(30)], 2))
    assert got in ([], [0], [0, 1], [0, 1, 2])


def test_given_up_it_says_nothing():
    results = run(double, [(i, 0.01) for i in range(100)], 2)
    assert next(results) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.close()


ORPHANS = """
import os, sys, time
from kontrast.workers import run
sys.path.insert(0, sys.argv[1])
from test_workers import double
results = run(double, [(i, 30.0 if i else 0.0) for i in range(4)], 2)
print(next(results), flush=True)
next(results)
"""


@pytest.mark.timeout(60)  # communicate() waits for every process that holds the pipe
def test_processes_end_after_the_one_that_they_work_for():
    here = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", ORPHANS, here], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"0\n"
    process.kill()
    begun = time.monotonic()
    process.communicate()
    assert time.monotonic() - begun < 20
