"""Does pretraining help on generated radiographs: probes on frozen features, beside pixels and random weights.

    python benchmarks/learning.py --out runs/learning [--fractions 0.1] [--methods simclr …] [--encoder grid|resnet18]

Generates a cohort of 1,500 patients, prepares it at 64 px, pretrains an encoder with each method on the training part,
and fits linear probes on a tenth of the training patients (five draws) and on all of them. Scores are of the test part:
patients that neither the encoder nor the probe has met. Random weights are drawn three times.

`grid` is a CNN of three layers on views of 32 px, trained in minutes on one core. A chest lies at one place of the
image, so a probe on pixels knows where to look; this CNN keeps a feature for each place of its last map, where a mean
over the map would not tell heart from lung. With a tenth of the labels it beats its random weights and equals pixels
(benchmarks/results/learning.json). `resnet18` at 64 px should beat both, and takes hours on two cores:
tests/engine/test_learning.py asks both of it. The same command again goes on where it was. Writes `learning.json` into
--out.
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
from kontrast.artifacts.card import read_card
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.data.resize import fit
from kontrast.data.splits import draw_patients
from kontrast.engine.features import embed
from kontrast.engine.linear import fit_path
from kontrast.metrics.evaluation import repeated_auroc
from kontrast.metrics.intervals import paired_difference
from kontrast.metrics.scores import macro_auroc
from kontrast.nn.backbone import Encoder
from kontrast.nn.encoders import ENCODERS, EncoderSpec, build_encoder

SIZE, PIXELS, LEAST = 64, 32, 30
"""Side of the images; of those that stand for pixels alone; positive test patients that a finding needs."""

TRANSFORMERS = ("mae", "dinov2")
PRETRAINING: dict[str, dict[str, Any]] = {
    "grid": {"size": 32, "lr": 2e-3, "epochs": 20},
    "resnet18": {"epochs": 30},
    "vit_small": {"epochs": 30},
}
"""How each architecture is pretrained, where not as `kontrast pretrain` chooses."""

FRACTIONS = {"0.1": 5, "1.0": 1}
"""Share of the training patients with labels, and how often it is drawn."""

Features = list[np.ndarray]


class Grid(Encoder):
    """Three strided convolutions on 32 px: a feature for each of 32 channels at each of 4×4 places."""

    feature_dim = 512

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise([1, 32, 64, 32]):
            layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def feature_maps(self, x: Tensor) -> Tensor:
        """(B, 1, 32, 32) → (B, 32, 4, 4)."""
        return self.body(x)  # type: ignore[no-any-return]

    def pool(self, maps: Tensor) -> Tensor:
        """(B, 32, 4, 4) → (B, 512): every place for itself."""
        return maps.flatten(1)


def make_pack(out: Path, patients: int, seed: int) -> Pack:
    """A generated cohort; CheXpert's `valid.csv` becomes the test part."""
    raw = kontrast.phantom(out / "radiographs", patients=patients, size=2 * SIZE, seed=seed)
    return Pack.open(Path(kontrast.prepare(raw, out=out / "pack", size=SIZE, seed=seed)))


def features_of(source: str | Path, architecture: str, pack: Pack, seed: int = 0) -> np.ndarray:
    """(N, D) of all of a Pack's images, from an Encoder's folder or from random weights."""
    if source == "random":
        size = PRETRAINING[architecture].get("size", pack.size)
        spec = EncoderSpec(architecture, size, mean=pack.mean, std=pack.std)
        network = build_encoder(spec, seed=seed)
    else:
        network, spec, _ = load_encoder(str(source))
    return embed(network.eval(), spec, pack, np.arange(len(pack)))


def pixels_of(pack: Pack) -> np.ndarray:
    """(N, PIXELS²): the images themselves, smaller."""
    images = pack.images(np.arange(len(pack)))
    return np.stack([fit(image, PIXELS).ravel() / 255 for image in images])


