import pytest

from kontrast.artifacts.explanation import _say_scores, interval
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
