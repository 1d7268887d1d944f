"""Learning-rate schedules as pure functions of the step: nothing to save, nothing to lose on resume."""

import math

from kontrast.config import choose

SCHEDULES = ("cosine", "onecycle", "constant")

# OneCycle's shape: 30 % of the steps upward from 1/25 of the peak, then down to 1/10,000 of where it started
# (Smith & Topin 2018, arXiv:1708.07120; the same constants as torch's OneCycleLR, so that figures compare).
ONECYCLE_RISE, ONECYCLE_START, ONECYCLE_END = 0.3, 1 / 25, 1e-4


def schedule(name: str, step: float, steps: int, warmup: float = 0.0) -> float:
    """The factor on the peak learning rate.

    Args:
        name: `cosine` (linear warm-up from 0, then half a cosine to 0 over the rest, as in SimCLR and BYOL),
            `onecycle` (a cosine up and a cosine down; has its own warm-up), or `constant` (after the warm-up).
        step: 0-based, within [0, steps].
        steps: of the whole run.
        warmup: steps of linear warm-up; the factor at step 0 is then 0, as in the papers.

    Returns:
        A factor in [0, 1].
    """
    choose(name, SCHEDULES, "--schedule")
    if name == "onecycle":
        return _onecycle(step, steps)
    if step < warmup:
        return step / warmup
    if name == "constant" or steps <= warmup:
        return 1.0
    return _half_cosine(1.0, 0.0, (step - warmup) / (steps - warmup))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2


def _onecycle(step: float, steps: int) -> float:
    # Counted to the last step (steps - 1), which therefore has the lowest rate.
    top = ONECYCLE_RISE * steps - 1
    last = max(steps - 1, 1)
    if step <= top:
        return _half_cosine(ONECYCLE_START, 1.0, step / top)
    return _half_cosine(1.0, ONECYCLE_START * ONECYCLE_END, (step - top) / max(last - top, 1e-9))
