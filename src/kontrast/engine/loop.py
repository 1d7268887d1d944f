"""The only training loop: pretraining and fine-tuning run through `fit`.

What makes a resume exact: the order of the images, the views and the noise of a step derive from (seed, step), the
learning rate is a function of the step, and everything else that a step reads (weights, buffers such as queues,
optimiser, loss scale, hooks, the means not yet logged) is in the checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from kontrast import distributed
from kontrast.engine.batches import Batch, Batches
from kontrast.engine.run import Run
from kontrast.engine.signals import noted
from kontrast.errors import KontrastError

if TYPE_CHECKING:
    from kontrast.methods.method import Step


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How to train.

    Attributes:
        steps: of the whole run, at least 1.
        lr: peak learning rate for the batch size in use.
        optimizer: `adamw`, `sgd` or `lars`.
        weight_decay: of tensors with two dimensions or more.
        schedule: `cosine`, `onecycle` or `constant`.
        warmup: steps of linear warm-up (onecycle has its own).
        clip: largest global gradient norm; None for no clipping.
        precision: `auto`, `bf16`, `fp16` or `fp32`.
        momentum: of SGD and LARS.
        lr_in_momentum: SimCLR's form of LARS.
        chunk_size: images that a process embeds at a time, a divisor of its part of the batch (engine/chunks.py);
            None for all, as every model can.
        log_every: steps between lines of `metrics.jsonl`.
        checkpoint_every: steps between checkpoints; 0 leaves it to the clock.
        checkpoint_minutes: minutes between checkpoints; when they are written changes nothing in the result.
    """

    steps: int
    lr: float
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup: float = 0
    clip: float | None = None
    precision: str = "auto"
    momentum: float = 0.9
    lr_in_momentum: bool = False
    chunk_size: int | None = None
    log_every: int = 10
    checkpoint_every: int = 0
    checkpoint_minutes: float = 5.0


class Trainable(Protocol):
    """What `fit` trains: an `nn.Module` with these methods. `progress` is step / steps, in [0, 1).

    With `chunk_size` it has `before_step`, `embed` and `compare` in place of `step`, as `SelfSupervised` does.
    An attribute `sync_batchnorm = False` keeps batch-norm statistics per process (as MoCo's are).
    """

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> "Step":
        """The loss of one batch; random draws come from `generator` (CPU), or from torch's global state."""

    def after_backward(self, step: int, progress: float) -> None:
        """Change gradients (SwAV drops its prototypes' at first); before clipping."""

    def after_step(self, progress: float) -> None:
        """Follow the weights (a momentum encoder); after the optimiser."""

    def parameter_groups(self) -> Sequence[Mapping[str, Any]]:
        """Groups as `optim.split_decay` takes them."""


class Hook:
    """Something done at times during a run; override what is needed. On every process; its time is not training."""

    def on_log(self, model: Any, step: int, output: "Step", line: dict[str, Any]) -> KontrastError | None:
        """Add to the line that is about to be logged after `step` steps; `output` is the last step's.

        Returns:
            An error with which the run ends here, once all is saved; in every process or in none.
        """
        return None

    def on_epoch_end(self, model: Any, step: int, epoch: int) -> Literal["stop"] | None:
        """After `step` steps, which ended an epoch (from 1) or the run; `stop` ends the run here."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values to save."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was saved."""


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        steps: done in all.
        seconds: spent training in all, interruptions and hooks not counted.
        images_per_second: over all processes, in this part of the run; 0 where nothing was left to do.
        wait_share: share of the time spent waiting for images, in this part.
        history_path: `metrics.jsonl`.
        last: its last line.
        stopped: whether a hook ended the run early.
        changes: what was not as before when the run was resumed: `step` and `changed`, a list of words, of each time.
    """

    steps: int
    seconds: float
    images_per_second: float
    wait_share: float
    history_path: Path
    last: dict[str, Any]
    stopped: bool = False
    changes: tuple[dict[str, Any], ...] = ()

    def provenance(self) -> dict[str, Any]:
        """What a card says of the run beside its settings: nothing, where it went as it was begun."""
        return {"changes": list(self.changes)} if self.changes else {}


def fit(
    model: Any,
    batches: Batches,
    config: LoopConfig,
    *,
    out: Path,
    device: torch.device,
    resume: bool = True,
    hooks: Sequence[Hook] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
    allow_changes: bool = False,
    settled: Callable[[], object] | None = None,
    title: str = "training",
) -> FitResult:
    """Train to the last step, from the newest checkpoint in `out` if there is one.

    Args:
        model: a Trainable; moved to the device and trained in place.
        batches: what to train on.
        config: how.
        out: folder of `metrics.jsonl` and the checkpoints; only the main process writes.
        device: from `resolve_device`.
        resume: False begins anew.
        hooks: called in this order.
        settings: more that decides the result, plain values by name; kept in the checkpoints.
        allow_changes: resume although settings or data are not those of the checkpoint.
        settled: called in the main process once it is clear where the run goes on, before the first step.
        title: of the progress line.

    Raises:
        TrainingError: the loss or the gradient is not finite; the last checkpoint is from before.
        Interrupted: SIGTERM or SIGUSR1 (exit 75) or Ctrl-C (130) came; everything is saved.
        KontrastError: a hook's, after saving.
        OutputError: a checkpoint of another run, or a disk that cannot be written.
    """
    # Noise is seeded anew at each step, so the caller's random state is left as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), noted() as signals:
        run = Run(model, batches, config, out, device, hooks, settings)
        if resume:
            run.restore(allow_changes=allow_changes)
        if settled is not None and distributed.is_main():
            settled()
        try:
            run.train(signals, title)
        finally:
            if run.history is not None:
                run.history.close()
        return FitResult(**run.result())
