import pytest

from kontrast.artifacts.explanation import _say_scores, few_cases, interval, judged
from kontrast.types import FINDINGS


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.451, 0.4, 0.511, ".45 (.40–.51)"),
        (0.451, 0.451, 0.451, ".45"),  # of one image: ends without width would look like certainty
        (None, None, None, "–"),
    ],
)
def test_intervals_in_words(value, low, high, text) -> None:
    assert interval({"value": value, "low": low, "high": high}) == text


def test_the_table_has_room_for_the_longest_finding_at_80_columns(capsys):
    score = {"value": 1.0, "low": 0.25, "high": 1.0}
    entry = {"n": 500, **{f"{p}{s}": score for p in ("", "centre_", "usual_") for s in ("hit", "iou")}}
    _say_scores({}, dict.fromkeys(FINDINGS, entry))
    said = capsys.readouterr().out
    assert all(len(line) <= 80 for line in said.splitlines()[:20]) and "Cardiomediastinum" in said


def test_intervals_of_few_patients_are_said_to_be_narrow() -> None:
    results = {
        "A": {"n": 40, "patients": 29},
        "B": {"n": 30, "patients": 30},
        "C": {"n": 4, "patients": None},
        "D": {"n": 0},
    }
    assert few_cases(results) == (
        "Fewer than 30 patients with a known place, so these intervals cover less than 95 %: A 29, C 4."
    )
    assert few_cases({"B": results["B"], "D": results["D"]}) == ""


def test_no_verdict_rests_on_a_handful_of_images() -> None:
    score = {"rank": {"value": 0.1, "low": 0.1, "high": 0.1}}

    def found(images: int) -> dict:
        return {"sanity": {"images": images, "weights": [score], "between_images": score}}

    (said,) = judged({"A": found(5), "B": found(4)})
    assert said == ("Random weights: maps of A depend on the weights; undefined for B (flat maps, or too few images).")
