"""How far apart fingerprints of copies and of different patients lie: why `data.likeness.NEAR` is what it is.

    python benchmarks/fingerprints.py ../shared/data --out benchmarks/results/fingerprints.json

Reads `nih_256/labels.csv` and `kermany_224/labels.csv` (columns `image`, `patient_id`) below the folder. Pairs of
images of different patients, not the same bytes, are counted by the bits in which they differ; 400 images of each set
are altered and compared with themselves. A minute on one core.
"""

import argparse
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from kontrast.data.likeness import BITS, NEAR, fingerprints

SIZE, SAMPLE, LIMITS = 224, 400, (20, 30, 40, 50)


def pack(path: Path, size: int = SIZE) -> np.ndarray:
    """One image as a Pack holds it: aspect kept, padding centred."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    scale = size / max(image.shape)
    h, w = (max(1, round(side * scale)) for side in image.shape)
    top, left = (size - h) // 2, (size - w) // 2
    out = np.zeros((size, size), np.uint8)
    out[top : top + h, left : left + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    return out


def moved(image: np.ndarray, *, turn: float = 0, zoom: float = 1, shift: float = 0) -> np.ndarray:
    """Turned by degrees, enlarged, and moved by a share of its side."""
    matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), turn, zoom)
    matrix[:, 2] += shift * SIZE
    return cv2.warpAffine(image, matrix, (SIZE, SIZE))


def again(image: np.ndarray, quality: int) -> np.ndarray:
    """Saved as JPEG and read."""
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


ALTERED = {
    "JPEG, quality 50": lambda i: again(i, 50),
    "JPEG, quality 20": lambda i: again(i, 20),
    "half the size": lambda i: cv2.resize(i, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "30 % darker": lambda i: (i * 0.7).astype(np.uint8),
    "gamma 1.5": lambda i: (255 * (i / 255) ** 1.5).astype(np.uint8),
    "noise, 3 %": lambda i: np.clip(i + np.random.default_rng(0).normal(0, 8, i.shape), 0, 255).astype(np.uint8),
    "CLAHE": lambda i: cv2.createCLAHE(2, (8, 8)).apply(i),
    "histogram equalised": cv2.equalizeHist,
    "turned by 1 degree": lambda i: moved(i, turn=1),
    "turned by 2 degrees": lambda i: moved(i, turn=2),
    "2 % larger": lambda i: moved(i, zoom=1.02),
    "5 % larger": lambda i: moved(i, zoom=1.05),
    "moved by 1 %": lambda i: moved(i, shift=0.01),
    "mirrored": lambda i: i[:, ::-1].copy(),
}


def measured(folder: Path) -> dict[str, object]:
    """Distances between patients, and between images and their altered copies, of one set."""
    table = pd.read_csv(folder / "labels.csv", dtype=str)
    paths = [next(p for p in (folder / name, folder / "images" / name) if p.is_file()) for name in table["image"]]
    images = np.stack([pack(path) for path in paths])
    bits = np.unpackbits(fingerprints(images), axis=1)
    signs = bits.astype(np.float32) * 2 - 1
    apart = (BITS - signs @ signs.T) / 2
    sha = np.array([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    patient = table["patient_id"].to_numpy()
    first, second = np.triu_indices(len(images), 1)
    different = (patient[first] != patient[second]) & (sha[first] != sha[second])
    pairs = apart[first[different], second[different]]
    chosen = np.random.default_rng(0).permutation(len(images))[:SAMPLE]
    copies = {
        name: (np.unpackbits(fingerprints(np.stack([alter(images[i]) for i in chosen])), axis=1) != bits[chosen]).sum(1)
        for name, alter in ALTERED.items()
    }
    return {
        "images": len(images), "pairs of different patients": len(pairs),
        "the 20 nearest": [int(d) for d in np.sort(pairs)[:20]],
        "pairs within": {str(limit): int((pairs <= limit).sum()) for limit in LIMITS},
        "copies found within": {
            name: {str(limit): round(float((d <= limit).mean()), 3) for limit in LIMITS} for name, d in copies.items()
        },
    }  # fmt: skip


def main() -> None:
    """Measure both sets and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    found = {name: measured(asked.data / name) for name in ("nih_256", "kermany_224")}
    asked.out.write_text(json.dumps({"bits": BITS, "limit": NEAR} | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
