"""Label policies, cell by cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kontrast.data.labels import (
    PRESETS,
    TRAINING,
    UNCERTAIN,
    described,
    for_scoring,
    left_open,
    only,
    parse_uncertain,
    targets,
    untaught,
)
from kontrast.errors import UsageError

NAN = np.nan
FINDINGS = ("Edema", "Atelectasis", "Mass")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("policy", UNCERTAIN)
def test_an_exception_holds_in_scoring_before_its_preset_and_after(preset, policy):
    names = (*PRESETS[preset], "Mass")
    for exception in names:
        for spec in (f"{exception}={policy},{preset}", f"{preset},{exception}={policy}"):
            trained = parse_uncertain(spec, names)
            assert trained[exception] == policy
            scored = {name: "ignore" if word in TRAINING else word for name, word in trained.items()}
            assert parse_uncertain(for_scoring(spec, names), names) == scored


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


def test_chexperts_published_best_by_finding_and_exceptions_over_it():
    names = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion", "Fracture")
    # Irvin et al. 2019, table 3: U-Ones .858, U-MultiClass .854, U-SelfTrained .939, U-Ones .941, U-MultiClass .936
    best = ["ones", "multiclass", "selftrained", "ones", "multiclass", "zeros"]
    assert parse_uncertain("chexpert-best", names) == dict(zip(names, best, strict=True))
    assert parse_uncertain("chexpert-best, Edema=ignore", names)["Edema"] == "ignore"
    assert described("chexpert-best", names[3:]) == "chexpert-best (zeros, Edema=ones, Pleural Effusion=multiclass)"
    assert described("ones,Edema=soft", names) == "ones,Edema=soft"
    with pytest.raises(UsageError, match="of which there is none here"):
        parse_uncertain("chexpert-best", ("Mass",))
    with pytest.raises(UsageError, match="chexpert-best"):
        parse_uncertain("chexpert-bst", names)


def test_scores_ignore_what_only_training_can_use():
    assert for_scoring("soft", FINDINGS) == "ignore" and for_scoring("ones,Mass=zeros", FINDINGS) == "ones,Mass=zeros"
    assert for_scoring("multiclass, Mass=selftrained,Edema=ones", FINDINGS) == "ignore,Mass=ignore,Edema=ones"
    assert for_scoring("chexpert-best,Edema=soft", ("Edema", "Cardiomegaly")) == (
        "zeros,Cardiomegaly=ignore,Edema=ones,Edema=ignore"
    )
    assert for_scoring("zeros,Soft tissue=ones", ("Soft tissue",)) == "zeros,Soft tissue=ones"  # a name is no policy
    assert only("ones,Mass=zeros,Edema=ignore", ("Edema",)) == "ones,Edema=ignore" and only("Mass=ones", ()) == "zeros"
    for policy in ("multiclass", "selftrained"):
        with pytest.raises(UsageError, match="for training"):
            targets(np.zeros((1, 3)), FINDINGS, policy)


def test_cells_left_to_a_third_class_or_another_model_weigh_nothing():
    table = np.array([[1, -1, NAN], [-1, -1, -1], [0, 0, 1]], float)
    spec = "multiclass,Atelectasis=selftrained,Mass=ones"
    found, weights = targets(table, FINDINGS, spec, rng=np.random.default_rng(0))
    assert weights.tolist() == [[1, 0, 1], [0, 0, 1], [1, 1, 1]] and found[1, 2] == 1
    assert left_open(table, FINDINGS, spec, "multiclass").tolist() == [[False] * 3, [True, False, False], [False] * 3]
    assert left_open(table, FINDINGS, spec, "selftrained")[:, 1].tolist() == [True, True, False]
    assert untaught(spec, FINDINGS) == "Edema=multiclass,Atelectasis=ignore,Mass=ones"
