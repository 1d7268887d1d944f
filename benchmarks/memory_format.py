"""A network's forward and backward pass in PyTorch's two memory formats, and the first layer's alone, on one core.

    python benchmarks/memory_format.py [--out benchmarks/results/memory_format.json]

fp32, median of seven rounds, the formats in turns. `stem` is a 7×7 convolution of stride 2 with 64 outputs and
its weights' gradient, on one channel and on three; `resnet18` is the whole network on one. Times are the processor's.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from kontrast.nn.encoders import EncoderSpec, build_encoder

FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
SIZES = {64: 64, 224: 8}
"""Images a pass, by their side in pixels."""


def stem(channels: int, size: int, layout: torch.memory_format) -> Callable[[], Any]:
    """The first layer and its weights' gradient."""
    x = torch.randn(SIZES[size], channels, size, size).contiguous(memory_format=layout)
    w = torch.randn(64, channels, 7, 7, requires_grad=True)
    return lambda: F.conv2d(x, w, stride=2, padding=3).sum().backward()


def resnet(size: int, layout: torch.memory_format) -> Callable[[], Any]:
    """All of a ResNet-18 on one channel."""
    network: Any = build_encoder(EncoderSpec("resnet18", size), seed=0).train()
    network.to(memory_format=layout)
    x = torch.randn(SIZES[size], 1, size, size).contiguous(memory_format=layout)
    return lambda: network(x).square().mean().backward()


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of the processor."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def main() -> None:
    """What the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    found = {}
    for size in SIZES:
        for what in ("stem, 1 channel", "stem, 3 channels", "resnet18"):
            works = {
                name: resnet(size, layout) if what == "resnet18" else stem(int(what[6]), size, layout)
                for name, layout in FORMATS.items()
            }
            rounds = [{name: timed(work) for name, work in works.items()} for _ in range(8)][1:]
            found[f"{what}, {size} px"] = {name: round(median(r[name] for r in rounds), 1) for name in works}
            print(f"{what}, {size} px", found[f"{what}, {size} px"], flush=True)
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
