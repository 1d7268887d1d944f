"""Words in tables: what they mean, and tables that are none."""

import numpy as np
import pandas as pd
import pytest

from kontrast.data.label_words import finding_values, one_hot
from kontrast.data.words import age_values, read_table, sex_values, split_values, view_values
from kontrast.errors import DataError


def test_views():
    words = [
        "AP",
        "pa",
        "AP SUPINE",
        "ap_mobile",
        "Lateral",
        "LL",
        "antero-posterior",
        "Frontal",
        "apex",
        "",
        "LATERAL",
    ]
    expected = ["AP", "PA", "AP", "AP", "lateral", "lateral", "AP", "frontal", "", "", "lateral"]
    assert view_values(words) == expected


def test_sexes_and_parts():
    assert sex_values(["F", "male", "W", "O", "Unknown", ""]) == ["F", "M", "F", "", "", ""]
    assert split_values(["Train", "valid", "dev", "TEST", "1"]) == ["train", "val", "val", "test", ""]


def test_ages():
    found = age_values(["62", "62.0", "062Y", "018M", "026W", "411", "-3", "", "old"])
    assert np.allclose(found[:5], [62, 62, 62, 1.5, 26 * 7 / 365.25], atol=1e-9)
    assert np.isnan(found[5:]).all()


def test_findings_keep_blank_zero_and_uncertain_apart():
    found = finding_values(pd.Series(["1", "0.0", "-1.0", "", "True"], name="Edema"))
    assert np.array_equal(found, [1, 0, -1, np.nan, 1], equal_nan=True)
    with pytest.raises(DataError, match=r"'Edema'.* 1 of its 2 cells"):
        finding_values(pd.Series(["1", "3"], name="Edema"))


def test_one_hot():
    found = one_hot(pd.Series(["a|b", "b", "", "c"], name="x"))
    assert list(found) == ["a", "b", "c"]
    assert np.array_equal(found, [[1, 1, 0], [0, 1, 0], [np.nan] * 3, [0, 0, 1]], equal_nan=True)
    assert list(one_hot(pd.Series(["0", "2"], name="grade"))) == ["grade 0", "grade 2"]


def test_tables_keep_ids_as_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('\ufeffid; patient ;x\n007;1e3;NaN\n"a;b";None;1.0\n', encoding="utf-8")
    table = read_table(path)
    assert list(table) == ["id", "patient", "x"]
    assert table.to_numpy().tolist() == [["007", "1e3", ""], ["a;b", "", "1.0"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a table"),
        (b"a,b\n", "no rows"),
        (b"a,a\n1,2\n", "two columns named 'a'"),
        (b"\x89PNG\xff\xfe", "not a table"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: it has 3 cells, but the lines before it have 2"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, content, words):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / "t.csv")
    with pytest.raises(DataError, match="not a file"):
        read_table(tmp_path / "no.csv")
