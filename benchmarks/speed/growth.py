"""Case 8: time and memory against images, batch, queue and processes; docs/scaling.md draws on these figures.

Every size is measured in a process of its own (`--job`), so that its peak of memory is its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.measure import figure, peak_memory, pictures

IMAGES = (1_000, 10_000, 50_000, 200_000)
BATCHES = (16, 32, 64)
QUEUES = (1_024, 16_384, 65_536)


def write_pack(folder: Path, n: int) -> None:
    """A Pack of n images of 16 px with 14 findings, in shards of 50,000."""
    import numpy as np

    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.pack_writer import PARTS, PackWriter, Shard

    findings = tuple(f"finding {i}" for i in range(14))
    claim(folder, "pack", config={})
    (folder / PARTS).mkdir(exist_ok=True)
    writer = PackWriter(folder=folder, findings=findings, size=16, key_id="benchmark")
    image = pictures(1, 16, 16)
    for index, first in enumerate(range(0, n, 50_000)):
        count = min(50_000, n - first)
        rows = [
            {
                "image_id": f"{i:016x}", "patient_id": f"{i // 3:016x}", "study_id": f"{i // 2:016x}", "split": "train",
                "view": "frontal", "sex": "F", "age": 50.0, "source": f"{i:09d}.jpg", "sha256": f"{i:064x}",
                "height": 320, "width": 390, **dict.fromkeys(findings, float(i % 2)),
            }
            for i in range(first, first + count)
        ]  # fmt: skip
        content = np.tile(np.array([0, 16, 0, 16]), (count, 1))
        shard = Shard(images=np.repeat(image, count, 0), rows=rows, content=content, masks={}, rejects=[])
        writer.write(index, shard)
    writer.finish(config={}, content={"patients_known": True, "layout": "benchmark", "notes": []})


def images(n: int) -> dict[str, float]:
    """Write, open and walk over a Pack of n images."""
    import numpy as np

    from kontrast.artifacts.pack import Pack
    from kontrast.engine.batches import Batches

    with tempfile.TemporaryDirectory() as name:
        if os.fork() == 0:  # writing must not count into the memory of reading
            write_pack(Path(name), n)
            os._exit(0)
        if os.wait()[1]:
            raise SystemExit("the Pack could not be written")
        before = peak_memory()
        start = time.process_time()
        pack = Pack.open(Path(name))
        opened = time.process_time() - start
        batches = Batches([(pack, np.arange(n))], 256, 0, "cpu")
        start = time.process_time()
        for step in range(min(20, batches.steps_per_epoch)):
            batches.at(step)
        walked = (time.process_time() - start) / min(20, batches.steps_per_epoch)
        return {"open_s": opened, "batch_ms": 1000 * walked, "memory_mib": (peak_memory() - before) / 2**20}


def batch(n: int) -> dict[str, float]:
    """Steps of SimCLR at 64 px with a batch of n."""
    import torch
    from benchmarks.speed.step import loop

    before = peak_memory()
    work = loop("simclr", 64, n, 2, "resnet18", torch.device("cpu"))
    return {"ms_per_image": 1000 * work() / (2 * n), "memory_mib": (peak_memory() - before) / 2**20}


def queue(n: int) -> dict[str, float]:
    """MoCo's loss and queue alone, a batch of 64, a queue of n."""
    import torch

    from kontrast.methods.moco import logits
    from kontrast.nn.queue import Queue

    before, made = peak_memory(), Queue(128, n)
    q, k = torch.randn(64, 128, requires_grad=True), torch.randn(64, 128)

    def work() -> None:
        logits(q, k, made.keys, 0.2).logsumexp(1).mean().backward()
        made.enqueue(k)

    work()
    start = time.process_time()
    for _ in range(10):
        work()
    return {"ms_per_step": 100 * (time.process_time() - start), "memory_mib": (peak_memory() - before) / 2**20}


def processes(n: int) -> dict[str, float]:
    """A step of SimCLR, 32 images a process, on n processes: this is one of them, started by torchrun."""
    from benchmarks.speed.step import loop

    from kontrast.engine.precision import resolve_device

    device = resolve_device("cpu")
    wall = time.perf_counter()
    computing = loop("simclr", 64, 32 * n, 3, "resnet18", device)()
    return {"cpu_s_per_step": computing / 3, "wall_s": time.perf_counter() - wall}


JOBS = {"images": images, "batch": batch, "queue": queue, "processes": processes}


def apart(job: str, n: int) -> dict[str, float]:
    """One job in a process of its own; `processes` in as many."""
    words = ["-m", "benchmarks.speed.growth", "--job", job, "--count", str(n)]
    if job == "processes" and n > 1:
        words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", *words]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"{job} {n}: {done.stderr[-500:]}")
    return json.loads(lines[0])  # type: ignore[no-any-return]


def run() -> list[dict[str, Any]]:
    """Every curve."""
    units = {
        "open_s": "s", "batch_ms": "ms a batch of 256", "memory_mib": "MiB beyond start", "ms_per_image": "ms",
        "ms_per_step": "ms", "cpu_s_per_step": "CPU s", "wall_s": "s",
    }  # fmt: skip
    found = []
    for job, sizes in (("images", IMAGES), ("batch", BATCHES), ("queue", QUEUES), ("processes", (1, 2))):
        for n in sizes:
            for name, value in apart(job, n).items():
                found.append(figure("growth", f"{job} {n:,}: {name}", value, units[name], n=n, curve=f"{job} {name}"))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=JOBS, required=True)
    parser.add_argument("--count", type=int, required=True)  # torchrun has words of its own that begin with --n
    asked = parser.parse_args()
    import torch

    from kontrast import console

    torch.set_num_threads(1)
    console.configure(quiet=True)
    result = json.dumps(JOBS[asked.job](asked.count))
    if os.environ.get("RANK", "0") == "0":
        print(result, flush=True)
