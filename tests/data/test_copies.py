"""Copies by bytes, against comparing every pair."""

from itertools import combinations

import numpy as np

from kontrast.data.copies import END, byte_copies


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
