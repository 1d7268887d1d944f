"""Does every method learn: linear probes on frozen features of small encoders, beside pixels and random weights.

    python benchmarks/every_method.py --out runs/every_method [--methods moco simclr …] [--patients 800] [--steps 300]
                                      [--seed 0]

Generates radiographs, prepares them at 32 px, pretrains an encoder of 64 features with each method on the training part
(a small CNN; a small ViT where patches are hidden), all for as many steps of 64 images, with the settings that kontrast
chooses. Probes are fitted on a tenth of the training patients (five draws) and on all of them, and scored on the test
part: patients that neither the encoder nor the probe has met. Random weights are drawn three times. The same command
again goes on where it was. Writes `every_method.json` into --out; its committed copy is in benchmarks/results.
--table shows that copy whole, --page METHOD as the page of a method has it. Some twenty minutes on a core.

The runs are short and the encoders tiny: this shows that each method, as it stands, learns something that a probe can
use. It does not say which method is best for radiographs (docs/results.md has real ones).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from collapse import BATCH, NARROW, Small, vit
from learning import compare, table

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.methods import METHODS
from kontrast.nn.encoders import ENCODERS

SIZE, CNN, VIT = 32, "small_cnn", "vit_tiny"
COMMITTED = Path(__file__).parent / "results" / "every_method.json"


def pretrained(method: str, pack: Pack, out: Path, steps: int, seed: int) -> Path:
    """An Encoder by one method, in a given number of steps."""
    epochs = steps / (len(pack.rows("train")) // BATCH)
    has = METHODS[method].Config.__dataclass_fields__
    made = kontrast.pretrain(
        pack.path, out=out / method, method=method, encoder=VIT if METHODS[method].needs_vit else CNN,
        epochs=epochs, batch_size=BATCH, precision="fp32", device="cpu", seed=seed,
        options={name: width for name, width in NARROW.items() if name in has},
    )  # fmt: skip
    return Path(made)


def page(result: dict[str, Any], method: str) -> str:
    """What the page of a method says of it: its rows beside random weights and pixels."""
    lines = [
        "| labels | this method | less random weights | random weights | pixels |",
        "|---|---|---|---|---|",
    ]
    for fraction, rows in result["fractions"].items():
        own, gain = rows[method], rows[method]["over_random"]
        random = rows[f"random {VIT if METHODS[method].needs_vit else CNN}"]["auroc"]
        lines.append(
            f"| {float(fraction):.0%} | {scored(own['auroc'])} | {gain['value']:+.3f} [{gain['low']:+.3f}, "
            f"{gain['high']:+.3f}] | {random['value']:.3f} | {rows['pixels']['auroc']['value']:.3f} |"
        )
    return "\n".join(lines)


def scored(score: dict[str, Any]) -> str:
    """A score with its interval."""
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """What the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    for option, default in (("patients", 800), ("steps", 300), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--page", choices=list(METHODS))
    asked = parser.parse_args(arguments)
    if asked.table or asked.page:
        committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
        print(table(committed) if asked.table else page(committed, asked.page))
        return
    if asked.out is None:
        parser.error("--out DIR says where the runs go.")
    torch.set_num_threads(1)
    ENCODERS[CNN], ENCODERS[VIT] = lambda spec: Small(), vit
    raw = kontrast.phantom(asked.out / "radiographs", patients=asked.patients, size=2 * SIZE, seed=asked.seed)
    pack = Pack.open(Path(kontrast.prepare(raw, out=asked.out / "pack", size=SIZE, seed=asked.seed)))
    encoders = {method: pretrained(method, pack, asked.out, asked.steps, asked.seed) for method in asked.methods}
    settings: dict[str, Any] = {
        "patients": asked.patients, "images": len(pack), "size": SIZE, "steps": asked.steps, "batch": BATCH,
        "seed": asked.seed, "torch": torch.__version__,
    }  # fmt: skip
    result = settings | compare(pack, encoders)
    text = json.dumps(result, indent=1) + "\n"
    (asked.out / "every_method.json").write_text(text, encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
