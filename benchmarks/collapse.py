"""What the collapse monitor sees in healthy runs of every method, and in runs that are made to collapse.

    python benchmarks/collapse.py [METHOD …]
    python benchmarks/collapse.py --table

Trains a small CNN (a small ViT where patches are hidden) on generated radiographs of 32 px, 64 images a step, 225
steps: every method as it is, and with a setting that spoils it. Prints a line a run and writes collapse.csv beside
this file; some twenty minutes on a core. The signs are those that the run itself printed. --table shows the file as
docs/watching.md has it.
"""

import contextlib
import csv
import io
import os
import re
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import kontrast
from kontrast import console
from kontrast.artifacts.pack import Pack
from kontrast.engine.history import read_history
from kontrast.engine.monitor import LINES
from kontrast.methods import METHODS
from kontrast.nn.backbone import Encoder
from kontrast.nn.encoders import ENCODERS, EncoderSpec
from kontrast.nn.vit import VisionTransformer

TABLE = Path(__file__).with_suffix(".csv")
STEPS, BATCH, SIZE = 225, 64, 32
NARROW = {"hidden_dim": 256, "dim": 256, "decoder_dim": 64, "decoder_depth": 1}
"""Widths of heads for features of 64 numbers, by the names that methods' configurations share."""

SPOILT: list[tuple[str, dict[str, Any]]] = [
    ("moco", {"lr": 0.3}),
    ("moco", {"temperature": 100.0}),
    ("mocov3", {"lr": 0.3}),
    ("simclr", {"lr": 0.3}),
    ("simclr", {"temperature": 100.0}),
    ("byol", {"lr": 0.05}),
    ("byol", {"lr": 0.05, "momentum": 0.0}),
    ("simsiam", {"lr": 5.0}),
    ("swav", {"lr": 0.3}),
    ("swav", {"options": {"epsilon": 10.0}}),
    ("barlow", {"lr": 0.3}),
    ("vicreg", {"lr": 0.3}),
    ("dino", {"lr": 0.03}),
    ("dino", {"options": {"teacher_temperature": 1.0}}),
    ("dino", {"lr": 0.005, "momentum": 0.0}),
    ("dinov2", {"lr": 0.1}),
    ("mae", {"lr": 0.3}),
]


class Small(Encoder):
    """Three strided convolutions: 64 features."""

    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise([1, 16, 32, 64]):
            layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def feature_maps(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, 64, H/8, W/8)."""
        return self.body(x)  # type: ignore[no-any-return]


def vit(spec: EncoderSpec) -> VisionTransformer:
    """Three small blocks on patches of 8 pixels: 64 features."""
    return VisionTransformer(size=spec.size, patch=spec.patch, dim=64, depth=3, heads=2)


def measured(lines: list[dict[str, Any]], said: str) -> dict[str, Any]:
    """What a run's log came to, with means over as many lines as the monitor takes."""

    def mean(name: str, at: int) -> float:
        return sum(line[name] for line in lines[at - LINES : at]) / LINES

    signs = " ".join(re.findall(r"after step (.*?)\. Likely cause", said))
    places = [at for at in range(LINES, len(lines) + 1) if lines[at - 1]["step"] >= 50]
    start, end = lines[0]["effective_rank"], len(lines)
    chance = mean("loss", end) + mean("below_chance", end) if "below_chance" in lines[-1] else None
    return {
        "rank_start": round(start, 1),
        "rank_lowest": round(min(mean("effective_rank", at) for at in places) / start, 2),
        "rank_end": round(mean("effective_rank", end) / start, 2),
        "spread_end": round(mean("feature_std_ratio", end), 2),
        "below_chance_end": round(mean("below_chance", end) / chance, 3) if chance else None,
        "prototype_entropy_end": round(mean("prototype_entropy", end), 2) if "prototype_entropy" in lines[-1] else None,
        "signs": "; ".join(sign for sign in ("alike", "directions", "prototypes", "guessing") if sign in signs),
        "cause": "; ".join(dict.fromkeys(re.findall(r"Likely cause: (.*?)\. What", said))),
    }


def run(pack: Path, method: str, options: dict[str, Any], out: Path) -> dict[str, Any]:
    """One run."""
    has = METHODS[method].Config.__dataclass_fields__
    epochs = STEPS / (len(Pack.open(pack).rows("train")) // BATCH)
    asked = {**options, "options": {**{k: v for k, v in NARROW.items() if k in has}, **options.get("options", {})}}
    said = io.StringIO()
    with contextlib.redirect_stderr(said), console.silent():
        kontrast.pretrain(
            pack, out=out, method=method, encoder="vit_small" if METHODS[method].needs_vit else "resnet18",
            epochs=epochs, batch_size=BATCH, precision="fp32", device="cpu", **asked,
        )  # fmt: skip
    changed = {**options, **options.get("options", {})}
    named = " ".join(f"{name}={value:g}" for name, value in changed.items() if name != "options")
    return {"method": method, "spoilt_by": named, **measured(read_history(out / "metrics.jsonl"), said.getvalue())}


def markdown(rows: list[dict[str, str]]) -> str:
    """The file's rows as two tables: healthy runs, and spoilt ones."""
    shares = ("rank_lowest", "rank_end", "spread_end", "below_chance_end", "prototype_entropy_end")
    healthy = ["| method | rank, lowest | rank, end | spread, end | loss below chance, end | prototype entropy, end |"]
    spoilt = ["| method | spoilt by | rank, lowest | signs | named as the cause |"]
    for row in rows:
        if row["spoilt_by"]:
            words = [row[name] or "–" for name in ("method", "spoilt_by", "rank_lowest", "signs", "cause")]
        else:
            words = [row["method"], *(row[name] or "–" for name in shares)]
        (spoilt if row["spoilt_by"] else healthy).append(f"| {' | '.join(words)} |")
    for table in (healthy, spoilt):
        table.insert(1, "|---" * (table[0].count("|") - 1) + "|")
    return "\n".join([*healthy, "", *spoilt])


def read() -> list[dict[str, str]]:
    """The file's rows."""
    with TABLE.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def main(wanted: list[str]) -> None:
    """All runs, or those of some methods."""
    if wanted == ["--table"]:
        print(markdown(read()))
        return
    torch.set_num_threads(1)
    ENCODERS["resnet18"], ENCODERS["vit_small"] = lambda spec: Small(), vit
    runs = [(method, dict[str, Any]()) for method in METHODS] + SPOILT
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "key").write_text("ab" * 32)
        os.environ["KONTRAST_KEY"] = str(root / "key")
        with console.silent():
            kontrast.phantom(root / "xrays", patients=400, size=64)
            pack = Path(kontrast.prepare(root / "xrays", out=root / "pack", size=SIZE))
        rows = []
        for number, (method, options) in enumerate(runs):
            if not wanted or method in wanted:
                rows.append(run(pack, method, options, root / str(number)))
                print(*rows[-1].values(), sep=" | ", flush=True)
    if not wanted:
        with TABLE.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, rows[0], lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
