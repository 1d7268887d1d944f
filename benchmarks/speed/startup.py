"""Case 7: start-up, imports, what is installed, and peak memory."""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import ROUNDS, alternate, figure, ratio

RUNS = {
    "python -c pass": ["-c", "pass"],
    "kontrast --help": ["-m", "kontrast", "--help"],
    "kontrast pretrain --help": ["-m", "kontrast", "pretrain", "--help"],
    "import kontrast": ["-c", "import kontrast"],
    "import torch": ["-c", "import torch"],
}


def started(words: list[str]) -> float:
    """CPU seconds of a child and its own children, from start to end."""
    before = os.times()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def installed_megabytes() -> tuple[float, int]:
    """Bytes of kontrast's installed dependencies in all, and how many packages they are."""
    todo, seen, total = ["kontrast"], set(), 0
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in seen:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        seen.add(name)
        for file in found.files or ():
            path = Path(str(found.locate_file(file)))
            total += path.stat().st_size if path.is_file() else 0
        for line in found.requires or ():
            if "extra ==" not in line:
                todo.append(
                    line.split(";")[0]
                    .split("[")[0]
                    .split("(")[0]
                    .split(">")[0]
                    .split("=")[0]
                    .split("<")[0]
                    .split("!")[0]
                    .split("~")[0]
                    .strip()
                )
    return total / 2**20, len(seen)


def peak(program: str, who: str = "SELF") -> float:
    """Peak memory in MiB of a Python program that prints nothing else, or of the largest of its `CHILDREN`."""
    tail = f"\nimport resource; print(resource.getrusage(resource.RUSAGE_{who}).ru_maxrss / 1024)"
    done = subprocess.run([sys.executable, "-c", program + tail], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


PREPARE = """
import sys; sys.path.insert(0, {root!r})
import cv2; from pathlib import Path
from kontrast.data.preparation import prepare_images, Treatment
cv2.setNumThreads(1)
for _ in range(3): prepare_images(Path({folder!r}), [{name!r}], Treatment(size=224))
from kontrast.apart import _close_idle; _close_idle()  # the process that has read the files: it ends, and is counted
"""
TRAIN = """
import sys; sys.path.insert(0, {root!r})
import torch; torch.set_num_threads(1)
from kontrast import console; console.configure(quiet=True)
from benchmarks.speed.step import loop
if {batch}: loop("simclr", 64, {batch}, 2, "resnet18", torch.device("cpu"))()
"""


def run() -> list[dict[str, Any]]:
    """Start-up, size, memory."""
    from benchmarks.speed.prepare import write

    root = str(Path(__file__).parents[2])
    seconds = alternate({name: lambda w=words: started(w) for name, words in RUNS.items()}, ROUNDS)
    found = []
    for name, times in seconds.items():
        limit = {"limit": 0.5} if name.endswith("--help") else {}
        found.append(figure("startup", f"{name}, CPU seconds", sorted(times)[len(times) // 2], "s", **limit))
    value = ratio(seconds["kontrast --help"], seconds["python -c pass"])
    found.append(figure("startup", "kontrast --help against an empty Python", value, "×", rounds=seconds))
    size, packages = installed_megabytes()
    found.append(figure("startup", f"installed size, {packages} packages with torch", size, "MiB"))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        start = peak(PREPARE.format(root=root, folder=folder, name="none.jpg"), "CHILDREN")
        for kind, name in (("JPEG", "30000.jpg"), ("PNG", "30000.png"), ("DICOM, 12 bit", "large.dcm")):
            beyond = peak(PREPARE.format(root=root, folder=folder, name=name), "CHILDREN") - start
            what = f"prepare: peak memory beyond start of the process that reads, 3000×2500 {kind}"
            found.append(figure("startup", what, beyond, "MiB"))
    start = peak(TRAIN.format(root=root, batch=0))
    for batch in (32, 64):
        beyond = peak(TRAIN.format(root=root, batch=batch)) - start
        what = f"pretrain: peak memory beyond start an image, SimCLR at 64 px, batch {batch}"
        found.append(figure("startup", what, beyond / batch, "MiB"))
    return found
