"""The parts of the training loop: one step, a line of the log, a checkpoint, a resume. `loop.fit` is the way in."""

import contextlib
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kontrast import console, distributed
from kontrast.engine.batches import NOISE, Batch, Batches, derive, generator
from kontrast.engine.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from kontrast.engine.chunks import Embed, backward_in_chunks
from kontrast.engine.guard import FiniteCheck, check_scale, clip
from kontrast.engine.history import HISTORY, History, Window
from kontrast.engine.optim import build_optimizer, set_lr
from kontrast.engine.precision import resolve_precision
from kontrast.engine.schedule import schedule
from kontrast.engine.signals import Signals, interrupted
from kontrast.errors import KontrastError
from kontrast.nn.syncbatchnorm import synchronise

if TYPE_CHECKING:
    from kontrast.engine.loop import Hook, LoopConfig
    from kontrast.methods.method import Step


class Run:
    """The state of one call of `fit`; its methods are the parts of the loop."""

    def __init__(
        self,
        model: Any,
        batches: Batches,
        config: "LoopConfig",
        out: Path,
        device: torch.device,
        hooks: "Sequence[Hook]",
        settings: "Mapping[str, Any]",
    ) -> None:
        self.batches, self.config, self.out, self.device, self.hooks = batches, config, out, device, list(hooks)
        self.precision = resolve_precision(config.precision, device)
        # Chunks are batch-norm groups, in one process and in many.
        sync = config.chunk_size is None and getattr(model, "sync_batchnorm", True)
        if distributed.world_size() > 1 and sync:
            synchronise(model, device)
        self.model = model.to(device)
        # Also in fp32 on a CPU, where it is faster at 224 px (docs/speed.md).
        model.to(memory_format=torch.channels_last)
        self.forward = distributed.wrap(_Forward(model) if config.chunk_size is None else Embed(model), device)
        self.optimizer = build_optimizer(
            config.optimizer, model.parameter_groups(), config.lr, config.weight_decay,
            momentum=config.momentum, lr_in_momentum=config.lr_in_momentum,
        )  # fmt: skip
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.scaler = self.precision.scaler()
        self.window, self.step, self.stopped = Window(), 0, False
        self.changes: list[dict[str, Any]] = []
        self.history: History | None = None
        self.seconds_before = self.seconds = self.waited = self._aside = 0.0
        self.images = 0
        self._check = FiniteCheck(out, batches.ids)
        self._settings = settings

    def fingerprint(self) -> dict[str, Any]:
        """What a resumed run must share with the one that saved."""
        unlike = {"log_every", "checkpoint_every", "checkpoint_minutes", "precision"}
        shapes = ";".join(f"{k}:{tuple(v.shape)}" for k, v in self.model.state_dict().items())
        # What is resolved stands over what was asked for by the same name.
        named = {**self._settings, **{k: v for k, v in asdict(self.config).items() if k not in unlike}}
        return {
            **{k.replace("_", " "): v for k, v in named.items()},
            **self.batches.fingerprint(),
            "precision": self.precision.name,
            "processes": distributed.world_size(),
            "checkpoint format": FORMAT,
            "network": hashlib.sha256(shapes.encode()).hexdigest()[:16],
        }

    def restore(self, *, allow_changes: bool) -> None:
        """Go on from the newest whole checkpoint, if any."""
        state = load_checkpoint(self.out, self.fingerprint(), allow=allow_changes)
        if state is None:
            return
        model, rank, world = dict(state["model"]), distributed.rank(), distributed.world_size()
        # Of another number of processes, all go on with what the main one had.
        model.update({k: v[rank] for k, v in state["rank_buffers"].items() if len(v) == world})
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.window.load_state_dict(state["window"], self.device)
        for hook, saved in zip(self.hooks, state["hooks"], strict=True):
            hook.load_state_dict(saved)
        self.step, self.stopped, self.seconds_before = state["step"], state["stopped"], state["seconds"]
        self.changes = state["changes"]
        console.say(f"Resuming after step {self.step:,} of {self.config.steps:,}.")

    def save(self) -> None:
        """Write a checkpoint; every process takes part, the main one writes, and none goes on before it is there."""
        state = self.model.state_dict()
        buffers = {k for k, _ in self.model.named_buffers()} & state.keys()
        # Most buffers agree between processes; those that do not (statistics per process) are kept for each.
        own = {}
        if distributed.world_size() > 1:
            for name in sorted(buffers):
                everyone = distributed.gather(state[name][None])
                if not bool((everyone == everyone[:1]).all()):
                    own[name] = everyone.cpu()
        window = self.window.state_dict()
        if distributed.is_main():
            assert self.history is not None
            self.history.sync()
            save_checkpoint(
                self.out,
                self.step,
                {
                    "fingerprint": self.fingerprint(), "step": self.step, "changes": self.changes,
                    "model": state, "rank_buffers": own, "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(), "window": window,
                    "hooks": [hook.state_dict() for hook in self.hooks], "stopped": self.stopped,
                    "seconds": self.seconds_before + self.seconds,
                },
            )  # fmt: skip
        # A process that ended first would have torchrun end the one that still writes.
        distributed.barrier()

    def train(self, signals: Signals, title: str) -> None:
        """All steps that are left."""
        config, main = self.config, distributed.is_main()
        self.history = History(self.out, self.step) if main else None
        if self.stopped or self.step >= config.steps:
            return
        self.model.train()
        started = saved = logged = self._clock()
        waited_before = images_before = 0.0
        stream = contextlib.closing(self.batches.stream(self.step, config.steps))
        with stream as source, console.progress(title, config.steps, "steps", self.step) as progress:
            for batch in self._waiting(source):
                output = self._one(batch)
                self.step += 1
                self.images += batch.total
                now = self._clock()
                self.seconds = now - started
                last = self.step == config.steps
                error: KontrastError | None = None
                if self.step % config.log_every == 0 or last:
                    rate = (self.images - images_before) / max(now - logged, 1e-9)
                    share = (self.waited - waited_before) / max(now - logged, 1e-9)
                    error = self._log(output, rate, share)
                    logged, waited_before, images_before = now, self.waited, self.images
                progress.update(1, **self._facts())
                ended = self._epoch_ended(last)
                due = now - saved > 60 * config.checkpoint_minutes
                due = due or bool(config.checkpoint_every and self.step % config.checkpoint_every == 0)
                due, number = self._agree(due, signals.received)
                if due or number or ended or last or error:
                    self._check.settle()
                    self.save()
                    saved = self._clock()
                if error is not None:
                    raise error
                if number and not (ended or last):
                    raise interrupted(number, self.step)
                if ended:
                    return

    def _clock(self) -> float:
        """Seconds, standing still while hooks work."""
        return time.monotonic() - self._aside

    def _waiting(self, source: Iterable[Batch]) -> Iterable[Batch]:
        iterator = iter(source)
        while True:
            began = time.monotonic()
            batch = next(iterator, None)
            self.waited += time.monotonic() - began
            if batch is None:
                return
            yield batch

    def _one(self, batch: Batch) -> "Step":
        """Forward, backward, update."""
        config, step = self.config, self.step
        progress = step / config.steps
        lr = config.lr * schedule(config.schedule, step, config.steps, config.warmup)
        set_lr(self.optimizer, lr)
        if config.chunk_size is None:
            with self.precision.autocast():
                output = self.forward(batch, progress, self._draws(distributed.rank()))
            self.scaler.scale(output.loss).backward()
        else:
            output = backward_in_chunks(
                self.forward, self.model, batch, config.chunk_size, progress,
                draws=self._draws, autocast=self.precision.autocast, scale=self.scaler.scale,
            )  # fmt: skip
        self.model.after_backward(step, progress)
        self.scaler.unscale_(self.optimizer)
        norm = clip(self.parameters, config.clip)
        # The mean over processes: where one alone stopped, the others would wait for it for ever.
        loss = distributed.all_reduce_mean(output.loss.detach())
        # An fp16 gradient may overflow: the scaler then skips the step and lowers its scale.
        self._check.watch(loss, None if self.scaler.is_enabled() else norm, step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.after_step(progress)
        self.window.add({"loss": output.loss, "lr": lr, "grad_norm": norm, **output.logs}, self.device)
        return output  # type: ignore[no-any-return]

    def _draws(self, part: int) -> torch.Generator:
        """Seed the noise of a part of this step's batch; the generator of the step's views."""
        noise = derive(self.batches.seed, NOISE, self.step, part)
        torch.default_generator.manual_seed(noise)  # torch.manual_seed would tend to every absent kind of device too
        if self.device.type == "cuda":
            torch.cuda.manual_seed(noise)
        return generator(self.batches.seed, self.step)

    def _log(self, output: "Step", rate: float, share: float) -> KontrastError | None:
        """Write a line; an error with which a hook ends the run."""
        self._check.settle()
        line: dict[str, Any] = {"step": self.step, "epoch": self.step / self.batches.steps_per_epoch}
        line.update(self.window.means())
        if self.scaler.is_enabled():
            line["loss_scale"] = check_scale(self.scaler.get_scale(), self.step)
        line.update(images_per_s=round(rate, 2), wait_share=round(share, 4))
        began = time.monotonic()
        errors = [hook.on_log(self.model, self.step, output, line) for hook in self.hooks]
        self._aside += time.monotonic() - began
        if self.history is not None:
            self.history.write(line)
        return next((error for error in errors if error is not None), None)

    def _facts(self) -> dict[str, Any]:
        line = self.history.last if self.history is not None else {}
        if "loss" not in line or line["loss"] is None:
            return {}
        return {
            "loss": f"{line['loss']:.4g}",
            "images/s": f"{line['images_per_s']:.4g}",
            "waiting": f"{line['wait_share']:.0%}",
        }

    def _epoch_ended(self, last: bool) -> bool:
        """Run the hooks of an epoch's end; True if one of them ends the run."""
        if not (self.step % self.batches.steps_per_epoch == 0 or last):
            return False
        epoch = -(-self.step // self.batches.steps_per_epoch)
        began = time.monotonic()
        wishes = [hook.on_epoch_end(self.model, self.step, epoch) for hook in self.hooks]
        self._aside += time.monotonic() - began
        self.model.train()
        self.stopped = bool(distributed.broadcast_object("stop" in wishes))
        return self.stopped

    def _agree(self, due: bool, number: int) -> tuple[bool, int]:
        """What any process wants, all do at the same step."""
        if distributed.world_size() == 1:
            return due, number
        wishes = distributed.gather(torch.tensor([[int(due), number]], device=self.device)).amax(0).tolist()
        return bool(wishes[0]), int(wishes[1])

    def result(self) -> dict[str, Any]:
        """What the run came to: the fields of a FitResult."""
        return {
            "steps": self.step,
            "seconds": self.seconds_before + self.seconds,
            "images_per_second": self.images / self.seconds if self.seconds else 0.0,
            "wait_share": self.waited / self.seconds if self.seconds else 0.0,
            "history_path": self.out / HISTORY,
            "last": self.history.last if self.history is not None else {},
            "stopped": self.stopped,
            "changes": tuple(self.changes),
        }


class _Forward(nn.Module):
    """DDP prepares its gradient averaging in `forward`, so the step is called through one."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, progress: float, draws: torch.Generator) -> "Step":
        return self.model.step(batch, progress, draws)  # type: ignore[no-any-return]
