"""What may be added to a study, and what may not: every cell from before has to be trained alike."""

import json

import pytest

from kontrast.artifacts.card import write_card
from kontrast.artifacts.claims import claim, standing
from kontrast.config import from_dict, to_dict
from kontrast.engine.enlarging import _grid, asked_before, enlarges, say_added
from kontrast.engine.grid import Study

BASE = {
    "pack": "p", "arms": {"random": {}, "moco": {"method": "moco", "pretrain": {"epochs": 2}}}, "protocols": ["probe"],
    "fractions": [0.1, 1.0], "seeds": [0, 1], "draws": 2, "pretrain": {"batch_size": 16},
}  # fmt: skip
SEARCH = {"search": {"probe": {"penalty": [0.1, 1.0]}}}


def plan(**changes) -> Study:
    return from_dict(Study, BASE | changes)


def held(study: Study) -> dict:
    """A card or a claim as it is read back."""
    return {"kind": "study", "config": json.loads(json.dumps(to_dict(study)))}


@pytest.mark.parametrize(
    "changes",
    [
        {"arms": BASE["arms"] | {"byol": {"method": "byol"}}},
        {"protocols": ["probe", "knn"]},
        {"arms": {"random": {}, "moco": {"method": "moco", "pretrain": {"epochs": 2}, "protocols": ["probe", "knn"]}}},
        {"fractions": [0.01, 0.1, 1.0]},
        {"seeds": [0, 1, 2]},
        {"seeds": [2, 0, 1]},
        {"draws": 3},
        {"draws": 3, "seeds": [0, 1, 2], "fractions": [0.1, 0.5, 1.0]},
    ],
)
def test_what_may_be_added(changes):
    assert enlarges(plan(**changes), held(plan()))
    assert not enlarges(plan(), held(plan(**changes))), "nothing is taken away"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seeds": [1, 0]},
        {"arms": {"random": {}, "byol": {"method": "byol"}}},
        {"arms": {"random": {}, "moco": {"method": "moco", "pretrain": {"epochs": 2}, "protocols": ["knn"]}}},
        {"arms": {"random": {}, "moco": {"method": "moco", "pretrain": {"epochs": 3}}}, "seeds": [0, 1, 2]},
        {"seeds": [0, 1, 2], "pretrain": {"batch_size": 32}},
        {"seeds": [0, 1, 2], "replicates": 50},
        {"seeds": [0, 1, 2], "baseline": "moco"},
        {"seeds": [0, 2]},
        {"draws": None},
    ],
)
def test_what_is_no_addition(changes):
    assert not enlarges(plan(**changes), held(plan()))


def test_a_search_is_never_moved_to_another_run():
    before = held(plan(**SEARCH))
    assert enlarges(plan(**SEARCH, seeds=[0, 1, 2]), before)
    assert not enlarges(plan(**SEARCH, seeds=[2, 0, 1]), before), "the options are searched in the first seed's run"


def test_what_is_no_study_or_cannot_be_read_is_not_added_to():
    larger = plan(seeds=[0, 1, 2])
    assert not enlarges(larger, held(plan()) | {"kind": "audit"})
    assert not enlarges(larger, {"kind": "study", "config": held(plan())["config"] | {"of_another_version": 1}})


def test_the_record_says_what_was_asked_before_and_whether_it_was_finished(tmp_path):
    out = tmp_path / "s"
    assert asked_before(out) == []
    configs = [held(plan(seeds=list(range(n))))["config"] for n in (1, 2, 3)]
    claim(out, "study", config=configs[0])
    assert asked_before(out) == []
    claim(out, "study", config=configs[1], allow_changes=True)
    assert standing(out)[1]["earlier"] == [configs[0]]
    claim(out, "study", config=configs[1])  # the same again
    grid = {"arms": ["random", "moco"], "protocols": ["probe"], "fractions": [0.1, 1.0], "seeds": [0], "draws": 2}
    first = grid | {"finished": False}
    assert asked_before(out) == [first]
    write_card(out, "study", config=configs[1], content={"earlier": asked_before(out)})
    assert asked_before(out) == [first, grid | {"seeds": [0, 1], "finished": True}]


def test_what_is_added_is_said(capsys):
    say_added(plan(arms=BASE["arms"] | {"byol": {}}, seeds=[0, 1, 2, 3], draws=3), held(plan())["config"])
    said = " ".join(capsys.readouterr().out.split())
    # of 4 seeds × 3 arms × (3 draws of a tenth + 1), 2 × 2 × (2 + 1) were asked for
    assert "arms byol; seeds 2, 3; draws 2 to 3; 36 trainings more." in said
    arms = BASE["arms"] | {"random": {"protocols": ["probe", "full"]}}
    say_added(plan(arms=arms), held(plan())["config"])
    assert "before: full for random; 6 trainings more." in " ".join(capsys.readouterr().out.split())
    assert _grid(held(plan(arms=arms))["config"])["arms"] == ["random (probe, full)", "moco"]
