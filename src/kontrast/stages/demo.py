"""`kontrast demo`: the whole flow on generated radiographs, on any laptop, without a network."""

import time
from pathlib import Path

from kontrast import console
from kontrast.config import require, verb
from kontrast.types import Outcome

FRACTIONS = (0.1, 1.0)


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
    out, begun = Path(out), time.monotonic()
    if dry_run:
        console.say(f"Would write generated radiographs, Pack, Encoder, classifiers and a report into {out}.")
        return Outcome("demo", out, "planned")

    def step(number: int, text: str) -> None:
        console.say(f"\n[{number}/6] {text}")

    step(1, "Radiographs of made-up patients, laid out like CheXpert")
    raw = kontrast.phantom(out / "radiographs", patients=patients, size=160, seed=seed)
    step(2, "Prepare: decode, check, split by patient, resize")
    pack = kontrast.prepare(raw, out=out / "pack", size=64, seed=seed)
    step(3, "Pretrain without labels")
    encoder = kontrast.pretrain(
        pack, out=out / "encoders/moco", method="moco", encoder="resnet18", epochs=20, batch_size=64, seed=seed
    )
    step(4, "Classifiers on few labels, and their scores on unseen patients")
    shown = [out / "pack", out / "encoders/moco"]
    for name, start in (("random", "random"), ("moco", encoder)):
        for fraction in FRACTIONS:
            place = f"{name}-{100 * fraction:g}pc"
            made = kontrast.probe(
                start, pack, out=out / "classifiers" / place, label_fraction=fraction, seed=seed,
                encoder="resnet18" if name == "random" else None,
            )  # fmt: skip
            shown += [out / "classifiers" / place, Path(kontrast.evaluate(made, pack, out=out / "scores" / place))]
    tuned = kontrast.finetune(encoder, pack, out=out / "classifiers/moco-finetuned", epochs=8, seed=seed)
    shown += [Path(tuned), Path(kontrast.evaluate(tuned, pack, out=out / "scores/moco-finetuned"))]
    step(5, "Where it looks, and what metadata alone would score")
    shown.append(Path(kontrast.explain(tuned, pack, out=out / "explanation", seed=seed)))
    shown.append(Path(kontrast.audit(pack, out=out / "audit", classifier=Path(tuned))))
    step(6, "Report")
    page = kontrast.report(*shown, out=out / "report.html")
    console.say(f"\nDone in {console.clock(time.monotonic() - begun)}. Open the report in a browser:")
    return Outcome("demo", Path(page), "done", {"seconds": round(time.monotonic() - begun, 1)})
