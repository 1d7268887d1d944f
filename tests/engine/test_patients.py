"""Whose image is whose: numbers over Packs, groups of positives, partners drawn from them, refusals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import KEY
from kontrast.engine.patients import Groups, partner_groups, patient_numbers, settle_patients, training_patients
from kontrast.errors import UsageError


class People:
    """What patients.py needs of a Pack."""

    def __init__(self, patients, studies=None, *, known=True, key=KEY.id):
        studies = studies or [""] * len(patients)
        self.table = pd.DataFrame({"patient_id": patients, "study_id": studies}, dtype=str)
        self.patients_known, self.key_id = known, key

    def __len__(self):
        return len(self.table)


def _found(*packs):
    return [(pack, np.arange(len(pack))) for pack in packs]


def _partition(numbers):
    """Which positions share a number, whatever the numbers are."""
    return {frozenset(np.flatnonzero(numbers == n).tolist()) for n in numbers}


def test_equal_hashes_are_one_patient_under_one_key_only():
    a, b, other = People(["x", "y", "x"]), People(["y", "z"]), People(["x", "x"], key="another")
    numbers = patient_numbers(_found(a, b, other))
    assert numbers.dtype == np.int64 and numbers.min() >= 0
    assert _partition(numbers) == {frozenset({0, 2}), frozenset({1, 3}), frozenset({4}), frozenset({5, 6})}


def test_unknown_patients_are_each_their_own_even_where_ids_look_alike():
    known, unknown = People(["x", "y", "x"]), People(["x", "x"], known=False)
    numbers = patient_numbers(_found(known, unknown, unknown))
    assert _partition(numbers) == {frozenset({0, 2}), *(frozenset({i}) for i in (1, 3, 4, 5, 6))}
    assert patient_numbers(_found(unknown)) is None


def test_only_rows_that_train_have_partners():
    pack, rest = People(["x", "x", "y", "y", "x"]), People(["x", "y"])
    found = [(pack, np.array([0, 2, 4])), (rest, np.array([1]))]
    assert training_patients(found, patient_numbers(found)).tolist() == [0, 1, 0, 1]
    assert _partition(partner_groups(found, "patient")) == {frozenset({0, 2}), frozenset({1, 3})}


def test_a_study_never_joins_two_people_and_a_blank_one_nobody():
    pack = People(["x", "x", "x", "y", "y", "x"], ["1", "1", "2", "1", "", ""])
    assert _partition(partner_groups(_found(pack), "study")) == {
        frozenset({0, 1}),
        *map(frozenset, ([2], [3], [4], [5])),
    }
    assert partner_groups(_found(pack), "image") is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 2**32))
def test_a_partner_is_another_of_the_group_if_there_is_one(numbers, seed):
    numbers = np.array(numbers) * 1000
    index = np.random.default_rng(seed).permutation(len(numbers))[: len(numbers) // 2 + 1]
    partners = Groups(numbers).partners(index, np.random.default_rng(seed))
    for one, other in zip(index, partners, strict=True):
        assert numbers[one] == numbers[other]
        assert (one == other) == ((numbers == numbers[one]).sum() == 1)


def test_all_others_of_the_group_are_equally_likely():
    numbers = np.array([3, 1, 3, 3, 2, 1, 3, 3])
    rng, groups, draws = np.random.default_rng(0), Groups(numbers), 4000
    counts = np.zeros((8, 8))
    for _ in range(draws):
        counts[np.arange(8), groups.partners(np.arange(8), rng)] += 1
    same = (numbers[:, None] == numbers) & ~np.eye(8, dtype=bool)
    expected = draws * same / np.maximum(same.sum(1, keepdims=True), 1)
    expected[4, 4] = draws
    spread = np.sqrt(draws * 0.25 * 0.75)
    assert np.abs(counts - expected).max() < 4.5 * spread
    assert (counts[expected == 0] == 0).all()


@pytest.mark.parametrize(
    ("packs", "positives", "words"),
    [
        (
            [People(["a", "b"], known=False)],
            "patient",
            ["no Pack names its patients", "--positives image", "--column patient="],
        ),
        ([People(["a", "b"], known=False)], "study", ["no Pack names its patients", "--column patient="]),
        ([People(["a", "a", "b"])], "study", ["study ids", "--positives patient", "--column study="]),
        ([People(["a", "b", "c"])], "patient", ["no patient has two of the 3 training images", "--positives image"]),
        ([People(["a", "a", "b"], ["1", "2", "3"])], "study", ["no study has two", "--positives patient or image"]),
    ],
    ids=["unknown", "unknown, study", "no studies", "one image each", "one image a study"],
)
def test_what_cannot_be_paired_says_what_to_set(packs, positives, words):
    with pytest.raises(UsageError) as error:
        settle_patients(positives, "auto", _found(*packs))
    said = f"{error.value.problem} {error.value.fix}"
    assert positives in said and all(word in said for word in words), said


def test_decisions_are_said_with_how_many_they_concern(capsys):
    found = _found(People(["a", "a", "b", "c"], ["1", "1", "", ""]), People(["b", "d"]))
    assert settle_patients("study", "auto", found) == "mask"
    said = capsys.readouterr().out
    assert "--positives = study  (2 of 6 images have another of their study" in said
    assert "--same-patient-negatives = mask  (4 of 6 images have another of their patient" in said
    assert "different keys" not in said
    settle_patients("patient", None, _found(People(["a", "a"]), People(["a"], key="another")))
    assert "different keys" in capsys.readouterr().out
    assert settle_patients("image", "keep", found) == "keep" and settle_patients("image", None, found) is None
    assert capsys.readouterr().out == ""


def test_without_patients_nothing_is_masked_and_asking_for_it_is_refused(capsys):
    unknown = _found(People(["a", "b"], known=False))
    assert settle_patients("image", "auto", unknown) == "keep"
    assert "--same-patient-negatives = keep  (patients are not known" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--same-patient-negatives mask") as error:
        settle_patients("image", "mask", unknown)
    assert "--column patient=" in error.value.fix
