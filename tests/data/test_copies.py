"""Copies by bytes, against comparing every pair."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kontrast.data.copies import END, byte_copies, shared_files


def test_against_every_pair(tmp_path):
    rng = np.random.default_rng(0)
    middle = rng.bytes(3 * END)
    contents = [b"", b"", b"a", b"b", b"a", middle, middle[:END] + b"x" + middle[END + 1 :], middle, b"a"]
    names = [f"{i}.bin" for i in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    same = [
        (b, a)
        for a, b in combinations(names, 2)
        if (x := (tmp_path / a).read_bytes()) and x == (tmp_path / b).read_bytes()
    ]
    firsts = sorted(dict(reversed(same)).items())
    pairs, compared = byte_copies(tmp_path, [*names, "gone.bin"])
    assert pairs == firsts == [("4.bin", "2.bin"), ("7.bin", "5.bin"), ("8.bin", "2.bin")] and compared == 10
    assert byte_copies(tmp_path, names, seconds=-1) == ([], 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=12))
def test_patients_with_a_file_in_common_are_the_parts_of_a_graph(links):
    """Against SciPy's connected components; files 0 … 11 are of patients 0 … 5."""
    patient = {str(file): f"p{file // 2}" for file in range(12)}
    kin = shared_files([(str(a), str(b)) for a, b in links], patient)
    rows, columns = ([int(pair[i]) // 2 for pair in links] for i in (0, 1))
    _, part = connected_components(coo_matrix((np.ones(len(links)), (rows, columns)), shape=(6, 6)), directed=False)
    members = {i: [f"p{j}" for j in range(6) if part[j] == part[i]] for i in range(6)}
    assert kin == {f"p{i}": members[i][0] for i in range(6) if len(members[i]) > 1}


def test_files_too_large_to_be_read_are_not_compared(tmp_path, monkeypatch):
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_bytes(b"1" * (10 if name < "c" else 11))
    monkeypatch.setattr("kontrast.data.copies.MAX_BYTES", 10)
    assert byte_copies(tmp_path, ["a", "b", "c", "d"]) == ([("b", "a")], 2)
