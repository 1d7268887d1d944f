"""A network's forward and backward pass with products of matrices for small maps, against torch's convolutions alone.

    python benchmarks/convolution.py [--threads 1] [--out benchmarks/results/convolution.json]

fp32, channels last, as the engine has it; the two in turns, and of nine rounds' ratios the median. Then a 3×3 layer of
a ResNet-18's last stage at 64 px alone, on 2 × 2 places: milliseconds for each of its three products. Times are the
processor's. On a processor without AVX2, or with AVX-512, kontrast leaves all to torch: nothing is measured there.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from kontrast.nn import convolution
from kontrast.nn.encoders import EncoderSpec, build_encoder

CASES = [("resnet18", 64, 64), ("resnet18", 64, 16), ("resnet18", 96, 32), ("resnet18", 224, 8), ("resnet50", 64, 32),
         ("densenet121", 64, 32)]  # fmt: skip
"""Network, side of the images in pixels, images a pass."""

ROUNDS = 9


def seconds(work: Callable[[], Any]) -> float:
    """Of the processor."""
    start = time.process_time()
    work()
    return time.process_time() - start


def step(name: str, size: int, images: int) -> Callable[[str], float]:
    """Forward and backward of a whole network, by the capability that the processor is said to have."""
    network: Any = build_encoder(EncoderSpec(name, size), seed=0).train()
    network.to(memory_format=torch.channels_last)
    x = torch.randn(images, 1, size, size).contiguous(memory_format=torch.channels_last)

    def work(capability: str) -> float:
        network.zero_grad()
        with patch.object(torch.backends.cpu, "get_cpu_capability", lambda: capability):
            return seconds(lambda: network(x).square().mean().backward())

    return work


def networks() -> dict[str, Any]:
    """Each case's ratio, and the milliseconds an image that go with it."""
    found = {}
    for name, size, images in CASES:
        work = step(name, size, images)
        rounds = [(work("DEFAULT"), work("AVX2")) for _ in range(ROUNDS + 1)][1:]
        what = f"{name}, {size} px, {images} images"
        found[what] = {
            "times as fast": round(median(torchs / ours for torchs, ours in rounds), 3),
            "ms an image, torch": round(1000 * median(torchs for torchs, _ in rounds) / images, 2),
            "ms an image": round(1000 * median(ours for _, ours in rounds) / images, 2),
        }
        print(what, found[what], flush=True)
    return found


def layer() -> dict[str, Any]:
    """The three products of one layer, ms."""
    last = torch.channels_last
    x, w = (torch.randn(shape).contiguous(memory_format=last) for shape in ((64, 512, 2, 2), (512, 512, 3, 3)))
    window, g = convolution.Window(3, 1, 1), torch.randn_like(x)

    def torchs(which: list[bool]) -> Tensor:
        return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
            g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, which
        )

    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "forward": (lambda: F.conv2d(x, w, padding=1), lambda: convolution.Product.apply(x, w, window)),
        "input's gradient": (
            lambda: torchs([True, False, False]), lambda: convolution.input_gradient(g, x, w, window)
        ),
        "weights' gradient": (
            lambda: torchs([False, True, False]), lambda: convolution.weight_gradient(g, x, w, window)
        ),
    }  # fmt: skip
    found = {}
    for what, (theirs, ours) in pairs.items():
        rounds = [(seconds(theirs), seconds(ours)) for _ in range(ROUNDS + 1)][1:]
        found[what] = {"torch": round(1000 * median(a for a, _ in rounds), 1),
                       "products": round(1000 * median(b for _, b in rounds), 1)}  # fmt: skip
        print(what, found[what], flush=True)
    return found


def main() -> None:
    """What the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        raise SystemExit(f"This processor has {torch.backends.cpu.get_cpu_capability()}: all is left to torch.")
    torch.set_num_threads(asked.threads)
    found = {"threads": asked.threads, "networks": networks(), "512 → 512 on 2 × 2 places, 64 images, ms": layer()}
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
