"""A folder is new, resumed, found done, taken over where that is allowed, or refused; it is never overwritten."""

import json

import pytest

from kontrast.artifacts.card import CARD, CLAIM, Parent, write_card
from kontrast.artifacts.claims import claim, standing
from kontrast.errors import OutputError

ONE, OTHER = {"seed": 1, "paths": ("a", "b")}, {"seed": 2, "paths": ("a", "b")}
PACK = Parent("pack", "pack", "0" * 64)


def test_from_new_to_done(tmp_path):
    out = tmp_path / "above" / "out"
    assert standing(out) is None
    assert claim(out, "audit", config=ONE, parents=[PACK], dry_run=True).state == "new" and not out.exists()
    assert claim(out, "audit", config=ONE, parents=[PACK]).state == "new"
    assert claim(out, "audit", config=ONE, parents=[PACK]).state == "resume"
    assert standing(out) == ("resume", json.loads((out / CLAIM).read_text()))
    write_card(out, "audit", config=ONE, parents=[PACK])
    assert claim(out, "audit", config=ONE, parents=[PACK]).state == "done"
    assert standing(out) == ("done", json.loads((out / CARD).read_text())) and not (out / CLAIM).exists()


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("kind", "config", "parents", "says"),
    [
        ("export", ONE, [PACK], "an? (un)?finished audit, not an export"),
        ("audit", OTHER, [PACK], "seed was 1, is 2"),
        ("audit", {"paths": ["a", "b"]}, [PACK], "seed was 1, is left out"),
        ("audit", {"seed": {"a": {"b": 1}}}, [PACK], "seed was 1, is {'a': {'b': 1}}"),
        ("audit", ONE, [], "other inputs: not the same pack"),
    ],
)
def test_another_command_is_refused_and_changes_nothing(tmp_path, done, kind, config, parents, says):
    claim(tmp_path / "out", "audit", config=ONE, parents=[PACK])
    if done:
        write_card(tmp_path / "out", "audit", config=ONE, parents=[PACK])
    before = standing(tmp_path / "out")
    with pytest.raises(OutputError, match=says):
        claim(tmp_path / "out", kind, config=config, parents=parents)
    assert standing(tmp_path / "out") == before


def test_only_what_is_unfinished_can_be_taken_over_and_keeps_what_was_asked_before(tmp_path):
    out = tmp_path / "out"
    for seed in range(3):
        state = claim(out, "audit", config={"seed": seed}, allow_changes=True).state
        assert state == ("changed" if seed else "new")
    assert claim(out, "audit", config={"seed": 9}, allow_changes=True, dry_run=True).state == "changed"
    assert standing(out)[1]["config"] == {"seed": 2} and standing(out)[1]["earlier"] == [{"seed": 0}, {"seed": 1}]
    assert claim(out, "audit", config={"seed": 2}, allow_changes=True).state == "resume"
    with pytest.raises(OutputError, match="unfinished") as error:
        claim(out, "audit", config={"seed": 3}, allow_changes=False)
    assert "--allow-changes" in error.value.fix
    write_card(out, "audit", config={"seed": 2})
    with pytest.raises(OutputError, match="a finished audit made with other settings"):
        claim(out, "audit", config={"seed": 3}, allow_changes=True)


def test_what_is_no_folder_of_ours_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        claim(tmp_path / "file", "audit", config=ONE)
    with pytest.raises(OutputError, match="is not empty"):
        claim(tmp_path, "audit", config=ONE)
    half = tmp_path / "half"
    half.mkdir()
    (half / f".{CLAIM}.partial").write_text("{")  # a claim that was killed
    assert claim(half, "audit", config=ONE).state == "new"
    (half / CLAIM).write_text("[]")
    with pytest.raises(OutputError, match=f"damaged {CLAIM}"):
        standing(half)


@pytest.mark.parametrize("place", ["/proc/nowhere/out", "n" * 300])
def test_a_place_that_cannot_be_is_said(place, tmp_path):
    with pytest.raises(OutputError, match=r"cannot be written: (No such file|File name too long)"):
        claim(tmp_path / place, "audit", config=ONE)


def test_a_setting_within_another_is_named_by_its_path(tmp_path):
    before = {"arms": {"moco": {"start": "random", "epochs": 2}, "byol": {}}}
    claim(tmp_path / "s", "study", config=before)
    with pytest.raises(
        OutputError, match=r"settings: arms\.moco\.epochs was 2, is 3; arms\.byol was \{\}, is left out\."
    ):
        claim(tmp_path / "s", "study", config={"arms": {"moco": {"start": "random", "epochs": 3}}})
