"""How BYOL's features depend on its learning rate, beside MoCo's, on real radiographs.

    python benchmarks/byol_rate.py --packs runs/nih/packs --out runs/byol-rate [--json FILE]

benchmarks/results/byol_rate.json is such a FILE. A CNN of four layers on views of 32 px, two passes over the images of
configs/study/real-nih.yaml (its Packs), a batch of 64; each row takes two minutes. Scores are of linear probes
on frozen features in patient-grouped folds of the *training* parts, so that no image on which docs/results.md scores
anything took part in choosing a rate. The encoders have seen those images, without labels, all alike. One seed of
pretraining, three divisions into folds: differences of .01 are noise. The same command again
goes on where it was.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import kontrast
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.data.splits import folds
from kontrast.engine.features import embed
from kontrast.engine.folds import out_of_fold
from kontrast.metrics.scores import macro_auroc
from kontrast.nn.backbone import Encoder
from kontrast.nn.encoders import ENCODERS, EncoderSpec, build_encoder

PACKS = ("mednist", "nih", "kermany")
FINDINGS = {
    "nih": ("Atelectasis", "Effusion", "Infiltration", "Pneumonia", "Consolidation", "Edema", "Pleural_Thickening"),
    "kermany": ("virus",),
}
HEADS = {"hidden_dim": 512}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "moco": ("moco", {"lr": 0.0005}),
    "byol": ("byol", {"options": HEADS, "lr": 0.0005}),
    "byol, rate .002": ("byol", {"options": HEADS, "lr": 0.002}),
    "byol, rate .001": ("byol", {"options": HEADS, "lr": 0.001}),
}
"""Rates are those at this batch; where none is named it is .0005, which `kontrast pretrain` chose for all methods."""


class Mini(Encoder):
    """Four convolutions and a mean over places: the shape of a ResNet in a twentieth of the time."""

    feature_dim = 256

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (a, b), stride in zip(pairwise((1, 32, 64, 128, 256)), (2, 2, 2, 1), strict=True):
            layers += [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def feature_maps(self, x: Tensor) -> Tensor:
        """(B, 1, 32, 32) → (B, 256, 4, 4)."""
        return self.body(x)  # type: ignore[no-any-return]

    def pool(self, maps: Tensor) -> Tensor:
        """(B, 256, 4, 4) → (B, 256)."""
        return maps.mean((2, 3))


def scored(network: Encoder, spec: EncoderSpec, packs: Path) -> dict[str, float]:
    """Per labelled Pack, macro AUROC within five folds of its training part, the mean of three divisions."""
    found = {}
    for name, findings in FINDINGS.items():
        pack = Pack.open(packs / name)
        rows = pack.rows("train")
        y, w = targets(pack.labels(rows), pack.findings, "zeros", "negative")
        kept = [pack.findings.index(finding) for finding in findings]
        y, w, patients = y[:, kept], w[:, kept], pack.table["patient_id"].to_numpy()[rows]
        x, values = embed(network.eval(), spec, pack, rows), []
        for seed in range(3):
            fold = folds(patients, 5, seed)
            p = out_of_fold(x, y, w, patients, fold, seed)
            truth = np.where(w > 0, y, np.nan)
            values += [macro_auroc(truth[fold == i], p[fold == i]) for i in range(5)]
        found[name] = round(float(np.nanmean(values)), 4)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """What the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--packs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    ENCODERS["mini"] = lambda spec: Mini()
    nih = Pack.open(options.packs / "nih")
    spec = EncoderSpec("mini", 32, mean=nih.mean, std=nih.std)
    rows = {f"random weights {s}": scored(build_encoder(spec, seed=s), spec, options.packs) for s in range(3)}
    for name, (method, settings) in ROWS.items():
        folder = options.out / name.replace(" ", "").replace(",", "-")
        kontrast.pretrain(
            *(options.packs / pack for pack in PACKS), out=folder, method=method, encoder="mini",
            size=32, epochs=2, batch_size=64, device="cpu", **settings,
        )  # fmt: skip
        network, own, _ = load_encoder(str(folder))
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        ranks = [round(line["effective_rank"], 1) for line in lines if "effective_rank" in line]
        rows[name] = scored(network, own, options.packs) | {"rank": [ranks[0], ranks[len(ranks) // 8], ranks[-1]]}
        print(name, rows[name], flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
