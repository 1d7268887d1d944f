"""A small source of images with its table, and a folder's files to compare."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

PATIENT, STUDY = "CANARY-PATIENT", "CANARY-STUDY"


def make_source(folder, n=30, *, labels=True, split=None, size=(40, 48)):
    """n PNGs in two folders, with a table of two images a patient; the last label column has all four values."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        name = f"{'ab'[i % 2]}/image{i:03d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(1, 256, (size[0], size[1] + i % 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), pixels)
        values = (1, 0, -1, "")
        rows.append(
            {
                "path": name,
                "patient_id": f"{PATIENT}-{i // 2}",
                "study": f"{STUDY}-{i}",
                "view": ("PA", "AP")[i % 2],
                "sex": "FM"[i // 2 % 2],
                "age": 20 + i,
                "Edema": i // 2 % 2,
                "Pneumonia": values[i % 4],
            }
        )
    table = pd.DataFrame(rows)
    if split is not None:
        table["split"] = split
    if labels:
        table.to_csv(folder / "labels.csv", index=False)
    return folder


def files(folder):
    """Every file below a folder: name → bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
