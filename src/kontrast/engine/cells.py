"""The cells of a study: what is checked before, what each is trained with, and what is written of all."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kontrast.artifacts.disk import atomic
from kontrast.config import check_options, choose, require
from kontrast.engine.choices import check_encoder, choose_method
from kontrast.engine.grid import VERBS, Arm, Cell, Study, candidates, filled
from kontrast.nn.weights import find_imagenet

Trial = tuple[Cell, dict[str, Any], Path]
"""The cell that stands for its place in the grid, the options tried, and the folder of the Classifier."""


def check_words(plan: Study, where: str, verbs: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse a wrong option before hours are spent: those of `finetune` are first used after all pretraining.

    Args:
        plan: the study.
        where: its file, for the message.
        verbs: the functions of the commands that make it, by name.

    Raises:
        UsageError: a word that is no option of its command, or a value that does not fit.
    """
    for name, options in plan.prepare.items():
        given = {k: v for k, v in options.items() if k != "source"}
        check_options(verbs["prepare"], given, where=f"{where}: prepare: {name}")
    for name, arm in plan.arms.items():
        method = {"method": arm.method} if arm.method else {}
        options = method | plan.pretrain | arm.pretrain
        check_options(verbs["pretrain"], options, where=f"{where}: arms: {name}")
        encoder = options.get("encoder", arm.encoder or plan.encoder)
        if arm.method and "auto" not in (arm.method, encoder):
            check_encoder(choose_method(arm.method), encoder)
    for verb in ("probe", "finetune"):
        check_options(verbs[verb], getattr(plan, verb), where=f"{where}: {verb}")
    for protocol, (verb, fixed) in VERBS.items():
        for tried in candidates(plan, protocol):
            check_options(verbs[verb], getattr(plan, verb) | tried | fixed, where=f"{where}: search: {verb}")


def check_pack(plan: Study, findings: Sequence[str], images: Mapping[str, int]) -> None:
    """Refuse a labelled Pack without the findings, or with a split that is empty."""
    require(bool(findings), f"pack: {plan.pack} has no labels.", "Prepare it with `labels:`.")
    for name in plan.findings:
        choose(name, findings, "findings:")
    for split, use in (("train", "learn from"), ("test", "test on")):
        repaired = plan.prepare.get(plan.pack, {}).get("repair_splits")
        why = " after repair_splits has moved every patient who stands in two splits to train" if repaired else ""
        require(
            images[split] > 0,
            f"pack: {plan.pack} has no {split} images{why}: there is nothing to {use}.",
            "Give other splits (`labels:`, `val_fraction:`, `test_fraction:` under `prepare:`), or another Pack.",
        )


def source_of(plan: Study, name: str) -> tuple[Path, dict[str, Any]]:
    """The folder and the options from which a Pack of the study is prepared."""
    options = {option: filled(value) for option, value in plan.prepare[name].items()}
    return Path(options.pop("source", name)), options


def weights_exist(arm: Arm, plan: Study) -> None:
    """Refuse an arm whose weights are missing.

    Raises:
        UsageError: with what is missing, and where to put it.
    """
    start = filled(arm.start)
    if start == "imagenet":
        find_imagenet(arm.encoder or plan.encoder)
    elif start != "random":
        require(Path(start).exists(), f"start: there is no {start}.", "Name weights, `random` or `imagenet`.")


def trials_of(plan: Study, cells: Sequence[Cell], out: Path) -> list[Trial]:
    """The same options for every arm, protocol and fraction, each in its first run; none where one is to be tried."""
    first: dict[tuple[str, str, float], Cell] = {}
    for cell in cells:
        first.setdefault(cell.key[:3], cell)
    return [
        (cell, tried, out / "classifiers" / cell.arm / "search" / f"{Path(cell.name).name}-{number}")
        for cell in first.values()
        for number, tried in enumerate(candidates(plan, cell.protocol))
        if len(candidates(plan, cell.protocol)) > 1
    ]


def training_of(plan: Study, cell: Cell, encoder: str, tried: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The command that trains a cell, and its options: the study's, those that were searched, its protocol's own."""
    verb, fixed = VERBS[cell.protocol]
    options: dict[str, Any] = {"uncertain": plan.uncertain, "blank": plan.blank, "findings": plan.findings}
    if encoder in ("random", "imagenet") or Path(encoder).is_file():
        options["encoder"] = plan.arms[cell.arm].encoder or plan.encoder
    options |= {"label_fraction": cell.fraction, "seed": cell.seed, "draw": cell.draw, "stratify": plan.stratify}
    return verb, options | getattr(plan, verb) | dict(tried) | fixed


def shown_cell(plan: Study, cells: Sequence[Cell]) -> Cell:
    """The cell that stands for the study in heat maps and audit: of the first arm but the baseline, with most labels.

    Not the best: that would be chosen on the test split.
    """
    tuned = ("finetune", "full", "lp-ft")
    return max(cells, key=lambda c: (c.arm != plan.baseline, c.protocol in tuned, c.protocol != "knn", c.fraction))


def write_tables(out: Path, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Write each as CSV; their names."""
    for name, lines in tables.items():
        with atomic(out / name) as stream:
            stream.write(lines.to_csv(index=False, lineterminator="\n").encode())
    return list(tables)
