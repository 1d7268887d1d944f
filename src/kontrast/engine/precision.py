"""Which device and which floating-point format, and the context that uses them."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from kontrast import console, distributed
from kontrast.config import choose
from kontrast.errors import UsageError

PRECISIONS = ("auto", "bf16", "fp16", "fp32")


@dataclass(frozen=True)
class Precision:
    """A resolved precision.

    Attributes:
        name: `bf16`, `fp16` or `fp32`; weights and losses stay in fp32, matrix products and convolutions use this.
        device: where.
    """

    name: str
    device: torch.device

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context for the forward pass."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.name == "bf16" else torch.float16)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, which fp16 alone needs; with another precision it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512-BF16 or AMX); without, bf16 is slower than fp32."""
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:  # private names, which another torch may not have: do without, which is only slower
        return False


def resolve_device(name: str = "auto") -> torch.device:
    """The device of this process, which joins its fellows if `torchrun` started it; only the first one then speaks.

    Args:
        name: `auto` (the GPU where there is one), `cpu`, `cuda` (each process takes its own) or `cuda:N`.

    Raises:
        UsageError: an unknown device, or one that this machine lacks.
    """
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(chosen)
    except RuntimeError:
        raise UsageError(f"--device {name} is no device.", fix="Choose auto, cpu, cuda or cuda:0.") from None
    if device.type == "cuda":
        index = distributed.local_rank() if device.index is None else device.index
        if not torch.cuda.is_available():
            raise UsageError(
                f"--device {name}: torch finds no GPU here.", fix="Choose --device cpu, or see `kontrast doctor`."
            )
        if index >= torch.cuda.device_count():
            raise UsageError(
                f"--device {name}: GPU {index} is wanted, but this machine has {torch.cuda.device_count()}.",
                fix="Start no more processes than there are GPUs.",
            )
    elif device.type != "cpu":
        raise UsageError(f"--device {name} is not supported.", fix="Choose auto, cpu or cuda.")
    device = distributed.start(device)
    if not distributed.is_main():
        console.configure(quiet=True)
    if name == "auto":
        console.decided("--device", chosen, "a GPU is there" if chosen == "cuda" else "torch finds no GPU")
    return device


def resolve_precision(name: str, device: torch.device) -> Precision:
    """`auto` is bf16 where the hardware has it, else fp32; said with its reason.

    Raises:
        UsageError: an unknown name, or fp16 on a CPU.
    """
    choose(name, PRECISIONS, "--precision")
    hardware = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
    if name == "auto":
        name = "bf16" if hardware else "fp32"
        console.decided(
            "--precision", name, f"the {device.type.upper()} {'computes' if hardware else 'does not compute'} bfloat16"
        )
    elif name == "bf16" and not hardware:
        console.warn("--precision bf16: this hardware lacks it; the run will be slow. fp32 is faster here.")
    if name == "fp16" and device.type != "cuda":
        raise UsageError("--precision fp16 is for GPUs.", fix="Choose --precision bf16 or fp32 (or auto).")
    return Precision(name=name, device=device)
