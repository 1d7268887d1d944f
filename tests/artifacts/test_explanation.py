import pytest

from kontrast.artifacts.explanation import interval


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
