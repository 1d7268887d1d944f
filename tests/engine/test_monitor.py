"""Collapse: closed forms, and who is warned of what."""

import math

import pytest
import torch

from engine.tiny import Output
from kontrast.engine.monitor import Collapse, effective_rank, feature_std_ratio, signs
from kontrast.errors import TrainingError


def test_spread_is_one_on_the_sphere_and_zero_where_all_are_alike():
    g = torch.Generator().manual_seed(0)
    assert feature_std_ratio(torch.randn(4000, 64, generator=g)) == pytest.approx(1, abs=0.02)
    assert feature_std_ratio(torch.ones(8, 64)) == pytest.approx(0, abs=1e-6)
    assert feature_std_ratio(torch.ones(8, 64) * torch.arange(1, 9)[:, None]) == pytest.approx(0, abs=1e-6)
    assert math.isnan(feature_std_ratio(torch.ones(1, 64)))


def test_spread_against_a_naive_loop():
    x = torch.randn(7, 5, dtype=torch.float64)
    z = [[float(v / row.norm()) for v in row] for row in x]
    variance = 0.0
    for j in range(5):
        mean = sum(row[j] for row in z) / 7
        variance += sum((row[j] - mean) ** 2 for row in z) / 7 / 5
    assert feature_std_ratio(x) == pytest.approx(math.sqrt(variance) * math.sqrt(5), rel=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (12, 40)])
def test_effective_rank_counts_directions(rows, columns):
    g = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(columns, 3, generator=g, dtype=torch.float64))[0]
    x = torch.randn(rows, 3, generator=g, dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0))[0]  # three orthogonal, centred, equally strong
    assert effective_rank(x @ directions.T + 5) == pytest.approx(3, rel=1e-6)
    assert effective_rank(x[:, :1] @ directions.T[:1]) == pytest.approx(1, rel=1e-6)
    assert effective_rank(torch.ones(rows, columns)) == 0


def test_effective_rank_is_the_entropy_of_singular_values():
    x = torch.randn(9, 6, dtype=torch.float64)
    s = torch.linalg.svdvals(x - x.mean(0))
    p = s / s.sum()
    assert effective_rank(x) == pytest.approx(float(torch.exp(-(p * p.log()).sum())), rel=1e-9)


def test_rank_of_what_is_not_finite_is_none():
    x = torch.randn(6, 4)
    x[0, 0] = float("inf")
    assert math.isnan(effective_rank(x))


def _signs(spread=0.5, rank=50.0, loss=2.0, chance=None, noise=0.0, lines=10, directions=100, **more):
    log = [{"feature_std_ratio": spread, "effective_rank": rank, "loss": loss + noise * (-1) ** i, **more}
           for i in range(lines)]  # fmt: skip
    log = log if chance is None else [line | {"below_chance": chance - line["loss"]} for line in log]
    return list(signs(log, directions))


def test_signs():
    assert _signs() == [] == _signs(chance=4.0)
    assert _signs(spread=0.001) == ["alike"]
    assert _signs(rank=24.9) == ["directions"] and _signs(rank=25) == []
    assert _signs(prototype_entropy=0.1) == ["prototypes"] and _signs(prototype_entropy=0.9) == []
    assert _signs(target_std=0.1) == ["outputs"] == _signs(output_std=0.1) and _signs(target_std=0.5) == []
    assert _signs(spread=math.nan, rank=math.nan, directions=math.nan) == []
    assert _signs(spread=0.001, lines=5) == ["alike"] and _signs(spread=0.001, lines=4) == []


def test_a_loss_is_at_chance_by_three_standard_errors():
    assert _signs(loss=3.99, chance=4.0) == ["chance"] and _signs(loss=3.97, chance=4.0) == []
    assert _signs(loss=4.9, chance=4.0) == ["chance"], "above chance is no better"
    assert _signs(loss=3.99, chance=4.0, noise=0.1) == [], "noise of 0.1 hides what there may be to see"
    assert _signs(loss=4.2, chance=4.0, noise=0.1) == ["chance"]
    assert _signs(loss=3.99, chance=4.0, lines=9) == []
    assert _signs(loss=0.0, chance=0.0) == [], "a loss that is 0 at chance tells nothing"


class _Model:
    class method:
        @staticmethod
        def chance_loss():
            return 4.0

        @staticmethod
        def in_force(progress):
            return {"momentum": 1 - progress}


def _log(hook, step, features, loss):
    line = {"loss": loss}
    error = hook.on_log(_Model, step, Output(torch.tensor(loss), features), line)
    return line, error


ALIKE = torch.ones(8, 4)
FINE = torch.randn(40, 12, generator=torch.Generator().manual_seed(0))


def test_a_line_has_what_is_in_force(capsys):
    line, _ = _log(Collapse(1000), 251, FINE, 3.0)
    assert line["momentum"] == 0.75 and line["below_chance"] == 1.0
    assert line["effective_rank"] == effective_rank(FINE) and 0.9 < line["feature_std_ratio"] < 1


def test_a_collapse_is_named_once_with_its_cause_and_not_too_early(capsys):
    hook = Collapse(1000, "Lower --lr.")
    for step in range(10, 50, 10):
        _log(hook, step, ALIKE, 0.1)
    assert capsys.readouterr().err == ""
    for step in (50, 60, 70):
        assert _log(hook, step, ALIKE, 0.1)[1] is None
    warned = capsys.readouterr().err
    assert warned.count("collapsed") == 1 and "after step 50: features are alike" in warned and "Lower --lr." in warned
    again = Collapse(1000)
    again.load_state_dict(hook.state_dict())
    _log(again, 400, ALIKE, 0.1)
    assert capsys.readouterr().err == ""


def test_a_single_line_is_no_sign(capsys):
    hook = Collapse(100)
    for step in range(50, 60):
        _log(hook, step, ALIKE if step == 57 else FINE, 1.0)
    assert capsys.readouterr().err == ""


def test_lost_directions_are_counted_from_the_start(capsys):
    few = FINE @ torch.nn.functional.one_hot(torch.zeros(12, dtype=torch.int64), 12).float()
    hook = Collapse(1000)
    _log(hook, 1, FINE, 1.0)
    for step in range(100, 160, 10):
        _log(hook, step, few, 1.0)
    assert "features vary in 1 directions, 11.4 at the start" in capsys.readouterr().err
    narrow = Collapse(1000)
    for step in (1, *range(100, 160, 10)):
        _log(narrow, step, few, 1.0)
    assert capsys.readouterr().err == ""


def test_a_loss_at_chance_is_where_runs_begin(capsys):
    hook = Collapse(1000)
    for step in range(400, 500, 10):
        _log(hook, step, FINE, 4.0)
    assert capsys.readouterr().err == ""
    _log(hook, 500, FINE, 4.0)
    assert "after step 500: the loss 4 is no better than that of guessing" in capsys.readouterr().err


def test_a_run_that_is_to_stop_stops_and_says_so_again_when_resumed():
    hook = Collapse(1000, "Lower --lr.", stop=True)
    errors = [_log(hook, step, ALIKE, 0.1)[1] for step in range(50, 100, 10)]
    assert errors[:4] == [None] * 4 and isinstance(errors[4], TrainingError)
    assert "after step 90" in errors[4].problem and "Lower --lr." in errors[4].fix and errors[4].exit_code == 6
    with pytest.raises(TrainingError, match="after step 90"):
        Collapse(1000, stop=True).load_state_dict(hook.state_dict())
    Collapse(1000).load_state_dict(hook.state_dict())
