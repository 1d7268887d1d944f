"""Schedules against closed forms, and against torch's OneCycleLR."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kontrast.engine.schedule import SCHEDULES, schedule
from kontrast.errors import UsageError


def test_cosine_with_warmup_is_the_papers():
    steps, warmup = 100, 10
    assert schedule("cosine", 0, steps, warmup) == 0
    assert schedule("cosine", 5, steps, warmup) == 0.5
    assert schedule("cosine", 10, steps, warmup) == 1
    assert schedule("cosine", 55, steps, warmup) == pytest.approx(0.5)
    assert schedule("cosine", 100, steps, warmup) == pytest.approx(0)
    for step in range(10, 100):
        expected = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        assert schedule("cosine", step, steps, warmup) == pytest.approx(expected, abs=1e-12)


def test_cosine_without_warmup_starts_at_the_peak():
    assert schedule("cosine", 0, 7) == 1


@pytest.mark.parametrize("steps", [10, 50, 333])
def test_onecycle_is_torchs(steps):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert schedule("onecycle", step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


@given(st.sampled_from(SCHEDULES), st.integers(1, 500), st.floats(0, 1), st.integers(0, 600))
def test_within_bounds(name, steps, share, warmup):
    assert 0 <= schedule(name, int(share * (steps - 1)), steps, warmup) <= 1


def test_a_wrong_word_names_its_neighbour():
    with pytest.raises(UsageError, match="cosine"):
        schedule("cosin", 0, 10)
