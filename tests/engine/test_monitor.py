"""Collapse: closed forms, and who is warned of what."""

import math

import pytest
import torch

from engine.tiny import Output
from kontrast.engine.monitor import Collapse, effective_rank, feature_std_ratio, verdict


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


def test_verdicts():
    assert verdict(0.5, 2.0, 4.0) is None
    assert verdict(0.5, 2.0, None) is None
    assert "guessing" in verdict(0.5, 3.99, 4.0)
    assert "collapsed" in verdict(0.001, 4.0, 4.0)
    assert "shortcut" in verdict(0.001, 0.1, 4.0)
    assert "shortcut" in verdict(0.001, 0.0, None)


class _Model:
    class method:
        @staticmethod
        def chance_loss():
            return 4.0


def test_a_collapse_is_named_once_and_not_too_early(capsys):
    hook = Collapse(1000)
    alike = Output(torch.tensor(0.1), torch.ones(8, 4))
    for step in (10, 190, 200, 300):
        line = {"loss": 0.1}
        hook.on_log(_Model, step, alike, line)
        assert line["below_chance"] == pytest.approx(3.9)
    warned = capsys.readouterr().err
    assert warned.count("shortcut") == 1 and "after step 200" in warned
    again = Collapse(1000)
    again.load_state_dict(hook.state_dict())
    again.on_log(_Model, 400, alike, {"loss": 0.1})
    assert capsys.readouterr().err == ""


def test_a_loss_at_chance_is_where_runs_begin(capsys):
    hook = Collapse(1000)
    fine = Output(torch.tensor(4.0), torch.randn(8, 4))
    hook.on_log(_Model, 400, fine, {"loss": 4.0})
    assert capsys.readouterr().err == ""
    hook.on_log(_Model, 600, fine, {"loss": 4.0})
    assert "guessing" in capsys.readouterr().err
