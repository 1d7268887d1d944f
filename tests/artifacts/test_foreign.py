import json

import numpy as np
import pandas as pd
import pytest

from kontrast.artifacts.foreign import match, read_thresholds
from kontrast.errors import DataError, UsageError


def write(folder, predictions: dict, truth: dict):
    for name, columns in (("p.csv", predictions), ("t.csv", truth)):
        pd.DataFrame(columns).to_csv(folder / name, index=False)
    return folder / "p.csv", folder / "t.csv"


IDS = ["a", "b", "c", "d"]


def test_rows_and_columns_may_stand_in_any_order(tmp_path) -> None:
    paths = write(
        tmp_path,
        {"Edema": [0.4, 0.3, 0.2, 0.1], "study": IDS[::-1], "Extra": [1, 2, 3, 4], "Fracture": [4, 3, 2, 1]},
        {"Study": IDS, "Fracture": [0, 1, -1, None], "Age": [1, 2, 3, 4], "Edema": [1, 0, 1, 0], "Pneumonia": [0] * 4},
    )
    found = match(*paths)
    assert found.findings == ("Fracture", "Edema")
    assert np.array_equal(found.scores, [[1, 0.1], [2, 0.2], [3, 0.3], [4, 0.4]])
    assert found.truth["Fracture"].tolist()[:3] == [0, 1, -1] and np.isnan(found.truth["Fracture"][3])
    assert found.truth["age"].tolist() == ["1", "2", "3", "4"] and not found.patients_known
    text = " ".join(found.notes)
    assert "no predictions for Pneumonia" in text and "outside 0 to 1 for Fracture" in text
    assert "rows are resampled" in text


