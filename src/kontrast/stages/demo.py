"""`kontrast demo`: the whole flow on generated radiographs, on any laptop, without a network."""

import time
from pathlib import Path

from kontrast import console
from kontrast.config import require, verb
from kontrast.types import Outcome

FRACTIONS = (0.1, 1.0)
EPOCHS, TUNING_EPOCHS = 10, 6  # two cores that do not compute bfloat16 have three minutes for both
ARM, BASELINE = "moco", "random"


@verb
def demo(*, out: Path = Path("kontrast-demo"), patients: int = 300, seed: int = 0, dry_run: bool = False) -> Outcome:
    """The whole flow on generated radiographs, in minutes, ending with a report.

    Generates radiographs of made-up patients, prepares them, pretrains a small encoder without labels, trains
    classifiers on a tenth and on all of the labels beside the same network without pretraining, scores them on
    patients that nobody has seen, looks where they look, and writes one HTML page. The figures show that the parts
    work together; nothing about real patients follows from them.

    Args:
        out: folder for everything.
        patients: made-up patients; about two and a half images each.
        seed: of everything drawn at random.
        dry_run: say what would be done, write nothing.
    """
    import kontrast

    require(patients >= 40, f"--patients should be at least 40, got {patients}.", "Leave it out for 300.")
    require(seed >= 0, f"--seed {seed} is negative.", "Give --seed 0 or more.")
    out, begun = Path(out), time.monotonic()
    if dry_run:
        console.say(f"Would write generated radiographs, Pack, Encoder, classifiers and a report into {out}.")
        return Outcome("demo", out, "planned")
    _step(1, "Radiographs of made-up patients, laid out like CheXpert")
    raw = kontrast.phantom(out / "radiographs", patients=patients, size=160, seed=seed)
    _step(2, "Prepare: decode, check, split by patient, resize")
    pack = kontrast.prepare(raw, out=out / "pack", size=64, seed=seed)
    _step(3, "Pretrain without labels")
    encoder = kontrast.pretrain(
        pack, out=out / "encoders/moco", method="moco", encoder="resnet18", epochs=EPOCHS, batch_size=64, seed=seed
    )
    _step(4, "Classifiers on few labels, and their scores on unseen patients")
    cells = {
        (arm, fraction): _cell(arm, encoder if arm == ARM else arm, fraction, pack, out, seed)
        for arm in (BASELINE, ARM)
        for fraction in FRACTIONS
    }
    tuned = kontrast.finetune(encoder, pack, out=out / "classifiers/moco-finetuned", epochs=TUNING_EPOCHS, seed=seed)
    kontrast.evaluate(tuned, pack, out=out / "scores/moco-finetuned")
    _step(5, "Where it looks, and what metadata alone would score")
    kontrast.explain(tuned, pack, out=out / "explanation", seed=seed)
    kontrast.audit(pack, out=out / "audit", classifier=Path(tuned))
    _step(6, "Report")
    concluded = _conclude(cells, out / "conclusion", seed)
    scored = [*cells.values(), out / "scores/moco-finetuned"]  # in this order on the page, the baseline first
    others = [out / name for name in ("conclusion", "pack", "encoders", "classifiers", "explanation", "audit")]
    title = "kontrast demo: generated radiographs"
    page = kontrast.report(*scored, *others, out=out / "report.html", title=title, cards=out / "cards")
    console.say(f"\n{concluded}\n\nDone in {console.clock(time.monotonic() - begun)}. Open the report in a browser:")
    return Outcome("demo", Path(page), "done", {"seconds": round(time.monotonic() - begun, 1)})


def _step(number: int, text: str) -> None:
    console.say(f"\n[{number}/6] {text}")


def _cell(arm: str, start: object, fraction: float, pack: object, out: Path, seed: int) -> Path:
    """A probe on one share of the labels, and its evaluation."""
    import kontrast

    name = f"{arm}-{100 * fraction:g}pc"
    network = "resnet18" if arm == BASELINE else None
    made = kontrast.probe(
        start, pack, out=out / "classifiers" / name, label_fraction=fraction, seed=seed, encoder=network
    )
    return Path(kontrast.evaluate(made, pack, out=out / "scores" / name))


def _conclude(cells: dict[tuple[str, float], Path], out: Path, seed: int) -> str:
    """Compare the arms on the same patients, keep it as an artifact, and say what follows from it."""
    from kontrast.artifacts.card import parent, write_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.evaluation import read_evaluation
    from kontrast.engine.comparison import common_findings, compare, gather
    from kontrast.pages.conclusion import conclusion

    folders = {(arm, "probe", fraction, seed): folder for (arm, fraction), folder in cells.items()}
    score = {(row["arm"], row["fraction"]): row["auroc"] for row in gather(folders).to_dict("records")}
    kept = ("fraction", "value", "low", "high", "p", "incomplete", "replicates")
    content = {
        "arm": ARM,
        "baseline": BASELINE,
        "findings": common_findings(folders),
        "patients": read_evaluation(cells[ARM, 1.0]).scores["patients"],
        "differences": [
            {name: row[name] if row[name] == row[name] else None for name in kept}  # NaN: there is none
            | {"first": score[ARM, row["fraction"]], "second": score[BASELINE, row["fraction"]]}
            for row in compare(folders, BASELINE).to_dict("records")
        ],
    }
    asked, parents = {"seed": seed}, [parent("evaluation", folder) for folder in folders.values()]
    if claim(out, "demo", config=asked, parents=parents).state != "done":
        write_card(out, "demo", config=asked, parents=parents, content=content)
    return conclusion(content)
