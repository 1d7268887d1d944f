"""What a large batch costs in memory: 4,096 images in chunks beside 256 at once, and the contrastive loss by itself.

    python benchmarks/large_batch.py [--out FILE] [--methods simclr …] [--size 64] [--batch 4096] [--chunk 256]
                                     [--steps 1] [--embeddings 64 256 …]

Each figure is of a process of its own, on one thread of a CPU. `peak` is the most memory that the process ever had
(VmHWM, everything included), `beyond` what of it came on top of what it had before the work, both in MB; `seconds` are
the processor's, which other work on the machine does not lengthen. Steps are those of a ResNet-18, through the loop
that `kontrast pretrain` uses. The loss is SimCLR's, forward and backward in fp32 on embeddings of length 128: `plain`
has all their similarities in one matrix, `blocks` a block at a time (nn/contrast.py). FILE gains each figure as it is
found and keeps what else it holds. benchmarks/results/large_batch.json came out of

    python benchmarks/large_batch.py --out FILE
    python benchmarks/large_batch.py --out FILE --methods mocov3 barlow vicreg --embeddings
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MB = 1e6
PLAIN = 8192
"""Embeddings of which a machine still holds all similarities."""


def memory(name: str) -> float:
    """VmRSS (now) or VmHWM (the most so far) of this process, in MB."""
    facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return int(facts[name].split()[0]) * 1024 / MB


def measured(work: Callable[[], None]) -> dict[str, float]:
    """Peak memory in MB, what of it the work added, and its seconds."""
    before, began = memory("VmRSS"), time.process_time()
    work()
    seconds, peak = time.process_time() - began, memory("VmHWM")
    return {"peak": round(peak), "beyond": round(peak - before), "seconds": round(seconds, 4)}


def train(method: str, size: int, images: int, batch: int, chunk: int | None, steps: int) -> dict[str, float]:
    """A few steps on noise; outputs of a length that is left to the batch are 1,024 long."""
    import numpy as np
    import pandas as pd
    import torch

    from kontrast import console
    from kontrast.engine.batches import Batches
    from kontrast.engine.loop import LoopConfig, fit
    from kontrast.engine.selfsupervised import SelfSupervised
    from kontrast.methods import METHODS
    from kontrast.nn.encoders import EncoderSpec, build_encoder

    class Noise:
        """In place of a Pack."""

        def __init__(self) -> None:
            self.size = size
            self.table = pd.DataFrame({"image_id": [f"{i:08d}" for i in range(images)]})
            self._images = np.random.default_rng(0).integers(0, 256, (images, size, size), dtype=np.uint8)

        def __len__(self) -> int:
            return images

        def images(self, rows: np.ndarray) -> np.ndarray:
            """(n, size, size) uint8."""
            return self._images[rows]

    console.configure(quiet=True)
    spec = EncoderSpec("resnet18", size)
    kind: Any = METHODS[method]
    options = {"dim": 1024} if kind.Config().dim == "auto" else {}
    built = kind(build_encoder(spec, seed=0), kind.Config(**options))
    model = SelfSupervised(built, kind.xray.at(size), spec, np.arange(images) // 4)
    batches = Batches([(Noise(), np.arange(images))], batch, 0, "cpu")  # type: ignore[list-item]
    config = LoopConfig(steps=steps, lr=1e-3, precision="fp32", chunk_size=chunk)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fit(model, batches, config, out=Path(folder), device=torch.device("cpu"))

    return measured(work)


def loss(embeddings: int, blocks: bool, repeats: int) -> dict[str, float]:
    """NT-Xent forward and backward, with the accuracy; seconds are the least of some repeats."""
    import torch
    from torch.nn import functional as F

    from kontrast.methods.method import contrast_accuracy
    from kontrast.methods.simclr import nt_xent
    from kontrast.nn.numerics import unit

    def plain(z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
        z, b = unit(torch.cat([z1, z2])), len(z1)
        patient = patients.repeat(2)
        partner = torch.arange(2 * b).roll(b)
        own = (patient[:, None] == patient).scatter(1, partner[:, None], False)
        s = (z @ z.T / 0.1).masked_fill(own, float("-inf"))
        contrast_accuracy(s, partner)
        return F.cross_entropy(s, partner)

    b = embeddings // 2
    patients = torch.arange(b) // 4
    z1, z2 = (torch.randn(b, 128, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in range(2))

    def work() -> None:
        value = nt_xent(z1, z2, 0.1, patients)[0] if blocks else plain(z1, z2)
        value.backward()

    runs = [measured(work) for _ in range(repeats)]
    return runs[0] | {"seconds": min(run["seconds"] for run in runs)}


def apart(what: str, **asked: Any) -> dict[str, float]:
    """`train` or `loss` in a process of its own."""
    words = [sys.executable, __file__, "--job", json.dumps({"what": what, **asked})]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


def compare(method: str, size: int, batch: int, chunk: int, steps: int) -> dict[str, Any]:
    """A batch in chunks beside one as large as a chunk."""
    shared = {"method": method, "size": size, "images": 2 * batch, "steps": steps}
    at_once = apart("train", batch=chunk, chunk=None, **shared)
    in_chunks = apart("train", batch=batch, chunk=chunk, **shared)
    return {
        "size": size,
        f"{chunk} at once": at_once,
        f"{batch} in chunks of {chunk}": in_chunks,
        "ratio of peaks": round(in_chunks["peak"] / at_once["peak"], 3),
        "ratio beyond": round(in_chunks["beyond"] / at_once["beyond"], 3),
    }


def losses(embeddings: int) -> dict[str, Any]:
    """Both ways, where the plain one has room."""
    if embeddings > PLAIN:
        return {"blocks": apart("loss", embeddings=embeddings, blocks=True, repeats=1)}
    repeats = max(20000 // embeddings, 3)
    return {
        name: apart("loss", embeddings=embeddings, blocks=name == "blocks", repeats=repeats)
        for name in ("plain", "blocks")
    }


def keep(out: Path | None, part: str, name: str, found: dict[str, Any]) -> None:
    """Print a figure, and put it into the file."""
    print(part, name, json.dumps(found, indent=1), flush=True)
    if out is not None:
        held = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        held.setdefault(part, {})[name] = found
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("size", 64), ("batch", 4096), ("chunk", 256), ("steps", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--methods", nargs="*", default=["simclr"])
    parser.add_argument("--embeddings", type=int, nargs="*", default=[64, 256, 1024, PLAIN, 65536])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if asked.job is not None:
        job = {"train": train, "loss": loss}[asked.job.pop("what")]
        print(json.dumps(job(**asked.job)))
        return
    for method in asked.methods:
        keep(asked.out, "steps", method, compare(method, asked.size, asked.batch, asked.chunk, asked.steps))
    for embeddings in asked.embeddings:
        keep(asked.out, "loss", str(embeddings), losses(embeddings))


if __name__ == "__main__":
    main()
