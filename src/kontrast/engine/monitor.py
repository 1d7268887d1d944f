"""Watching a run without labels: whether features still differ between images, and in how many directions."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kontrast import console, distributed
from kontrast.engine.loop import Hook

if TYPE_CHECKING:
    from kontrast.methods.method import Step

ALIKE = 0.02
"""Below this standard-deviation ratio features count as alike: far below what trained encoders have (the spread in
docs/results.md), far above what rounding leaves of a collapsed one's."""

AT_CHANCE = 0.02
"""A contrastive loss within this share of its value at chance has learnt nothing."""

EARLY = {"alike": (50, 0.2), "chance": (100, 0.5)}
"""No verdict before so many steps and such a share of the run: near its value at chance is where every loss begins."""


def feature_std_ratio(features: Tensor) -> float:
    """Standard deviation of unit-length features over the batch, against 1/√D (Chen & He 2021, arXiv:2011.10566).

    Args:
        features: (B, D).

    Returns:
        About 1 where features spread over the whole sphere, 0 where all are alike; NaN for fewer than 2 rows.
    """
    if len(features) < 2:
        return math.nan
    z = torch.nn.functional.normalize(features.float(), dim=1)
    return float(z.std(dim=0, correction=0).square().mean().sqrt() * math.sqrt(z.shape[1]))


def effective_rank(features: Tensor) -> float:
    """The exponential of the entropy of the normalised singular values of the centred features (Roy & Vetterli 2007).

    Args:
        features: (B, D).

    Returns:
        Between 1 (one direction) and min(B − 1, D); 0 where all are alike, NaN for fewer than 2 rows.
    """
    if len(features) < 2:
        return math.nan
    x = features.double()
    x = x - x.mean(dim=0)
    gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x  # the smaller one has the same singular values
    s = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = s.sum()
    if not torch.isfinite(total):
        return math.nan
    if total <= 1e-12 * max(float(features.double().norm()), 1e-300):
        return 0.0
    p = s / total
    return float(torch.exp(-torch.special.xlogy(p, p).sum()))


class Collapse(Hook):
    """Adds `feature_std_ratio`, `effective_rank` and `below_chance` to each line, and warns once of a collapse.

    Args:
        steps: of the whole run.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.warned = False
        self.last: dict[str, float | None] = {}

    def on_log(self, model: Any, step: int, output: "Step", line: dict[str, Any]) -> None:
        """Measure on the last step's features, those of this process."""
        line["feature_std_ratio"] = feature_std_ratio(output.features)
        line["effective_rank"] = effective_rank(output.features)
        chance = model.method.chance_loss()
        if chance is not None:
            line["below_chance"] = chance - line["loss"]
        self.last = {k: line.get(k) for k in ("feature_std_ratio", "effective_rank", "below_chance")}
        late = {name: step >= max(least, share * self._steps) for name, (least, share) in EARLY.items()}
        if late["alike"] and not self.warned:
            advice = verdict(line["feature_std_ratio"], line["loss"], chance if late["chance"] else None)
            self.warned = advice is not None
            if advice is not None and distributed.is_main():
                console.warn(f"after step {step:,}: {advice}")

    def state_dict(self) -> dict[str, Any]:
        """Whether the warning was given."""
        return {"warned": self.warned, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was saved."""
        self.warned, self.last = state["warned"], state["last"]


def verdict(ratio: float, loss: float, chance: float | None) -> str | None:
    """What is wrong with a run and the likely cause, or None where nothing is seen to be.

    Args:
        ratio: `feature_std_ratio`.
        loss: mean since the last line.
        chance: the loss of an encoder that tells no two images apart, if the method has one.
    """
    stuck = chance is not None and chance > 0 and loss > (1 - AT_CHANCE) * chance
    if not ratio < ALIKE:
        if stuck:
            return (
                f"the loss {loss:.3g} is still that of guessing ({chance:.3g}). "
                "Lower --lr or lengthen --warmup-epochs; smaller batches take more steps in the same time."
            )
        return None
    if stuck:
        return (
            f"features are alike for all images (spread {ratio:.2g} of 1) and the loss is that of guessing: "
            "the run has collapsed. Most often --lr is too high."
        )
    return (
        f"features are alike for all images (spread {ratio:.2g} of 1) while the loss looks fine: the task is solved "
        "by a shortcut. Likely causes: a target that follows too fast (raise --momentum), batch statistics that "
        "leak, or --lr too high."
    )
