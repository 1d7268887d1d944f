"""Arrays and tables as others read them; a full disk never passes unseen."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from kontrast.artifacts.files import cell, write_csv, write_npy, write_planes

FULL = """
import resource, sys, numpy as np
from pathlib import Path
from kontrast.artifacts.files import write_npy
from kontrast.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
for n in (4900, 5000, 7168, 100_000):  # NumPy's tofile loses the end of all of these, and says nothing of some
    try:
        write_npy(Path(sys.argv[1]) / "a.npy", np.ones(n, np.uint8))
    except OutputError:
        continue
    sys.exit(f"{n} bytes were lost")
write_npy(Path(sys.argv[1]) / "a.npy", np.ones(4000, np.uint8))
"""


def test_a_full_disk_never_cuts_an_array_short_in_silence(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"] and np.load(tmp_path / "a.npy").sum() == 4000


@pytest.mark.parametrize(
    "array", [np.zeros((0, 3, 3), np.uint8), np.arange(6.0).reshape(2, 3).T, np.uint16([[1], [2]])]
)
def test_arrays_are_written_as_numpy_reads_them(tmp_path, array):
    write_npy(tmp_path / "a.npy", array)
    read = np.load(tmp_path / "a.npy", mmap_mode="r" if array.size else None)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype and read.flags.c_contiguous


def test_planes_are_an_ordinary_array(tmp_path):
    planes = {1: np.eye(4, dtype=bool), 3: np.ones((4, 4), bool)}
    write_planes(tmp_path / "m.npy", planes, 5, 4)
    expected = np.zeros((5, 4, 4), np.uint8)
    expected[1], expected[3] = np.eye(4), 1
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (np.nan, ""), (59.0, "59"), (np.float64(-1), "-1"), (0.5, "0.5"), (7, "7"), ("", ""), ("007", "007")],
)
def test_whole_numbers_have_no_point_and_nothing_is_blank(value, text):
    assert cell(value) == text


def test_a_table_comes_back_as_it_was(tmp_path):
    rows = [["a,b", 'say "x"'], ["two\nlines", "\udcf6"]]  # the last: a file name that is no UTF-8
    write_csv(tmp_path / "t.csv", ["one", "two"], rows)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        assert list(csv.reader(stream)) == [["one", "two"], *rows]
