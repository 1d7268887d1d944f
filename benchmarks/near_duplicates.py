"""How well near-duplicates are told from strangers: hashes and sketches of copies, and of different radiographs.

    python benchmarks/near_duplicates.py FOLDER … [--out benchmarks/results/near_duplicates.json]

For each folder: pairs of different files whose hashes differ in at most RADIUS bits, how many of those are ALIKE by
their sketches (most of them: images of one patient), and of 200 images with each kind of copy the share that is found.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from kontrast.data.decode import decode, find_images
from kontrast.data.intensity import to_uint8
from kontrast.data.similar import ALIKE, RADIUS, likeness, near_pairs, perceptual_hash

COPIES = {
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "JPEG, quality 30": lambda image: cv2.imdecode(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_GRAYSCALE
    ),
    "gamma 1.3": lambda image: (255 * (image / 255) ** 1.3).astype(np.uint8),
    "2 % cut off each side": lambda image: image[len(image) // 50 : -len(image) // 50],
    "CLAHE": cv2.createCLAHE(2, (8, 8)).apply,
    "histogram equalised": cv2.equalizeHist,
}


def measure(folder: Path) -> dict:
    """What the module's text calls a candidate and a copy, counted."""
    images = [to_uint8(decode(folder / path)) for path in find_images(folder)]
    pairs = near_pairs([perceptual_hash(image) for image in images])
    alike = [likeness(images[i], images[j]) for i, j, _ in pairs]
    found = dict.fromkeys(COPIES, 0)
    some = images[:: max(1, len(images) // 200)][:200]
    for image in some:
        for name, copy in COPIES.items():
            other = copy(image)
            bits = (perceptual_hash(image) ^ perceptual_hash(other)).bit_count()
            found[name] += bits <= RADIUS and likeness(image, other) >= ALIKE
    return {
        "folder": folder.name,
        "images": len(images),
        "pairs": len(images) * (len(images) - 1) // 2,
        "within_radius": len(pairs),
        "alike": sum(value >= ALIKE for value in alike),
        "copies_found": {name: round(count / len(some), 3) for name, count in found.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/near_duplicates.json"))
    asked = parser.parse_args()
    result = {"radius": RADIUS, "alike": ALIKE, "sets": [measure(folder) for folder in asked.folders]}
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    print(asked.out.read_text())
