"""Why a run may have collapsed: which of its settings are unusual for it, or else what to try with its method."""

import math

from kontrast import console
from kontrast.config import flag, to_dict
from kontrast.engine.choices import OPTIONS, choose_optimizer, settle_options
from kontrast.engine.planning import Plan
from kontrast.methods import METHODS

FAR = 3.0
"""A setting this many times above or below the usual one is a suspect."""

COUNTED = ("prototypes", "queue_length")
"""Whole numbers that are suspects too; other whole numbers are sizes of layers."""


def likely_cause(plan: Plan, images: int) -> str:
    """What most likely brings about a collapse of this run, and what to set, in words.

    Suspected is first what is far from what `auto` would have chosen for this method, batch and run. Where nothing
    is, the method says what keeps it from collapsing.

    Args:
        plan: the run.
        images: N, how many images there are to train on.
    """
    found = sorted(_unusual(plan, images), reverse=True)
    if found:
        named = ", ".join(f"{option} {value:g} where {usual:.3g} is usual" for _, option, value, usual in found)
        return f"Likely cause: {named}. What is left out is chosen."
    settings = {"lr": plan.lr, "batch_size": plan.batch_size, **plan.options}
    remedy = METHODS[plan.method].remedy
    now = ", ".join(f"{option} {value:g}" for name, value in settings.items() if (option := _flag(name)) in remedy)
    return f"Likely cause: its settings are the usual ones, but not for these images. {remedy} (now {now})."


def _unusual(plan: Plan, images: int) -> list[tuple[float, str, float, float]]:
    """How far from usual, the option, its value, the usual one."""
    kind = METHODS[plan.method]
    with console.silent():
        usual = to_dict(
            settle_options(
                plan.method, kind.Config(), images=images, steps=plan.steps, batch_size=plan.batch_size,
                size=plan.size, quiet=True,
            )
        )  # fmt: skip
        lr = choose_optimizer(plan.method, plan.optimizer, "auto", "auto", plan.batch_size)[1]
    pairs = {"lr": (plan.lr, lr)}
    for name, value in plan.options.items():
        if isinstance(value, float) or isinstance(usual[name], float) or name in COUNTED:
            pairs[name] = (value, usual[name])
    scored = [(_distance(name, *pair), _flag(name), *pair) for name, pair in pairs.items()]
    return [one for one in scored if one[0] >= FAR]


def _distance(name: str, value: float, usual: float) -> float:
    """How many times above or below; of a momentum, how many times faster or slower the teacher follows."""
    if name == "momentum":
        value, usual = 1 - value, 1 - usual
    if value <= 0 or usual <= 0:
        return 1.0 if value == usual else FAR if name in COUNTED else math.inf
    return max(value / usual, usual / value)


def _flag(name: str) -> str:
    return flag(name) if name in ("lr", "batch_size", *OPTIONS) else f"--options.{name}"
