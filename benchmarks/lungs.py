"""How well lungs are found, and what `prepare --crop lungs` loses: on real masks and on disturbed generated films.

    python benchmarks/lungs.py --hannover ../shared/data/hannover_320 --out benchmarks/results/lungs.json

Network, threshold on the agreement and margin were fixed on generated radiographs before the real masks were opened for
this. Two rules of `lungs/crop.py` came after a first measurement with them, in which 3 of 59 crops lost 4 to 5 %: the
box reaches as far on either side of the midline (`_even`), and one above FULL of the image is not cut out. So the
losses below are not those of images never seen. The masks were drawn on squashed copies,
so each is stretched to its image; and they go straight down beside the spine, so they hold the part of the lungs that
lies behind the heart, which the phantom's masks (and the network's) leave out. The Dice with the heart added shows how
much of the difference that is.

Images: Hannover Medical School, CC BY 3.0; masks: v7labs, CC BY 4.0.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
from lungs_training import disturb, films

from kontrast.data.lungs import crop, find_lungs
from kontrast.data.lungs.classical import dark_fields
from kontrast.data.lungs.network import enlarged, probabilities

HELD_OUT = 911
"""Seed of generated patients that the network was not trained on."""


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """2 |a ∩ b| / (|a| + |b|)."""
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def spread(values: list[float]) -> dict[str, float]:
    """Mean, median and extremes."""
    found = {"mean": np.mean(values), "median": np.median(values), "min": np.min(values), "max": np.max(values)}
    return {name: round(float(value), 4) for name, value in found.items()}


def lost(truth: np.ndarray, box: crop.Box | None) -> float:
    """Share of the lungs' pixels outside the box; 0 where the whole image stays."""
    if box is None:
        return 0.0
    return float(1 - truth[box[0] : box[1], box[2] : box[3]].sum() / truth.sum())


def real(folder: Path) -> dict[str, object]:
    """Dice of each method, the crop's losses and the time, over the images with a mask."""
    scores: dict[str, list[float]] = {"classical": [], "network": [], "network with heart": []}
    losses, kept, best, whole, full, failed, ms = [], [], [], 0, 0, 0, []
    for path in sorted((folder / "lung_masks").iterdir()):
        image = cv2.imread(str(folder / "images" / path.name), cv2.IMREAD_GRAYSCALE)
        height, width = image.shape
        drawn = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        truth = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        begun = time.process_time()
        found = find_lungs(image)
        ms.append(1000 * (time.process_time() - begun))
        dark = dark_fields(image)
        failed += dark is None
        shown = np.zeros_like(truth) if dark is None else enlarged(dark.astype(np.float32), height, width) > 0.5
        lungs, heart = (enlarged(share, height, width) > 0.5 for share in probabilities(image))
        for name, mask in zip(scores, (shown, lungs, lungs | heart), strict=True):
            scores[name].append(dice(mask, truth))
        whole += found is None
        losses.append(lost(truth, found.box if found else None))
        if found is not None:
            first, end, left, right = found.box
            kept.append((end - first) * (right - left) / truth.size)
            full += kept[-1] == 1
        rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
        best.append((1 + 2 * crop.MARGIN) ** 2 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / truth.size)
    return {
        "images": len(losses),
        "dice": {name: spread(values) for name, values in scores.items()},
        "classical_finds_nothing": failed,
        "crop": {
            "not_found": whole,
            "fill_the_image": full,
            "lost": [round(value, 5) for value in sorted(losses, reverse=True) if value],
            "above_1_percent": sum(value > 0.01 for value in losses),
            "area_kept": spread(kept),
            "area_of_the_drawn_box_with_margin": spread([min(1.0, share) for share in best]),
        },
        "ms_per_image": spread(ms[1:]),
    }


def generated(count: int) -> dict[str, object]:
    """Disturbed held-out films: Dice, and what each threshold on the agreement would let through."""
    rng = np.random.default_rng(HELD_OUT)
    data = [(film, targets) for film, targets in films(count // 3, HELD_OUT) if targets.any()]
    rows = []
    for i in range(count):
        picture, targets = disturb(*data[i % len(data)], rng)
        truth = targets[0] > 0.5
        if truth.sum() < 0.03 * truth.size:
            continue
        grey = (picture * 255).astype(np.uint8)
        both = [probabilities(grey)[0], probabilities(np.ascontiguousarray(grey[:, ::-1]))[0, :, ::-1]]
        agreement = dice(both[0] > 0.5, both[1] > 0.5)
        before, crop.AGREEMENT = crop.AGREEMENT, 0.0
        found = find_lungs(grey)
        crop.AGREEMENT = before
        rows.append((agreement, lost(truth, found.box if found else None), found is None, dice(both[0] > 0.5, truth)))
    agreements, losses, nothing, scores = (np.array(column) for column in zip(*rows, strict=True))
    table = []
    for least in (0.0, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        cropped = (agreements >= least) & ~nothing.astype(bool)
        bad = float((losses[cropped] > 0.01).mean()) if cropped.any() else 0.0
        table.append(
            {"agreement": least, "cropped": round(float(cropped.mean()), 3), "lose_above_1_percent": round(bad, 3)}
        )
    return {"images": len(rows), "dice": spread(scores.tolist()), "thresholds": table}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hannover", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--films", type=int, default=300)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    result = {"agreement": crop.AGREEMENT, "margin": crop.MARGIN, "generated": generated(options.films)}
    if options.hannover:
        result["hannover_320"] = real(options.hannover)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