@pytest.mark.parametrize(
    ("predictions", "truth", "message"),
    [
        ({"id": ["x", "y"], "A": [1, 2]}, {"id": ["a", "b"], "A": [1, 0]}, "none in common"),
        ({"id": ["a"], "A": [1]}, {"id": ["a", "b"], "A": [1, 0]}, "1 of the 2 cases of .* no prediction"),
        ({"id": ["a", "a"], "A": [1, 2]}, {"id": ["a", "b"], "A": [1, 0]}, "1 of its 2 cases more than once"),
        ({"id": ["a", "b"], "A": [1, 2]}, {"id": ["b", "b"], "A": [1, 0]}, "more than once"),
        ({"id": ["a", "b"], "B": [1, 2]}, {"id": ["a", "b"], "A": [1, 0]}, "no finding in common"),
        ({"id": ["a", "b"], "A": ["high", 2]}, {"id": ["a", "b"], "A": [1, 0]}, "1 of 2 are blank or none"),
        ({"id": ["a", "b"], "A": [None, 2]}, {"id": ["a", "b"], "A": [1, 0]}, "1 of 2 are blank or none"),
        ({"id": ["a", "b"], "A": ["nan", 2]}, {"id": ["a", "b"], "A": [1, 0]}, "1 of 2 are blank or none"),
        ({"id": ["a", "b"], "A": [1, 2]}, {"id": ["a", "b"], "A": [3, 0]}, "should hold 1, 0, -1 or blank"),
        ({"id": ["a", "b"], "A": [1, 2]}, {"id": ["a", "b"], "A": ["yes", 0]}, "should hold 1, 0, -1 or blank"),
        ({"case": ["a", "b"], "A": [1, 2]}, {"nr": ["a", "b"], "A": [1, 0]}, "no id column in common"),
        ({"id": [], "A": []}, {"id": ["a", "b"], "A": [1, 0]}, "header but no rows"),
    ],
)
def test_bad_tables_are_refused_in_words(tmp_path, predictions: dict, truth: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        match(*write(tmp_path, predictions, truth))


def test_bad_files_are_refused_in_words(tmp_path) -> None:
    good, _ = write(tmp_path, {"id": IDS, "A": [0] * 4}, {"id": IDS, "A": [0] * 4})
    with pytest.raises(DataError, match="not a file"):
        match(tmp_path / "none.csv", good)
    for name, content in (("e.csv", b""), ("b.csv", b"\xff\xfe\x00\x01"), ("r.csv", b"id,A\n1,2,3\n4,5,6,7\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError):
            match(tmp_path / name, good)
    (tmp_path / "two.csv").write_text("id,A,A\na,1,2\n")
    with pytest.raises(DataError, match="two columns named 'A'"):
        match(tmp_path / "two.csv", good)


def test_short_rows_are_missing_scores(tmp_path) -> None:
    _, truth = write(tmp_path, {"id": IDS, "A": [0] * 4}, {"id": IDS, "A": [0] * 4})
    (tmp_path / "short.csv").write_text("id,A\na,1\nb\nc,1\nd,1\n")
    with pytest.raises(DataError, match="1 of 4 are blank"):
        match(tmp_path / "short.csv", truth)


def test_ids_never_enter_a_message(tmp_path) -> None:
    secret = ["SMITH^JOHN", "DOE^JANE"]
    for ids in (["x", "y"], secret[:1], [secret[0]] * 2):
        with pytest.raises(DataError) as error:
            match(*write(tmp_path, {"id": ids, "A": [1] * len(ids)}, {"id": secret, "A": [0, 1]}))
        assert "SMITH" not in str(error.value) and "DOE" not in str(error.value)


def test_named_columns_are_used_or_refused_with_a_neighbour(tmp_path) -> None:
    paths = write(
        tmp_path,
        {"case": IDS, "id": [0] * 4, "A": [1, 2, 3, 4]},
        {"case": IDS, "id": [0] * 4, "A": [0, 1, 0, 1], "person": ["p", "p", "", "q"]},
    )
    found = match(*paths, id_column="case", patient="person")
    assert found.patients_known and found.truth["patient_id"].tolist() == ["p", "p", "row of c", "q"]
    assert found.findings == ("A",) and "1 rows without 'person'" in " ".join(found.notes)
    with pytest.raises(UsageError, match="Did you mean 'case'"):
        match(*paths, id_column="cas")
    with pytest.raises(UsageError, match="Did you mean 'person'"):
        match(*paths, id_column="case", patient="persons")


def test_chexpert_s_ids_name_the_patient(tmp_path) -> None:
    ids = [f"CheXpert-v1.0/test/patient{p}/study{s}" for p in (1, 2) for s in (1, 2)]
    found = match(*write(tmp_path, {"Study": ids, "A": [1, 2, 3, 4]}, {"Study": ids, "A": [0, 1, 0, 1]}))
    assert found.truth["patient_id"].tolist() == ["patient1", "patient1", "patient2", "patient2"]
    assert found.patients_known


def test_predictions_without_truth_are_left_out_and_said(tmp_path) -> None:
    found = match(*write(tmp_path, {"id": [*IDS, "e"], "A": range(5)}, {"id": IDS, "A": [0, 1, 0, 1]}))
    assert len(found.scores) == 4 and "1 predictions have no truth" in " ".join(found.notes)


def test_thresholds_from_json_csv_and_classifier(tmp_path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"A": 0.3, "Z": 0.9}))
    (tmp_path / "t.csv").write_text("finding,threshold\nA,0.3\nB,\n")
    card = {"content": {"thresholds": {"A": {"value": 0.3, "rule": "youden", "reason": None}}}}
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "card.json").write_text(json.dumps(card))
    for name in ("t.json", "t.csv", "c", "c/card.json"):
        found = read_thresholds(tmp_path / name, ["A", "B"])
        assert found["A"]["value"] == 0.3 and found["B"]["value"] is None
    assert found["A"]["rule"] == "youden" and found["B"]["reason"] == "no threshold in the file"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"A": "high"}', "a,b\n1,2\n", '{"Z": 0.1}', '{"A": Infinity}'])
def test_bad_thresholds_are_refused(tmp_path, content: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(DataError, match="--thresholds"):
        read_thresholds(tmp_path / "t", ["A"])
