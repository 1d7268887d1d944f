"""How long `kontrast scan` takes for many small files: generated, as CheXpert's folders lie, with a table.

    python benchmarks/scan.py --out benchmarks/results/scan.json

Every file has bytes of its own, and a patient has three in two folders. Files were just written, so the system still
holds what it knows of them: a cold disk or a network drive takes longer. A file's pixels are few (48 × 48), which
matters for those that are opened in the ten seconds that `scan` takes for it, not for the rest.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import kontrast


def make(root: Path, count: int) -> None:
    """Write `count` PNG files and a table of their patients and labels."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (200, 8, 8), dtype=np.uint8)
    pictures = [
        cv2.imencode(".png", cv2.resize(one, (48, 48), interpolation=cv2.INTER_CUBIC))[1].tobytes() for one in coarse
    ]
    rows = ["path,patient,sex,age,Edema,Pneumonia"]
    for i in range(count):
        folder = f"patient{i // 3:05d}/study1"
        if i % 3 == 0:
            (root / folder).mkdir(parents=True)
        name = f"{folder}/view{i % 3 + 1}_frontal.png"
        (root / name).write_bytes(pictures[i % 200] + i.to_bytes(4, "little"))  # what follows the picture is ignored
        rows.append(f"{name},p{i // 3},{'FM'[i // 3 % 2]},{20 + i // 3 % 70},{i % 2},{'' if i % 5 else 1}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


def main() -> None:
    """Generate, scan, write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--source", type=Path, help="scan this folder instead of a generated one")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = asked.source or Path(folder, "xrays")
        if asked.source is None:
            make(root, asked.files)
        load, wall, own = os.getloadavg()[0], time.perf_counter(), time.process_time()
        found = kontrast.scan(root).summary
        result = {
            "files": found["images"],
            "opened": found["looked_at"],
            "compared_by_bytes": found["copies"]["compared"],
            "seconds": round(time.perf_counter() - wall, 1),
            "cpu_seconds_beside_opening": round(time.process_time() - own, 1),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "cores": len(os.sched_getaffinity(0)),
            "load_before": round(load, 1),
        }
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