class Task:
    """The labels of a Pack, and who fits, chooses and is tested."""

    def __init__(self, pack: Pack) -> None:
        y, w = targets(pack.labels(np.arange(len(pack))), pack.findings, "ignore", "negative")
        self.patients = pack.table["patient_id"].to_numpy()
        self.train, self.val, self.test = (pack.rows(split) for split in ("train", "val", "test"))
        positive = [len(set(self.patients[self.test][(y * w)[self.test, f] > 0])) for f in range(y.shape[1])]
        kept = [f for f, n in enumerate(positive) if n >= LEAST]
        self.findings, self.y, self.w = [pack.findings[f] for f in kept], y[:, kept], w[:, kept]
        self.truth = np.where(self.w > 0, self.y, np.nan)

    def probed(self, x: np.ndarray, fraction: float, draw: int) -> np.ndarray:
        """Probabilities of the test part (n, F) by a probe on a share of the training patients.

        All of val picks the penalty, at every share.
        """
        rows = self.train[draw_patients(list(self.patients[self.train]), fraction, draw)]
        path = fit_path(x[rows], self.y[rows], self.w[rows])
        tried = [macro_auroc(self.truth[self.val], linear.probabilities(x[self.val])) for linear in path]
        return path[int(np.nanargmax(tried))].probabilities(x[self.test])

    def runs(self, features: Features, fraction: str) -> Features:
        """One array of probabilities per draw of labels and initialisation."""
        return [self.probed(x, float(fraction), draw) for draw in range(FRACTIONS[fraction]) for x in features]

    def auroc(self, runs: Features) -> dict[str, Any]:
        """Mean over runs, with the patients' interval."""
        return repeated_auroc(self.truth[self.test], runs, self.findings, patients=self.patients[self.test])

    def difference(self, one: Features, two: Features) -> dict[str, Any]:
        """Macro AUROC of one set of runs less another's, paired on patients and on the draw of labels."""
        count = int(np.lcm(len(one), len(two)))
        first, second = (np.hstack([runs[i * len(runs) // count] for i in range(count)]) for runs in (one, two))
        groups = np.repeat(np.arange(count), len(self.findings)).tolist()
        truth = np.tile(self.truth[self.test], count)
        return paired_difference(truth, first, second, list(self.patients[self.test]), groups=groups)


def pretrain(method: str, pack: Pack, out: Path, encoder: str = "grid", seed: int = 0) -> Path:
    """An Encoder by one method, with the settings that kontrast chooses and those of PRETRAINING."""
    encoder = "vit_small" if method in TRANSFORMERS else encoder
    made = kontrast.pretrain(
        pack.path, out=out / method, method=method, encoder=encoder, seed=seed, **PRETRAINING[encoder]
    )
    return Path(made)


def compare(pack: Pack, encoders: dict[str, Path], fractions: Sequence[str] = tuple(FRACTIONS)) -> dict[str, Any]:
    """Every arm at every fraction: its AUROC, and what it gains over random weights and over pixels."""
    task = Task(pack)
    architectures = {name: read_card(path).content["summary"]["encoder"] for name, path in encoders.items()}
    arms: dict[str, Features] = {"pixels": [pixels_of(pack)]}
    for architecture in sorted(set(architectures.values())):
        arms[f"random {architecture}"] = [features_of("random", architecture, pack, seed) for seed in range(3)]
    for name, path in encoders.items():
        arms[name] = [features_of(path, "", pack)]
    result: dict[str, Any] = {"findings": task.findings, "fractions": {}}
    for fraction in fractions:
        runs = {name: task.runs(features, fraction) for name, features in arms.items()}
        rows: dict[str, Any] = {name: {"auroc": task.auroc(found)["macro"]} for name, found in runs.items()}
        for name, architecture in architectures.items():
            rows[name]["over_random"] = task.difference(runs[name], runs[f"random {architecture}"])
            rows[name]["over_pixels"] = task.difference(runs[name], runs["pixels"])
        result["fractions"][fraction] = rows
    return result


def table(result: dict[str, Any]) -> str:
    """The result for a terminal or a page."""

    def cell(score: dict[str, Any] | None) -> str:
        return "" if score is None else f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"

    lines = ["| labels | features | AUROC | less random | less pixels |", "|---|---|---|---|---|"]
    for fraction, rows in result["fractions"].items():
        for name, row in rows.items():
            cells = (cell(row["auroc"]), cell(row.get("over_random")), cell(row.get("over_pixels")))
            lines.append(f"| {float(fraction):.0%} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """What the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["simclr"])
    parser.add_argument("--encoder", choices=("grid", "resnet18"), default="grid")
    parser.add_argument("--fractions", nargs="+", choices=tuple(FRACTIONS), default=list(FRACTIONS))
    parser.add_argument("--patients", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    ENCODERS["grid"] = lambda spec: Grid()
    pack = make_pack(options.out, options.patients, options.seed)
    encoders = {m: pretrain(m, pack, options.out, options.encoder, options.seed) for m in options.methods}
    settings: dict[str, Any] = {
        "patients": options.patients,
        "seed": options.seed,
        "pretraining": PRETRAINING[options.encoder],
    }
    result = settings | {"images": len(pack), **compare(pack, encoders, options.fractions)}
    (options.out / "learning.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


if __name__ == "__main__":
    main()
