"""Does a correction fitted on few validation cases help on others? For the default of `--calibrate`.

    python benchmarks/calibration.py TRUTH.csv PREDICTIONS.csv... [--out benchmarks/results/calibration.json]

Each system's probabilities of each finding are parted by chance into a part to fit on and a part to score, 20 times.
The fitting part is as large as it takes to hold so many positives (and negatives). Printed and written by method and
number: the mean over findings, systems and draws of log loss, Brier score and ECE on the scored part, and the share of
draws in which the correction made the log loss worse. CheXpert's public test set with its five systems is such a set.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from kontrast.artifacts.foreign import match
from kontrast.metrics import calibration

COUNTS = (5, 10, 20, 40)
DRAWS = 20


def part(y: np.ndarray, positives: int, rng: np.random.Generator) -> np.ndarray | None:
    """Rows to fit on: cases in random order until both classes have so many; None where too few would be left."""
    order = rng.permutation(len(y))
    reached = np.minimum(np.cumsum(y[order]), np.cumsum(1 - y[order])) >= positives
    if not reached.any():
        return None
    fitted = order[: int(np.argmax(reached)) + 1]
    rest = np.delete(y, fitted)
    return fitted if min(rest.sum(), (1 - rest).sum()) >= 10 else None


def scored(y: np.ndarray, p: np.ndarray) -> list[float]:
    """Log loss, Brier score, ECE of equal mass."""
    x = calibration.logit(p)
    loss = float(np.mean(np.logaddexp(0, x) - y * x))
    return [loss, calibration.brier(y, p), calibration.calibration_error(y, p, 10, "mass")]


def compare(truth: Path, systems: list[Path]) -> list[dict[str, Any]]:
    """One line a number of positives."""
    calibration.LEAST = 1  # what is asked for is what is to be found out
    rng, lines = np.random.default_rng(0), []
    matched = [match(path, truth) for path in systems]
    for count in COUNTS:
        found: dict[str, list[list[float]]] = {method: [] for method in calibration.CALIBRATE}
        for one in matched:
            for f, name in enumerate(one.findings):
                y, p = one.truth[name].to_numpy(float), one.scores[:, f]
                for _ in range(DRAWS):
                    rows = part(y, count, rng)
                    if rows is None:
                        continue
                    rest = np.setdiff1d(np.arange(len(y)), rows)
                    for method in found:
                        fit = {"slope": 1.0, "intercept": 0.0}
                        if method != "none":
                            fit = calibration.fit(y[rows], p[rows], method)
                        found[method].append(
                            scored(y[rest], calibration.corrected(p[rest], fit["slope"], fit["intercept"]))
                        )
        line: dict[str, Any] = {"positives": count, "draws": len(found["none"])}
        for method, values in found.items():
            table = np.array(values)
            line[method] = dict(
                zip(("log_loss", "brier", "ece"), np.round(table.mean(axis=0), 4).tolist(), strict=True)
            )
            worse = table[:, 0] > np.array(found["none"])[:, 0]
            line[method]["worse"] = round(float(worse.mean()), 3)
        print(json.dumps(line), flush=True)
        lines.append(line)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("predictions", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    lines = compare(asked.truth, asked.predictions)
    if asked.out:
        asked.out.write_text(json.dumps({"systems": len(asked.predictions), "results": lines}, indent=1) + "\n")
