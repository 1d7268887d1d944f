"""What a study comes to: its tables and folds, from the files of its cells, and both in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kontrast import console
from kontrast.artifacts.disk import write_json
from kontrast.artifacts.pack import Pack
from kontrast.engine.cells import write_tables
from kontrast.engine.comparison import common_findings, compare, gather, left_out
from kontrast.engine.efficiency import curves, learnt, say_saved
from kontrast.engine.folds import crossvalidate
from kontrast.engine.grid import Cell, Study, say_table
from kontrast.types import by_reason, counted

FOLDS, SEARCH = "folds.json", "search.csv"


def write_results(
    plan: Study, cells: Sequence[Cell], pack: Path, encoders: Mapping[str, str], out: Path
) -> tuple[list[str], dict[str, Any]]:
    """Gather the tables of the grid, write them into `out`, and print what they come to.

    Args:
        plan: the study.
        cells: those that were run; their evaluations and Classifiers lie under `out`.
        pack: the labelled one, for the folds.
        encoders: what each arm started from.
        out: the study's folder.

    Returns:
        The names of the files, and over which `findings` all means are, with those `left_out` and why.
    """
    folders = {c.key: out / "evaluations" / c.name for c in cells}
    table = gather(folders)
    differences = compare(folders, plan.baseline, replicates=plan.replicates)
    drawn, saved = curves(folders, plan.baseline, replicates=plan.replicates)
    taught = learnt({c.key: out / "classifiers" / c.name for c in cells})
    tables = {"cells.csv": table, "differences.csv": differences, "curves.csv": drawn, "labels_saved.csv": saved}
    files = [*write_tables(out, tables | {"findings.csv": taught}), *([SEARCH] if (out / SEARCH).is_file() else [])]
    if plan.folds:
        files.append(_cross_validate(plan, pack, encoders, out))
    means: dict[str, Any] = {"findings": common_findings(folders), "left_out": left_out(folders)}
    say_table(table, differences, plan)
    say_saved(saved)
    if means["left_out"]:
        console.say(
            f"All means are over the {counted(len(means['findings']), 'finding')} that all trainings share; not over "
            f"{by_reason(means['left_out'])}."
        )
    return files, means


def _cross_validate(plan: Study, pack: Path, encoders: Mapping[str, str], out: Path) -> str:
    """Compare frozen features in folds of all that pretraining has not seen; the name of the file written."""
    console.say(f"\n== {plan.folds} folds on frozen features")
    named = {name: plan.arms[name].encoder or plan.encoder for name in encoders}
    found = crossvalidate(
        Pack.open(pack), encoders, named, baseline=plan.baseline, folds=plan.folds, findings=plan.findings,
        uncertain=plan.uncertain, blank=plan.blank, replicates=plan.replicates,
    )  # fmt: skip
    write_json(out / FOLDS, found)
    return FOLDS
