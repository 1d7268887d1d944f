"""Label policies, cell by cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kontrast.data.labels import parse_uncertain, targets
from kontrast.errors import UsageError

NAN = np.nan
FINDINGS = ("Edema", "Atelectasis", "Mass")


def test_parse():
    assert parse_uncertain("zeros", FINDINGS) == dict.fromkeys(FINDINGS, "zeros")
    assert parse_uncertain("ones, Edema=ignore", FINDINGS) == {"Edema": "ignore", "Atelectasis": "ones", "Mass": "ones"}
    assert parse_uncertain("Mass=soft", FINDINGS)["Edema"] == "zeros"


@pytest.mark.parametrize(
    ("spec", "words"), [("zeroes", "zeros"), ("zeros,Edma=ones", "Edema"), ("zeros,ones", "two policies")]
)
def test_wrong_specs_name_what_was_meant(spec, words):
    with pytest.raises(UsageError, match=words):
        parse_uncertain(spec, FINDINGS)


def test_every_policy_in_every_cell():
    table = np.array([[1, -1, NAN], [0, -1, -1], [-1, 1, 0]], float)
    for uncertain, value, weight in (("zeros", 0, 1), ("ones", 1, 1), ("ignore", 0, 0)):
        for blank in ("negative", "ignore"):
            found, weights = targets(table, FINDINGS, uncertain, blank)
            for place, cell in np.ndenumerate(table):
                if np.isnan(cell):
                    expected = (0, 0 if blank == "ignore" else 1)
                else:
                    expected = (value, weight) if cell == -1 else (cell, 1)
                assert (found[place], weights[place]) == expected
    assert found.dtype == weights.dtype == np.float32


def test_policies_by_finding():
    found, weights = targets(np.full((1, 3), -1.0), FINDINGS, "ones,Edema=ignore,Mass=zeros")
    assert found.tolist() == [[0, 1, 0]] and weights.tolist() == [[0, 1, 1]]


def test_soft_targets_are_uniform_and_not_for_scores():
    table = np.full((20000, 1), -1.0)
    found, weights = targets(table, ["Mass"], "soft", rng=np.random.default_rng(0))
    assert found.min() >= 0.55 and found.max() <= 0.85 and weights.all()
    assert abs(found.mean() - 0.7) < 0.003 and abs(found.var() - 0.3**2 / 12) < 2e-4
    with pytest.raises(UsageError, match="training"):
        targets(table, ["Mass"], "soft")


@given(
    arrays(np.float64, (6, 3), elements=st.sampled_from([1.0, 0.0, -1.0, NAN])),
    st.sampled_from(["zeros", "ones", "ignore"]),
)
def test_certain_cells_never_change_and_the_table_stays(table, uncertain):
    before = table.copy()
    found, weights = targets(table, FINDINGS, uncertain)
    certain = (table == 0) | (table == 1)
    assert np.array_equal(found[certain], table[certain]) and weights[certain].all()
    assert np.array_equal(table, before, equal_nan=True)
