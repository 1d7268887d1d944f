"""What keeps a run sound: a global gradient norm, limited where asked, and a stop at what is not finite."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kontrast import distributed
from kontrast.errors import TrainingError

LEAST_SCALE = 2.0**-10
"""A loss scale below 1 means that gradients exceed 65,504 as they are. A few batches may; far below, all do."""


class FiniteCheck:
    """Stops a run whose loss or gradient is not finite.

    On a CPU before the weights change. On a GPU one step later, so that the host never waits for the step in hand;
    `settle` looks at once and is called before anything is logged or saved, so no checkpoint holds such weights.

    Args:
        out: where a list of the images goes; the main process writes it.
        ids: the image ids of a step, over all processes.
    """

    def __init__(self, out: Path, ids: Callable[[int], Sequence[str]]) -> None:
        self._out, self._ids = out, ids
        self._pending: tuple[Tensor, Any, int] | None = None

    def watch(self, loss: Tensor, norm: Tensor | None, step: int) -> None:
        """Look at a step's loss and gradient norm, now or soon."""
        self.settle()
        finite = torch.isfinite(loss.detach()).all()
        if norm is not None:
            finite = finite & torch.isfinite(norm)
        event = None
        if finite.device.type == "cuda":
            event = torch.cuda.Event()
            finite = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
            event.record()
        self._pending = (finite, event, step)
        if event is None:
            self.settle()

    def settle(self) -> None:
        """Look now.

        Raises:
            TrainingError: the loss or the norm watched last is not finite.
        """
        if self._pending is None:
            return
        finite, event, step = self._pending
        self._pending = None
        if event is not None:
            event.synchronize()
        if not bool(finite):
            raise self._error(step)

    def _error(self, step: int) -> TrainingError:
        ids = list(dict.fromkeys(self._ids(step)))
        shown = ", ".join(ids[:32]) + (f" and {len(ids) - 32} more" if len(ids) > 32 else "")
        name = f"nonfinite-{step + 1:08d}.csv"
        if distributed.is_main():
            with contextlib.suppress(OSError):  # the message says the main thing; a full disk must not hide it
                (self._out / name).write_text("\n".join(["image_id", *ids]) + "\n", encoding="utf-8")
        return TrainingError(
            f"The loss or its gradient is not finite at step {step + 1:,}, on the images {shown}.",
            fix=f"Lower --lr or use --precision fp32, with another --out; look at those images ({name}). "
            f"Checkpoints in {self._out} are from before.",
        )


def check_scale(scale: float, step: int) -> float:
    """The loss scale of fp16, as long as it scales: halved at each overflow, it says when gradients never fit.

    Raises:
        TrainingError: it has come below LEAST_SCALE, so steps are skipped and nothing is learnt.
    """
    if scale < LEAST_SCALE:
        raise TrainingError(
            f"Gradients do not fit fp16: up to step {step:,} they overflowed at every loss scale down to {scale:g}.",
            fix="Use --precision bf16 (or fp32), or lower --lr, with another --out.",
        )
    return scale


def clip(parameters: Sequence[Tensor], limit: float | None) -> Tensor:
    """The global gradient norm over all parameters, before it is limited."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_([p for p in parameters if p.grad is not None], limit, norm)
    return norm
