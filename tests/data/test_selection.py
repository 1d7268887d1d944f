import numpy as np
import pandas as pd
import pytest

from kontrast.data.selection import keep_only, keep_views, limit_patients, split_rows
from kontrast.data.splits import assign
from kontrast.errors import DataError, LeakageError


def table(patients, split="", view=""):
    n = len(patients)
    return pd.DataFrame(
        {
            "source": [f"{i:04d}.png" for i in range(n)],
            "patient": patients,
            "split": split if isinstance(split, list) else [split] * n,
            "view": view if isinstance(view, list) else [view] * n,
            "Edema": 1.0,
        }
    )


def split_of(frame):
    return frame.groupby("patient")["split"].agg(set).map(lambda s: s.pop() if len(s) == 1 else s)


def test_views():
    frame = table(list("abcdef"), view=["AP", "PA", "lateral", "frontal", "", "AP"])
    assert list(keep_views(frame, "frontal")["patient"]) == ["a", "b", "d", "f"]
    assert list(keep_views(frame, "lateral")["patient"]) == ["c"]
    assert len(keep_views(frame, "all")) == 6
    with pytest.raises(DataError, match="none of 2 images is known to be lateral"):
        keep_views(table(["a", "b"], view=["AP", ""]), "lateral")


def test_patterns_of_paths():
    frame = table(list("abc")).assign(source=["x/1.png", "y/2.png", "y/z/patient77.png"])
    assert list(keep_only(frame, ["y/*"])["patient"]) == ["b", "c"]
    assert list(keep_only(frame, ["x/*", "*77.png"])["patient"]) == ["a", "c"]
    assert keep_only(frame, ()) is frame
    with pytest.raises(DataError, match="none of 3 images matches") as error:
        keep_only(frame[::-1], ["q/*"])
    assert "77" not in str(error.value)


def test_limit_takes_whole_patients_from_everywhere():
    frame = table([f"p{i // 4}" for i in range(400)])
    some = limit_patients(frame, 41, seed=0)
    assert len(some) == 44 and (some.groupby("patient").size() == 4).all()
    assert some["source"].is_monotonic_increasing and some["source"].iloc[-1] > "0200.png"
    assert limit_patients(frame, 41, 0).equals(some) and not limit_patients(frame, 41, 1).equals(some)
    assert set(limit_patients(frame, 21, 0)["patient"]) < set(some["patient"])
    assert limit_patients(frame, 10_000, 0).equals(frame)


def test_without_a_given_split_all_three_are_drawn_by_patient():
    frame, moved = split_rows(table([f"p{i // 3}" for i in range(3000)]), ("Edema",), 0, 0.1, 0.2)
    shares = split_of(frame).value_counts(normalize=True)
    assert set(shares.index) == {"train", "val", "test"} and len(moved) == 0
    assert abs(shares["test"] - 0.2) < 0.05 and abs(shares["val"] - 0.1) < 0.04


def test_without_labels_all_is_train():
    frame, _ = split_rows(table(["a", "b", "c"]), (), 0, 0.1, 0.1)
    assert set(frame["split"]) == {"train"}


def test_an_official_test_stays_and_val_comes_from_the_rest():
    given = ["test"] * 100 + [""] * 900
    frame, _ = split_rows(table([f"p{i}" for i in range(1000)], given), ("Edema",), 0, 0.1, 0.1)
    assert (frame["split"][:100] == "test").all() and set(frame["split"][100:]) == {"train", "val"}


def test_train_and_test_without_val_get_one():
    given = ["test"] * 100 + ["train"] * 900
    frame, _ = split_rows(table([f"p{i}" for i in range(1000)], given), ("Edema",), 0, 0.1, 0.1)
    assert (frame["split"][:100] == "test").all()
    assert 40 < (frame["split"] == "val").sum() < 160
    kept, _ = split_rows(table([f"p{i}" for i in range(1000)], given), ("Edema",), 0, 0.0, 0.1)
    assert list(kept["split"]) == given


@pytest.mark.parametrize("rest", ["", "train"])
def test_beside_a_given_part_the_other_has_the_share_that_was_asked_for(rest):
    # By the definition of the draw: a patient is held out where its hash, in [0, 1), lies at or above 1 - share.
    people = [f"p{i}" for i in range(1000)]
    frame, _ = split_rows(table(people, ["test"] * 100 + [rest] * 900), ("Edema",), 3, 0.2, 0.3)
    held = np.array([assign([p], 3, (0.8, 0.2, 0.0))[0] == "val" for p in people[100:]])
    assert ((frame["split"][100:] == "val") == held).all() and 0.16 < held.mean() < 0.24
    if rest == "":
        frame, _ = split_rows(table(people, ["val"] * 100 + [""] * 900), ("Edema",), 3, 0.3, 0.2)
        assert set(frame["split"][100:]) == {"train", "test"}
        assert ((frame["split"][100:] == "test") == held).all()


@pytest.mark.parametrize(
    ("given", "shares", "said"),
    [
        (["train"] * 3, (0.125, 0.1), "val and test = 12.5 % and 10 % OF train without val and test)"),
        (["train"] * 3, (0.1, 0.0), "val = 10 % OF train without val)"),
        (["train", "train", "test"], (0.07, 0.1), "val = 7 % OF train without val)"),
        (["train", "val", "test"], (0.1, 0.1), ""),
    ],
)
def test_what_is_drawn_from_train_is_said(given, shares, said, capsys):
    split_rows(table(list("abc"), given), ("Edema",), 0, *shares)
    assert " ".join(capsys.readouterr().out.split()) == said.replace("OF", "of train's patients (the source gives")


def test_all_three_given_stay():
    given = ["test", "train", "val", "train"]
    frame, _ = split_rows(table(list("abcd"), given), ("Edema",), 0, 0.1, 0.1)
    assert list(frame["split"]) == given


def test_shared_patients_are_refused_or_moved_to_train():
    given = ["train"] * 300 + ["test"] * 200
    frame = table([f"p{i}" for i in range(300)] + [f"p{i}" for i in range(100, 300)], given)
    frame = pd.concat([frame, table(["new"], "test").assign(source="x.png")], ignore_index=True)
    with pytest.raises(LeakageError, match="200 patients"):
        split_rows(frame, ("Edema",), 0, 0.1, 0.1)
    mended, moved = split_rows(frame, ("Edema",), 0, 0.1, 0.1, repair=True)
    assert len(moved) == 200 and set(moved["from"]) == {"test"} and set(moved["to"]) == {"train"}
    by_patient = split_of(mended)
    assert all(isinstance(s, str) for s in by_patient), "no patient in two splits"
    assert set(by_patient[[f"p{i}" for i in range(100, 300)]]) == {"train"} and by_patient["new"] == "test"
    assert (mended["split"] == "val").any()
