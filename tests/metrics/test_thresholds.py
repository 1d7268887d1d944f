import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_curve

from kontrast.metrics.thresholds import choose, choose_all

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=40)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.sampled_from(["f1", "youden"]))
def test_no_other_threshold_is_better(rows: list[tuple[bool, int]], rule: str) -> None:
    y, p = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    p /= 9
    chosen = choose(y, p, rule)
    if y.all() or not y.any():
        assert chosen["value"] is None and "image to choose a threshold on" in chosen["reason"]
        return
    if rule == "f1":
        best = max(f1_score(y, p >= t) for t in np.unique(p))
        assert f1_score(y, p >= chosen["value"]) == pytest.approx(best)
    else:
        fpr, tpr, _ = roc_curve(y, p)
        calls = p >= chosen["value"]
        assert calls[y == 1].mean() - calls[y == 0].mean() == pytest.approx((tpr - fpr).max())


def test_value_lies_between_the_called_and_the_others() -> None:
    assert choose([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.8])["value"] == pytest.approx(0.3)
    assert choose([1, 0, 1, 1], [0.1, 0.2, 0.4, 0.8])["value"] == 0.1
    low = 0.5
    high = np.nextafter(low, 1)
    assert choose([0, 1], [low, high])["value"] == high


def test_ignored_rows_do_not_count() -> None:
    kept = choose([0, 1, np.nan, np.nan], [0.1, 0.9, 0.95, 0.05])
    assert kept["value"] == pytest.approx(0.5) and kept["positives"] == 1


def test_every_finding_gets_its_own() -> None:
    y = np.array([[0, 0], [1, 0], [1, 0]])
    both = choose_all(y, np.array([[0.1, 0.5], [0.6, 0.5], [0.7, 0.5]]), ["A", "B"], "youden")
    assert both["A"] == {"value": pytest.approx(0.35), "rule": "youden", "reason": None, "positives": 2}
    assert both["B"]["value"] is None and both["B"]["reason"].startswith("no positive")


def test_faulty_input_is_refused() -> None:
    with pytest.raises(ValueError):
        choose([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError):
        choose([0, 1], [0.1, 0.2], "best")
