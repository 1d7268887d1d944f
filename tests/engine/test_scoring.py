"""Oracles: pandas' groupby, and `score_table` of the rows themselves."""

import numpy as np
import pandas as pd
import pytest

from kontrast.engine.scoring import check_request, compare_rows, parse_prevalence, score_rows
from kontrast.errors import DataError, UsageError
from kontrast.metrics.calibration import reliability
from kontrast.metrics.evaluation import score_table
from kontrast.metrics.studies import by_study


def data(n: int = 90, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    study = np.arange(n) // 2 % 40  # some twice, apart from each other
    table = pd.DataFrame({"patient_id": study // 3, "study_id": [f"s{i}" for i in study]})
    table["view"] = np.where(np.arange(n) % 2, "lateral", "frontal")
    truth = rng.choice([0.0, 1.0, np.nan], p=[0.5, 0.3, 0.2], size=(n, 2))
    return table, truth, rng.random((n, 2))


@pytest.mark.parametrize("over", ["max", "mean"])
def test_a_study_is_what_pandas_groups(over: str) -> None:
    table, truth, scores = data()
    y, s, first = by_study(truth, scores, table["study_id"].to_numpy(), over)
    groups = table["study_id"].to_numpy()
    assert s == pytest.approx(pd.DataFrame(scores).groupby(groups, sort=False).agg(over).to_numpy(), abs=1e-15)
    assert np.array_equal(y, pd.DataFrame(truth).groupby(groups, sort=False).max().to_numpy(), equal_nan=True)
    assert groups[first].tolist() == list(dict.fromkeys(groups))


def test_an_image_without_a_study_is_one_of_its_own() -> None:
    y, s, first = by_study(np.array([[0.0], [1], [1]]), np.array([[0.2], [0.3], [0.9]]), np.array(["a", "", ""]))
    assert y.ravel().tolist() == [0, 1, 1] and s.ravel().tolist() == [0.2, 0.3, 0.9] and first.tolist() == [0, 1, 2]


def test_studies_numbered_anew_for_each_patient_are_not_one_case() -> None:
    table, truth, scores = data()
    anew = table.assign(study_id=[f"study{int(name[1:]) % 3 + 1}" for name in table["study_id"]])
    options = {"patients_known": True, "by": "study", "replicates": 20}
    found = score_rows(anew, truth, scores, ["A", "B"], **options)
    assert found == score_rows(table, truth, scores, ["A", "B"], **options) and found["rows"] == 40
    pairs = [compare_rows(one, truth, scores, scores[::-1], ["A", "B"], **options) for one in (anew, table)]
    assert pairs[0] == pairs[1]
    assert score_rows(anew, truth, scores, ["A", "B"], **options | {"patients_known": False})["rows"] == 3


def test_scores_by_study_and_by_view_are_those_of_the_rows() -> None:
    table, truth, scores = data()
    options = {"replicates": 30, "thresholds": {"A": {"value": 0.5}}}
    found = score_rows(table, truth, scores, ["A", "B"], patients_known=True, by="study", **options)
    y, s, first = by_study(truth, scores, table["study_id"].to_numpy())
    people = table["patient_id"].to_numpy()
    alone = score_table(y, s, ["A", "B"], patients=people[first], **options)
    assert found.pop("reliability") == reliability(y, s)  # these scores lie in 0 to 1
    assert found == alone | {"by": "study", "over_views": "max", "images": 90} and found["rows"] == 40
    found = score_rows(table, truth, scores, ["A", "B"], patients_known=False, by="view", **options)
    lateral = np.arange(90) % 2 == 1
    assert list(found["views"]) == ["frontal", "lateral"]
    assert found["views"]["lateral"] == score_table(truth[lateral], scores[lateral], ["A", "B"], **options)
    assert found["findings"] == score_table(truth, scores, ["A", "B"], **options)["findings"]


def test_what_is_not_known_is_refused() -> None:
    table, _, _ = data()
    for by, column in (("study", "study_id"), ("view", "view")):
        check_request(table, ["A"], by, None)
        with pytest.raises(DataError, match=f"--by {by} needs the column {column}"):
            check_request(table.assign(**{column: ""}), ["A"], by, None)


def test_prevalence_for_all_and_by_finding() -> None:
    assert parse_prevalence(None, ["A"]) == {}
    assert parse_prevalence("0.1, B=0.02", ["A", "B"]) == {"A": 0.1, "B": 0.02}
    assert parse_prevalence("B=0.02", ["A", "B"]) == {"B": 0.02}
    for wrong in ("1", "0", "-0.1", "A=nan", "often", "0.1,0.2", "C=0.1"):
        with pytest.raises(UsageError, match="--prevalence"):
            parse_prevalence(wrong, ["A", "B"])
