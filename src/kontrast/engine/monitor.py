"""Watching a run without labels: whether features still differ between images, and in how many directions."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kontrast import console, distributed
from kontrast.engine.loop import Hook
from kontrast.errors import KontrastError, TrainingError

if TYPE_CHECKING:
    from kontrast.methods.method import Step

ROWS = 1024
"""Images of a batch that are measured, over all processes: more change little and cost an eigenvalue problem each."""

LINES, MANY = 5, 10
"""Logged lines over which features are averaged, since single steps are noisy, and those that must agree that a loss is
at chance, which is a matter of its third digit."""

ALIKE = 0.02
"""Below this standard-deviation ratio features count as alike."""

SPREAD = ("target_std", "output_std")
"""What methods without negatives call the spread of their projections, 1 where they fill the sphere."""

ALIKE_OUTPUTS = 0.2
"""Below this the projections count as alike: the loss is solved, and asks nothing of the features any more."""

FEW = 0.25
"""Below this share of its directions at the start a run has lost them. docs/watching.md has what runs came to."""

SAME = 0.2
"""Below this entropy of the prototypes in use nearly all images go to the same ones."""

AT_CHANCE = 0.005
"""A loss within this share of its value at chance has learnt nothing. By three standard errors: a loss that varies more
from step to step, as DINOv2's with the number of hidden patches, needs more lines to be told from chance."""

EARLY = dict.fromkeys(("alike", "outputs", "directions", "prototypes"), (50, 0.05)) | {"chance": (100, 0.5)}
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
    if not bool(torch.isfinite(gram).all()):
        return math.nan
    s = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = s.sum()
    if total <= 1e-12 * max(float(features.double().norm()), 1e-300):
        return 0.0
    p = s / total
    return float(torch.exp(-torch.special.xlogy(p, p).sum()))


class Collapse(Hook):
    """Adds what tells of a collapse to each line, and says once of each sign of one.

    To the line it adds `feature_std_ratio`, `effective_rank`, `below_chance` and the method's settings in force.

    Args:
        steps: of the whole run.
        cause: what most likely brings it about and what to set, in words (`diagnosis.likely_cause`).
        stop: end the run at the first sign.
    """

    def __init__(self, steps: int, cause: str = "", *, stop: bool = False) -> None:
        self._steps, self._cause, self._stop = steps, cause, stop
        self.last: dict[str, float | None] = {}
        self._lines: list[dict[str, float]] = []
        self._directions = math.nan
        self._said: dict[str, str] = {}

    def on_log(self, model: Any, step: int, output: "Step", line: dict[str, Any]) -> KontrastError | None:
        """Measure on the last step's features, those of all processes."""
        x = distributed.gather(output.features.float())[:ROWS]
        line["feature_std_ratio"], line["effective_rank"] = feature_std_ratio(x), effective_rank(x)
        line.update(model.method.in_force((step - 1) / self._steps))
        chance = model.method.chance_loss()
        if chance is not None:
            line["below_chance"] = chance - line["loss"]
        self.last = {name: line.get(name) for name in ("feature_std_ratio", "effective_rank", "below_chance")}
        if math.isnan(self._directions):
            self._directions = line["effective_rank"]
        seen = {name: line[name] for name in (*self.last, "loss", "prototype_entropy", *SPREAD) if name in line}
        self._lines = [*self._lines, seen][-MANY:]
        # The loss at chance is this process's; what follows from it must be the same in all.
        signs = distributed.broadcast_object(self._signs(step))
        new = {name: text for name, text in signs.items() if name not in self._said}
        if not new:
            return None
        self._said |= {name: f"after step {step:,}: {text}" for name, text in new.items()}
        if self._stop:
            return self._error()
        if distributed.is_main():
            console.warn(f"after step {step:,}: {'; '.join(new.values())}. {self._cause}")
        return None

    def _signs(self, step: int) -> dict[str, str]:
        late = {name for name, (least, share) in EARLY.items() if step >= max(least, share * self._steps)}
        return {name: text for name, text in signs(self._lines, self._directions).items() if name in late}

    def _error(self) -> TrainingError:
        return TrainingError(
            f"The run was stopped, {'; '.join(self._said.values())}.",
            fix=f"{self._cause} Begin again with another --out. The last checkpoint is kept: the same command with "
            "--on-collapse warn goes on from it.",
        )

    def state_dict(self) -> dict[str, Any]:
        """What was measured lately and at the start, and what was said."""
        return {"last": self.last, "lines": self._lines, "directions": self._directions, "said": self._said}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was saved.

        Raises:
            TrainingError: the run was stopped at a sign of collapse, or warned of one, and is to stop.
        """
        self.last, self._lines = state["last"], state["lines"]
        self._directions, self._said = state["directions"], state["said"]
        if self._stop and self._said:
            raise self._error()


def signs(lines: Sequence[Mapping[str, float]], directions: float) -> dict[str, str]:
    """The signs of a collapse in logged lines, each in words: `alike`, `outputs`, `directions`, `prototypes`, `chance`.

    Args:
        lines: the last ones, in order; with `feature_std_ratio`, `effective_rank` and `loss`, maybe `below_chance`,
            `prototype_entropy`, one of SPREAD. Fewer than LINES have no sign, fewer than MANY none of a loss at chance.
        directions: `effective_rank` at the start of the run.
    """
    found: dict[str, str] = {}
    if len(lines) < LINES:
        return found
    last = lines[-LINES:]
    names = ("feature_std_ratio", "effective_rank", "prototype_entropy", *SPREAD)
    spread, rank, entropy, *outputs = (fmean(line.get(name, math.nan) for line in last) for name in names)
    if spread < ALIKE:
        found["alike"] = f"features are alike for all images (spread {spread:.2g} of 1): the run has collapsed"
    elif rank < FEW * directions:
        found["directions"] = (
            f"features vary in {rank:.3g} directions, {directions:.3g} at the start: the run is collapsing"
        )
    for alike in outputs:
        if alike < ALIKE_OUTPUTS:
            found["outputs"] = f"projections are alike for all images (spread {alike:.2g} of 1), which is no solution"
    if entropy < SAME:
        found["prototypes"] = "nearly all images are assigned to the same few prototypes"
    if len(lines) >= MANY and "below_chance" in lines[-1]:
        losses = [line["loss"] for line in lines[-MANY:]]
        loss, chance = fmean(losses), fmean(line["loss"] + line["below_chance"] for line in lines[-MANY:])
        if chance > 0 and loss - 3 * stdev(losses) / math.sqrt(MANY) > (1 - AT_CHANCE) * chance:
            found["chance"] = f"the loss {loss:.4g} is no better than that of guessing, {chance:.4g}"
    return found
