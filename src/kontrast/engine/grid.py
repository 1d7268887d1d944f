"""What a study file holds, and the grid that it spans: arms × label fractions × seeds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import isnan
from typing import Any

from kontrast import console
from kontrast.artifacts.wording import MARK, MARKED
from kontrast.config import choose, require
from kontrast.data.labels import for_scoring
from kontrast.metrics.evaluation import mixed
from kontrast.types import FINDINGS, counted

VERBS: dict[str, tuple[str, dict[str, Any]]] = {
    "knn": ("probe", {"head": "knn"}),
    "probe": ("probe", {}),
    "finetune": ("finetune", {}),
    "full": ("finetune", {"start_head": "random"}),
    "lp-ft": ("finetune", {"start_head": "probe"}),
}
"""How labels are used: the command of each protocol, and what it adds to the study's options of that command."""

PROTOCOLS = tuple(VERBS)

FEW = 0.1
"""Fractions up to this are drawn several times: which patients a tenth holds is luck."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of the comparison: where the weights come from."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  (pydantic's name; a wrong word is an error here too)

    method: str | None = None
    """Self-supervised method to pretrain with; none: the arm starts from `start` as it is."""
    start: str = "random"
    """`random`, `imagenet`, or a path of weights; with a method, where pretraining starts."""
    encoder: str | None = None
    """Architecture; the study's when left out."""
    protocols: tuple[str, ...] | None = None
    """Of the study's protocols; all of them when left out."""
    pretrain: dict[str, Any] = field(default_factory=dict)
    """Options of `kontrast pretrain` for this arm, over the study's."""
    optional: bool = False
    """Leave the arm out, and say so, where its weights are missing (ImageNet's on an offline machine)."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study file holds."""

    pack: str
    """The labelled Pack: a name under `prepare`, or a path."""
    arms: dict[str, Arm]
    """The lines of the comparison, by name."""
    prepare: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Packs to make first: name → `source` and options of `kontrast prepare`; $VARIABLES in paths are filled in."""
    pretrain_packs: tuple[str, ...] = ()
    """Packs to pretrain on (their training parts); the labelled one when left out."""
    encoder: str = "resnet18"
    """Architecture of every arm that names none."""
    baseline: str = "random"
    """The arm that every other is compared with, on the same test cases."""
    protocols: tuple[str, ...] = ("probe", "finetune")
    """How labels are used: `knn`, `probe` (frozen features), `finetune` (all weights, as `finetune:` says), `full`
    (from a random head), `lp-ft` (from the probe's head)."""
    fractions: tuple[float, ...] = (0.1, 1.0)
    """Shares of the training patients whose labels are used."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of patients, and one training, for each."""
    draws: int | None = 5
    """Draws of patients at fractions of 0.1 and below, each trained with every seed; null: one draw a seed."""
    stratify: bool | None = True
    """Draw patients so that each finding keeps its share of positives."""
    search: dict[str, dict[str, list[Any]]] | None = None
    """Options that are tried for every arm, by command: `finetune: {lr: [0.0001, 0.001]}`. For each arm, protocol and
    fraction validation chooses once, in the first run; all its runs use what was chosen."""
    folds: int = 0
    """Also compare frozen features in so many patient-grouped folds of all that pretraining has not seen; 0: not."""
    findings: tuple[str, ...] = ()
    """Findings to learn; all of the Pack's when left out."""
    uncertain: str = "zeros"
    """What -1 means, in training and in scoring."""
    blank: str = "negative"
    """What a blank label means."""
    pretrain: dict[str, Any] = field(default_factory=dict)
    """Options of `kontrast pretrain` for every arm."""
    probe: dict[str, Any] = field(default_factory=dict)
    """Options of `kontrast probe`."""
    finetune: dict[str, Any] = field(default_factory=dict)
    """Options of `kontrast finetune`: the same budget for every arm."""
    replicates: int = 1000
    """Bootstrap replicates of each interval."""

    def __post_init__(self) -> None:
        require(bool(self.arms), "The study has no arms.", "Add some under `arms:`; see configs/study/.")
        choose(self.baseline, self.arms, "baseline:")
        for name, arm in self.arms.items():
            for protocol in arm.protocols or self.protocols:
                choose(protocol, PROTOCOLS, f"arms: {name}: protocols:")
        for fraction in self.fractions:
            require(0 < fraction <= 1, f"fractions: {fraction} is no share.", "Write shares above 0, at most 1.")
        require(self.draws is None or self.draws >= 1, f"draws: {self.draws} is too few.", "Write 5, or null.")
        for verb in self.search or {}:
            choose(verb, ("probe", "finetune"), "search:")
        require(self.folds == 0 or self.folds >= 2, f"folds: {self.folds} is too few.", "Write 5, or 0 for none.")


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation."""

    arm: str
    protocol: str
    fraction: float
    seed: int
    draw: int | None = None

    @property
    def name(self) -> str:
        """Folder of its Classifier and its evaluation."""
        drawn = "" if self.draw is None else f"-draw{self.draw}"
        return f"{self.arm}/{self.protocol}-{100 * self.fraction:g}pc{drawn}-seed{self.seed}"

    @property
    def key(self) -> tuple[str, str, float, int | tuple[int, int]]:
        """Its place in the tables: as `engine.comparison.Cells`."""
        return self.arm, self.protocol, self.fraction, self.seed if self.draw is None else (self.draw, self.seed)


def cells_of(plan: Study) -> list[Cell]:
    """The grid, in the order in which it is run: a whole row of arms before the next seed."""
    return [
        Cell(name, protocol, fraction, seed, draw)
        for seed in plan.seeds
        for fraction in plan.fractions
        for draw in (range(plan.draws) if plan.draws and fraction <= FEW else (None,))
        for name, arm in plan.arms.items()
        for protocol in (arm.protocols or plan.protocols)
    ]


def candidates(plan: Study, protocol: str) -> list[dict[str, Any]]:
    """Every combination of the options that a protocol searches, the first first; one empty where it searches none.

    What the protocol itself fixes is not searched.
    """
    verb, fixed = VERBS[protocol]
    asked = {name: values for name, values in (plan.search or {}).get(verb, {}).items() if name not in fixed}
    return [dict(zip(asked, values, strict=True)) for values in product(*asked.values())]


def described(plan: Study) -> str:
    """The grid in a line."""
    size = f"{counted(len(plan.arms), 'arm')}, {counted(len(cells_of(plan)), 'training')}"
    shares = ", ".join(f"{100 * fraction:g} %" for fraction in plan.fractions)
    text = f"{size}; labels: {shares}; seeds: {', '.join(map(str, plan.seeds))}"
    few = plan.draws and min(plan.fractions) <= FEW
    return text + (f"; {plan.draws} draws of patients at {100 * FEW:g} % and below" if few else "")


def with_seed(plan: Study, seed: int) -> Study:
    """The study with one seed for all that is drawn: pretraining too, whatever the file says for it or for an arm."""
    arms = {
        name: replace(arm, pretrain={option: value for option, value in arm.pretrain.items() if option != "seed"})
        for name, arm in plan.arms.items()
    }
    return replace(plan, seeds=(seed,), arms=arms, pretrain=plan.pretrain | {"seed": seed})


def filled(value: Any) -> Any:
    """Text with $VARIABLES filled in, in lists too."""
    if isinstance(value, list):
        return [filled(v) for v in value]
    if not isinstance(value, str):
        return value
    text = os.path.expandvars(value)
    require("$" not in text, f"{value} names a variable that is not set.", "Set it in the environment.")
    return text


def say_table(table: Any, differences: Any, plan: Study) -> None:
    """Print what the grid came to: a line for each arm, protocol and share of labels."""
    rows = []
    for (protocol, fraction, arm), part in table.groupby(["protocol", "fraction", "arm"], sort=False):
        values = part["auroc"].dropna()
        spread = f"{values.mean():.3f}" if len(values) else "–"
        spread += f" ± {values.std():.3f}" if len(values) > 1 else ""  # of one seed there is none
        found = differences.query("protocol == @protocol and fraction == @fraction and arm == @arm")
        gain = "" if found.empty else _gain(found.iloc[0])
        rows.append([arm, protocol, f"{100 * fraction:g} %", spread, gain])
    over = "draws and seeds" if "draw" in table else "seeds"
    columns = ["arm", "protocol", "labels", "AUROC", "less baseline"]
    mean = f"over the {counted(table['common'].iloc[0], 'finding')} that all share, " if len(table) else ""
    console.table(f"Macro AUROC on test, {mean}mean ± SD over {over}", columns, rows)
    if any(gain.endswith(MARK) for *_, gain in rows):
        console.say(MARKED)
    scored = for_scoring(plan.uncertain, FINDINGS)
    trained = f"; trained with uncertain = {plan.uncertain}" if scored != plan.uncertain else ""
    console.say(f"Labels: uncertain = {scored}, blank = {plan.blank}{trained}.")


def _gain(found: Mapping[str, Any]) -> str:
    """A row of the differences: `+0.031 [+0.001, +0.060]`, marked as every mean is; what is undefined is left out."""
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if value is None or isnan(value):
        return ""
    if low is None or isnan(low):
        return f"{value:+.3f}"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" + (MARK if mixed(found, found["replicates"]) else "")
