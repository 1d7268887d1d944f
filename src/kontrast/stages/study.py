"""`kontrast study`: the grid  arms × label fractions × seeds  over the whole flow, cell by cell."""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kontrast import console
from kontrast.config import from_dict, load_yaml, require, to_dict, verb
from kontrast.errors import DataError, KontrastError, UsageError
from kontrast.types import Outcome

if TYPE_CHECKING:
    from kontrast.engine.grid import Cell, Study
    from kontrast.engine.sharing import Each

FEATURES = ".features"
"""Folder of what cells share while a study runs; taken away at its end."""


@verb
def study(
    file: Path,
    /,
    *,
    out: Path,
    jobs: int = 1,
    cluster: str | None = None,
    seed: int | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Run the grid: methods × weights × label fractions × seeds.

    Every cell is an artifact of its own under --out, so an interrupted study goes on where it stopped, and one to which
    arms, protocols, fractions, seeds or draws are added trains only what is new. Heat maps and an audit of one cell,
    and of the Packs, are made at the end.

    Args:
        file: the study, YAML (see configs/study/).
        out: folder for everything the study makes.
        jobs: cells at a time; each gets its share of the cores.
        cluster: address of a Dask scheduler (tcp://HOST:8786) whose workers prepare, pretrain and train the cells.
        seed: run grid and pretraining with this seed alone, in place of the file's; `prepare` splits as the file says.
        dry_run: read what is there, and print the plan.

    Raises:
        UsageError: a word in the file that is not known, or a Pack that leaves nothing to train or test on.
    """
    import kontrast
    from kontrast.artifacts.card import CARD, CLAIM, read_card
    from kontrast.artifacts.claims import claim, standing
    from kontrast.artifacts.lock import locked
    from kontrast.engine.cells import check_pack, check_words
    from kontrast.engine.enlarging import enlarges, say_added, shown_before
    from kontrast.engine.grid import Study, cells_of, described, with_seed
    from kontrast.engine.sharing import in_turn, sharing

    require(seed is None or seed >= 0, f"--seed {seed} is negative.", "Give --seed 0 or more.")
    require(jobs >= 1, f"--jobs should be at least 1, got {jobs}.", "Leave it out for 1.")
    require(
        cluster is None or jobs == 1,
        f"--jobs {jobs} and --cluster {cluster} exclude each other.",
        "Leave out --jobs: a cluster does as many at a time as it has workers.",
    )
    file, out = Path(file), Path(out)
    plan = from_dict(Study, load_yaml(file), where=file.name)
    if seed is not None:
        plan = with_seed(plan, seed)
    asked = to_dict(plan)
    held = standing(out)
    enlarged = held is not None and enlarges(plan, held[1])
    if not enlarged and claim(out, "study", config=asked, dry_run=True).state == "done":
        console.say(f"{out} is already done.")
        return Outcome("study", out, "already done", read_card(out).content["summary"])
    check_words(
        plan, file.name, {name: getattr(kontrast, name) for name in ("prepare", "pretrain", "probe", "finetune")}
    )
    _check_inputs(plan, out)
    cells = cells_of(plan)
    console.say(f"{described(plan)}.")
    if held and enlarged:
        say_added(plan, held[1]["config"])
    if dry_run:
        for cell in cells:
            console.say(f"  {cell.name}")
        return Outcome("study", out, "planned", {"cells": [cell.name for cell in cells]})
    if not enlarged:
        claim(out, "study", config=asked)
    with locked(out):
        if held and enlarged and held[0] == "resume":  # a finished study stands until the larger one takes its place
            claim(out, "study", config=asked, allow_changes=True)
        try:
            packs = _prepare(plan, out, cluster)
        except KontrastError:
            # Refused before anything was made (a patient in two splits, say): the mended file may use the folder.
            if not any(out.rglob(CARD)):
                (out / CLAIM).unlink(missing_ok=True)
            raise
        made = read_card(packs[plan.pack]).content
        check_pack(plan, made["findings"], {name: n["images"] for name, n in made["splits"].items()})
        with sharing(jobs, cluster) as each:
            encoders = _pretrain(plan, packs, out, each if cluster else in_turn)
            cells = [cell for cell in cells if cell.arm in encoders]
            used = packs[plan.pack]
            chosen = _search(plan, cells, used, encoders, out, each)
            calls = [(plan, c, used, encoders[c.arm], out, chosen.get(c.key[:3])) for c in cells]
            with console.progress("study", len(cells), "cells") as line:
                for _ in each(run_cell, calls):
                    line.update()
        shown = shown_before(plan, cells, out)
        _explain(plan, shown, packs[plan.pack], out)
        _audit(plan, shown, packs, out)
        return _finish(plan, cells, packs, encoders, out, asked)


def _check_inputs(plan: "Study", out: Path) -> None:
    """Refuse what cannot be prepared, trained on or tested on, before the folder is claimed and hours are spent."""
    from kontrast import prepare
    from kontrast.artifacts.card import read_card
    from kontrast.engine.cells import check_pack, source_of
    from kontrast.engine.grid import filled

    for name in plan.prepare:
        source, options = source_of(plan, name)
        require(source.exists(), f"prepare: {name}: {source} is not there.", "Name the folder with the images.")
        with console.silent(warnings=True):  # all of it is said again when the Pack is made
            planned = prepare(source, out=out / "packs" / name, dry_run=True, **options).summary
        if name == plan.pack:
            images = {split: n["images"] if isinstance(n, dict) else n for split, n in planned["splits"].items()}
            check_pack(plan, list(planned["findings"]), images)
    for name in (plan.pack, *plan.pretrain_packs):
        if name not in plan.prepare:
            content = read_card(filled(name), "pack").content
            if name == plan.pack:
                check_pack(plan, content["findings"], {split: n["images"] for split, n in content["splits"].items()})


def _prepare(plan: "Study", out: Path, cluster: str | None) -> dict[str, Path]:
    """The Packs by the names under which the study knows them."""
    from kontrast import prepare
    from kontrast.engine.cells import source_of
    from kontrast.engine.grid import filled

    packs = {}
    for name in plan.prepare:
        console.say(f"\n== prepare {name}")
        source, options = source_of(plan, name)
        there = {"cluster": cluster} if cluster else {}
        packs[name] = Path(prepare(source, out=out / "packs" / name, **options | there))
    for name in (plan.pack, *plan.pretrain_packs):
        packs.setdefault(name, Path(filled(name)))
    return packs


def _pretrain(plan: "Study", packs: dict[str, Path], out: Path, each: "Each") -> dict[str, str]:
    """What each arm starts from, as `probe` and `finetune` take it. Arms whose weights are missing are left out."""
    from kontrast.engine.cells import weights_exist
    from kontrast.engine.grid import filled

    sources = [packs[name] for name in plan.pretrain_packs or (plan.pack,)]
    encoders, calls = {}, []
    for name, arm in plan.arms.items():
        try:
            weights_exist(arm, plan)
        except UsageError as error:
            # Missing weights alone make an optional arm disappear; any other error of its own must be seen.
            if not arm.optional:
                raise
            console.warn(f"arm {name} is left out: {error.problem}")
            continue
        encoders[name] = filled(arm.start)
        if arm.method is not None:
            options = {"method": arm.method, "encoder": arm.encoder or plan.encoder, "init": filled(arm.start)}
            encoders[name] = str(out / "encoders" / name)
            calls.append((name, sources, encoders[name], options | plan.pretrain | arm.pretrain))
    for _ in each(pretrain_arm, calls):
        pass
    return encoders


def pretrain_arm(name: str, packs: Sequence[Path], out: str, options: dict[str, Any]) -> None:
    """Pretrain the encoder of one arm; it resumes, or is done."""
    from kontrast import pretrain

    console.say(f"\n== pretrain {name}")
    pretrain(*packs, out=Path(out), **options)


def _search(
    plan: "Study", cells: "list[Cell]", pack: Path, encoders: dict[str, str], out: Path, each: "Each"
) -> dict[tuple[str, str, float], dict[str, Any]]:
    """Try the same options for every arm; validation chooses, the test split is not looked at. Writes search.csv."""
    from kontrast.artifacts.card import read_card
    from kontrast.engine.cells import trials_of, write_tables
    from kontrast.engine.efficiency import best_of_search
    from kontrast.engine.results import SEARCH

    trials = trials_of(plan, cells, out)
    if not trials:
        return {}
    console.say(f"\n== search: {len(trials)} trainings, chosen on validation")
    calls = [(plan, cell, pack, encoders[cell.arm], out, folder, tried) for cell, tried, folder in trials]
    for _ in each(train_cell, calls):
        pass
    scores = [read_card(folder).content["summary"]["val"]["macro_auroc"] for *_, folder in trials]
    table, chosen = best_of_search([(*trial[:2], score) for trial, score in zip(trials, scores, strict=True)])
    write_tables(out, {SEARCH: table})
    return chosen


def train_cell(
    plan: "Study", cell: "Cell", pack: Path, encoder: str, out: Path, folder: Path, tried: Mapping[str, Any]
) -> Outcome:
    """Train one Classifier; it resumes, or is done."""
    import kontrast
    from kontrast.engine.cells import training_of

    verb_name, options = training_of(plan, cell, encoder, tried)
    with _features(cell, out):
        made: Outcome = getattr(kontrast, verb_name)(encoder, pack, out=folder, **options)
    return made


def _features(cell: "Cell", out: Path) -> contextlib.AbstractContextManager[None]:
    """What all cells of one frozen encoder use is computed once; fine-tuned ones have features of their own."""
    from kontrast.engine.grid import VERBS
    from kontrast.engine.kept import kept_in

    return kept_in(out / FEATURES) if VERBS[cell.protocol][0] == "probe" else contextlib.nullcontext()


def run_cell(
    plan: "Study", cell: "Cell", pack: Path, encoder: str, out: Path, tried: Mapping[str, Any] | None = None
) -> None:
    """Train one Classifier and score it on the test split; both resume, or are done."""
    import kontrast
    from kontrast.artifacts.card import read_card
    from kontrast.data.labels import for_scoring

    console.say(f"\n== {cell.name}")
    classifier = train_cell(plan, cell, pack, encoder, out, out / "classifiers" / cell.name, tried or {})
    # Scores need targets that are not drawn or learnt: such labels count for nothing there, and the figure says so.
    policy = for_scoring(plan.uncertain, read_card(pack).content["findings"])
    with _features(cell, out):
        kontrast.evaluate(
            classifier, pack, out=out / "evaluations" / cell.name, uncertain=policy, blank=plan.blank,
            replicates=plan.replicates,
        )  # fmt: skip


def _explain(plan: "Study", shown: "Cell", pack: Path, out: Path) -> None:
    """Heat maps of the cell that is shown, for the report."""
    from kontrast import explain

    console.say(f"\n== where {shown.name} looks")
    try:
        explain(out / "classifiers" / shown.name, pack, out=out / "explanations" / shown.name, images=4, limit=100)
    except DataError as error:  # no positive image of any finding: nothing to look at
        console.warn(error.problem)


def _audit(plan: "Study", shown: "Cell", packs: dict[str, Path], out: Path) -> None:
    """What the Packs share, what metadata alone reach, and groups of patients of the cell that is shown.

    Overlap with what its weights have met, and the floor, stand beside the figures of every other cell too.
    """
    from kontrast import audit
    from kontrast.artifacts.card import read_card
    from kontrast.data.labels import for_scoring

    console.say("\n== audit")
    used = dict.fromkeys(packs[name].resolve() for name in (plan.pack, *plan.pretrain_packs))
    policy = for_scoring(plan.uncertain, read_card(packs[plan.pack]).content["findings"])
    audit(
        *used, out=out / "audit", classifier=out / "classifiers" / shown.name, uncertain=policy, blank=plan.blank,
        replicates=plan.replicates,
    )  # fmt: skip


def _finish(
    plan: "Study", cells: "list[Cell]", packs: dict[str, Path], encoders: dict[str, str], out: Path,
    asked: dict[str, Any],
) -> Outcome:  # fmt: skip
    """Write the tables of the grid, and close the study."""
    from kontrast.artifacts.card import parents_of, write_card
    from kontrast.engine.enlarging import asked_before
    from kontrast.engine.kept import kept_in
    from kontrast.engine.results import write_results

    with kept_in(out / FEATURES, add=False):  # folds look at what no encoder has met, and once
        files, means = write_results(plan, cells, packs[plan.pack], encoders, out)
    shutil.rmtree(out / FEATURES, ignore_errors=True)
    summary = {"cells": len(cells), "arms": list(encoders), "left_out": [a for a in plan.arms if a not in encoders]}
    # The inputs are in the content: when the folder was claimed, the Packs and encoders were still to be made.
    used = {"pack": packs[plan.pack]} | {f"encoder {name}": folder for name, folder in encoders.items()}
    content = {"summary": summary, "inputs": [asdict(one) for one in parents_of(**used)], "means": means}
    content |= {"earlier": earlier} if (earlier := asked_before(out)) else {}
    write_card(out, "study", config=asked, content=content, files=files)
    return Outcome("study", out, "done", summary)
