"""`kontrast study`: the grid  arms × label fractions × seeds  over the whole flow, cell by cell."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kontrast import console
from kontrast.config import choose, from_dict, load_yaml, require, to_dict, verb
from kontrast.errors import DataError, KontrastError, UsageError
from kontrast.types import Outcome, counted

PROTOCOLS = ("probe", "finetune")


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
    """`probe`, `finetune`; the study's when left out."""
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
    protocols: tuple[str, ...] = PROTOCOLS
    """How labels are used: `probe` (frozen features), `finetune` (all weights)."""
    fractions: tuple[float, ...] = (0.1, 1.0)
    """Shares of the training patients whose labels are used."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of patients, and one training, for each."""
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
        require(self.folds == 0 or self.folds >= 2, f"folds: {self.folds} is too few.", "Write 5, or 0 for none.")


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation."""

    arm: str
    protocol: str
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        """Folder of its Classifier and its evaluation."""
        return f"{self.arm}/{self.protocol}-{100 * self.fraction:g}pc-seed{self.seed}"


@verb
def study(file: Path, /, *, out: Path, jobs: int = 1, seed: int | None = None, dry_run: bool = False) -> Outcome:
    """Run the grid: methods × weights × label fractions × seeds.

    Every cell is an artifact of its own under --out, so an interrupted study goes on where it stopped.

    Args:
        file: the study, YAML (see configs/study/).
        out: folder for everything the study makes.
        jobs: cells at a time; each gets its share of the cores.
        seed: run the grid with this seed alone; left out: with each of the file's `seeds`.
        dry_run: print the plan.

    Raises:
        UsageError: a word in the file that is not known.
    """
    from kontrast.artifacts.card import CARD, CLAIM, claim, read_card
    from kontrast.artifacts.lock import locked

    require(jobs >= 1, f"--jobs should be at least 1, got {jobs}.", "Leave it out for 1.")
    file, out = Path(file), Path(out)
    plan = from_dict(Study, load_yaml(file), where=file.name)
    if seed is not None:
        plan = replace(plan, seeds=(seed,))
    asked = to_dict(plan)
    if claim(out, "study", config=asked, dry_run=True).state == "done":
        console.say(f"{out} is already done.")
        return Outcome("study", out, "already done", read_card(out).content["summary"])
    _check_words(plan, file.name)
    cells = cells_of(plan)
    size = f"{counted(len(plan.arms), 'arm')}, {counted(len(cells), 'training')}"
    console.say(f"{size}; fractions {plan.fractions}, seeds {plan.seeds}.")
    if dry_run:
        for cell in cells:
            console.say(f"  {cell.name}")
        return Outcome("study", out, "planned", {"cells": [cell.name for cell in cells]})
    _check_inputs(plan)
    claim(out, "study", config=asked)
    with locked(out):
        try:
            packs = _prepare(plan, out)
        except KontrastError:
            # Refused before anything was made (a patient in two splits, say): the mended file may use the folder.
            if not any(out.rglob(CARD)):
                (out / CLAIM).unlink(missing_ok=True)
            raise
        encoders = _pretrain(plan, packs, out)
        cells = [cell for cell in cells if cell.arm in encoders]
        _run(cells, encoders, jobs, lambda cell: run_cell(plan, cell, packs[plan.pack], encoders[cell.arm], out))
        _explain(plan, cells, packs[plan.pack], out)
        return _finish(plan, cells, packs, encoders, out, asked)


def cells_of(plan: Study) -> list[Cell]:
    """The grid, in the order in which it is run: a whole row of arms before the next seed."""
    return [
        Cell(name, protocol, fraction, seed)
        for seed in plan.seeds
        for fraction in plan.fractions
        for name, arm in plan.arms.items()
        for protocol in (arm.protocols or plan.protocols)
    ]


def _check_words(plan: Study, where: str) -> None:
    """Refuse a wrong option before hours are spent: those of `finetune` are first used after all pretraining."""
    import kontrast
    from kontrast.config import check_options
    from kontrast.engine.planning import check_encoder, choose_method

    for name, options in plan.prepare.items():
        given = {k: v for k, v in options.items() if k != "source"}
        check_options(kontrast.prepare, given, where=f"{where}: prepare: {name}")
    for name, arm in plan.arms.items():
        method = {"method": arm.method} if arm.method else {}
        options = method | plan.pretrain | arm.pretrain
        check_options(kontrast.pretrain, options, where=f"{where}: arms: {name}")
        if arm.method and arm.method != "auto":
            check_encoder(choose_method(arm.method), options.get("encoder", arm.encoder or plan.encoder))
    for verb_name in PROTOCOLS:
        check_options(getattr(kontrast, verb_name), getattr(plan, verb_name), where=f"{where}: {verb_name}")


def _check_inputs(plan: Study) -> None:
    """Refuse a source or Pack that is not there before the folder is claimed: the mended file is another study."""
    from kontrast.artifacts.card import read_card

    for name, options in plan.prepare.items():
        source = Path(_filled(options.get("source", name)))
        require(source.exists(), f"prepare: {name}: there is no {source}.", "Name the folder with the images.")
    for name in (plan.pack, *plan.pretrain_packs):
        if name not in plan.prepare:
            read_card(_filled(name), "pack")


def _prepare(plan: Study, out: Path) -> dict[str, Path]:
    """The Packs by the names under which the study knows them."""
    from kontrast import prepare

    packs = {}
    for name, options in plan.prepare.items():
        given = {k: _filled(v) for k, v in options.items() if k != "source"}
        console.say(f"\n== prepare {name}")
        packs[name] = Path(prepare(Path(_filled(options.get("source", name))), out=out / "packs" / name, **given))
    for name in (plan.pack, *plan.pretrain_packs):
        packs.setdefault(name, Path(_filled(name)))
    return packs


def _filled(value: Any) -> Any:
    """Text with $VARIABLES filled in, in lists too."""
    if isinstance(value, list):
        return [_filled(v) for v in value]
    if not isinstance(value, str):
        return value
    filled = os.path.expandvars(value)
    require("$" not in filled, f"{value} names a variable that is not set.", "Set it in the environment.")
    return filled


def _pretrain(plan: Study, packs: dict[str, Path], out: Path) -> dict[str, str]:
    """What each arm starts from, as `probe` and `finetune` take it. Arms whose weights are missing are left out."""
    from kontrast import pretrain

    sources = [packs[name] for name in plan.pretrain_packs or (plan.pack,)]
    encoders = {}
    for name, arm in plan.arms.items():
        try:
            _weights_exist(arm, plan)
        except UsageError as error:
            # Missing weights alone make an optional arm disappear; any other error of its own must be seen.
            if not arm.optional:
                raise
            console.warn(f"arm {name} is left out: {error.problem}")
            continue
        if arm.method is None:
            encoders[name] = _filled(arm.start)
            continue
        console.say(f"\n== pretrain {name}")
        options = {"method": arm.method, "encoder": arm.encoder or plan.encoder, "init": _filled(arm.start)}
        made = pretrain(*sources, out=out / "encoders" / name, **(options | plan.pretrain | arm.pretrain))
        encoders[name] = str(Path(made))
    return encoders


def _weights_exist(arm: Arm, plan: Study) -> None:
    from kontrast.nn.weights import find_imagenet

    start = _filled(arm.start)
    if start == "imagenet":
        find_imagenet(arm.encoder or plan.encoder)
    elif start != "random":
        require(Path(start).exists(), f"start: there is no {start}.", "Name weights, `random` or `imagenet`.")


def _run(cells: list[Cell], encoders: dict[str, str], jobs: int, work: Callable[[Cell], Any]) -> None:
    from joblib import Parallel, delayed

    if jobs == 1:
        with console.progress("study", len(cells), "cells") as line:
            for cell in cells:
                work(cell)
                line.update()
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    Parallel(n_jobs=jobs)(delayed(_alone)(work, cell, threads) for cell in cells)


def _alone(work: Callable[[Cell], Any], cell: Cell, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    work(cell)


def run_cell(plan: Study, cell: Cell, pack: Path, encoder: str, out: Path) -> None:
    """Train one Classifier and score it on the test split; both resume, or are done."""
    import kontrast

    train = getattr(kontrast, cell.protocol)
    options: dict[str, Any] = {"uncertain": plan.uncertain, "blank": plan.blank, "findings": plan.findings}
    if encoder in ("random", "imagenet") or Path(encoder).is_file():
        options["encoder"] = plan.arms[cell.arm].encoder or plan.encoder
    options |= plan.probe if cell.protocol == "probe" else plan.finetune
    console.say(f"\n== {cell.name}")
    classifier = train(
        encoder, pack, out=out / "classifiers" / cell.name, label_fraction=cell.fraction, seed=cell.seed, **options
    )
    # Uncertain labels cannot be scored softly: they count for nothing there, and the figure says so.
    policy = plan.uncertain.replace("soft", "ignore")
    kontrast.evaluate(
        classifier, pack, out=out / "evaluations" / cell.name, uncertain=policy, blank=plan.blank,
        replicates=plan.replicates,
    )  # fmt: skip


def _explain(plan: Study, cells: list[Cell], pack: Path, out: Path) -> None:
    """Heat maps of one cell, for the report: of the first arm that is not the baseline, with the most labels.

    Not of the best: its maps would be chosen on the test split.
    """
    from kontrast import explain

    shown = max(cells, key=lambda c: (c.arm != plan.baseline, c.protocol == "finetune", c.fraction))
    console.say(f"\n== where {shown.name} looks")
    try:
        explain(out / "classifiers" / shown.name, pack, out=out / "explanations" / shown.name, images=4, limit=100)
    except DataError as error:  # no positive image of any finding: nothing to look at
        console.warn(error.problem)


def _finish(
    plan: Study, cells: list[Cell], packs: dict[str, Path], encoders: dict[str, str], out: Path, asked: dict[str, Any]
) -> Outcome:
    """Gather the tables of the grid from the evaluations' files, and close the study."""
    from kontrast.artifacts.card import parents_of, write_card
    from kontrast.artifacts.disk import atomic, write_json
    from kontrast.artifacts.pack import Pack
    from kontrast.engine.comparison import common_findings, compare, gather, left_out
    from kontrast.engine.folds import crossvalidate

    folders = {(c.arm, c.protocol, c.fraction, c.seed): out / "evaluations" / c.name for c in cells}
    table = gather(folders)
    differences = compare(folders, plan.baseline, replicates=plan.replicates)
    files = ["cells.csv", "differences.csv"]
    for name, lines in zip(files, (table, differences), strict=True):
        with atomic(out / name) as stream:
            stream.write(lines.to_csv(index=False, lineterminator="\n").encode())
    if plan.folds:
        console.say(f"\n== {plan.folds} folds on frozen features")
        named = {name: plan.arms[name].encoder or plan.encoder for name in encoders}
        found = crossvalidate(
            Pack.open(packs[plan.pack]), encoders, named, baseline=plan.baseline, folds=plan.folds,
            findings=plan.findings, uncertain=plan.uncertain, blank=plan.blank, replicates=plan.replicates,
        )  # fmt: skip
        write_json(out / "folds.json", found)
        files.append("folds.json")
    summary = {"cells": len(cells), "arms": list(encoders), "left_out": [a for a in plan.arms if a not in encoders]}
    # The inputs are in the content: when the folder was claimed, the Packs and encoders were still to be made.
    used = {"pack": packs[plan.pack]} | {f"encoder {name}": folder for name, folder in encoders.items()}
    inputs = [asdict(one) for one in parents_of(**used)]
    absent = left_out(folders)
    means = {"findings": common_findings(folders), "left_out": absent}
    content = {"summary": summary, "inputs": inputs, "means": means}
    write_card(out, "study", config=asked, content=content, files=files)
    _say(table, differences, plan)
    if absent:
        console.say(
            f"All means are over {len(means['findings'])} findings; not over "
            f"{', '.join(f'{name} ({reason})' for name, reason in absent.items())}."
        )
    return Outcome("study", out, "done", summary)


def _say(table: Any, differences: Any, plan: Study) -> None:
    rows = []
    for (protocol, fraction, arm), part in table.groupby(["protocol", "fraction", "arm"], sort=False):
        values = part["auroc"].dropna()
        spread = f"{values.mean():.3f}" if len(values) else "–"
        spread += f" ± {values.std():.3f}" if len(values) > 1 else ""  # of one seed there is none
        found = differences.query("protocol == @protocol and fraction == @fraction and arm == @arm")
        gain = "" if found.empty or found["value"].isna().all() else "{value:+.3f}"
        gain += " [{low:+.3f}, {high:+.3f}]" if gain and found["low"].notna().all() else ""
        rows.append([arm, protocol, f"{100 * fraction:g} %", spread, gain.format(**found.iloc[0]) if gain else ""])
    console.table(
        "Macro AUROC on test (mean ± SD over seeds)", ["arm", "protocol", "labels", "AUROC", "less baseline"], rows
    )
    console.say(f"Labels: uncertain = {plan.uncertain.replace('soft', 'ignore')}, blank = {plan.blank}.")
