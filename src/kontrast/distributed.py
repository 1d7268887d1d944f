"""Many processes, one training: the only module that names `torch.distributed`.

Every function works unchanged in a single process, where it is the identity, so callers never ask how many there
are. `torchrun` starts the processes and describes them in the environment; `start` reads it.

Gradients across processes follow one convention. Each process has a loss Lᵣ, and DDP averages the gradients, so
training minimises the mean of the Lᵣ. A collective's backward pass is therefore the true adjoint of its forward
pass in the sum of the losses: for `gather_with_grad` every process sends back the gradient it has for every slice,
they are summed, and each keeps its own slice.
"""

import contextlib
import os
import time
import uuid
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kontrast.errors import UsageError

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")


def start(device: str | torch.device = "cpu") -> torch.device:
    """Join the other processes if `torchrun` started this one, and choose this process's device.

    Args:
        device: `cpu` or `cuda`; a bare `cuda` becomes this process's own GPU.

    Returns:
        The device of this process.
    """
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        store, rank, world = next(dist.rendezvous("env://"))
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=meet(store, rank, world), rank=rank, world_size=world)
    return device


def meet(store: dist.Store, rank: int, world: int) -> dist.Store:
    """The store, with a prefix that only the processes that are there now share.

    torchrun keeps one store through all its restarts, and in it the addresses of processes that are gone. Who reads
    one of those waits for the dead: with torch 2.13 restarts hung at random. So each process shows itself by a word
    that nobody had before; the first one answers that word with the name of this life, and goes on when each has taken
    it up. The words of the dead it answers in vain.

    Raises:
        UsageError: not all came within the store's time.
    """
    word = uuid.uuid4().hex
    if rank != 0:
        store.set(f"here/{rank}", word)
        life = store.get(f"life/{word}").decode()  # waits for it
        store.set(f"met/{life}/{rank}", word)
        return dist.PrefixStore(life, store)
    patience: timedelta = store.timeout  # type: ignore[attr-defined]
    missing, ends = set(range(1, world)), time.monotonic() + patience.total_seconds()
    while missing:
        for other in [other for other in missing if store.check([f"here/{other}"])]:
            store.set(f"life/{store.get(f'here/{other}').decode()}", word)
        missing = {other for other in missing if not store.check([f"met/{word}/{other}"])}
        if time.monotonic() > ends:
            raise UsageError(
                f"WORLD_SIZE says {world} processes, but {world - len(missing)} have come.",
                fix="Start them all, by torchrun or with RANK from 0 to one less than WORLD_SIZE.",
            )
        time.sleep(0.01)
    return dist.PrefixStore(word, store)


def stop() -> None:
    """Leave the group; does nothing in a single process."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def local_rank() -> int:
    """Which process of this machine this is, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Whether this is the process that writes files and lines."""
    return rank() == 0


def barrier() -> None:
    """Wait for every process."""
    if world_size() > 1:
        dist.barrier()


def gather(x: Tensor) -> Tensor:
    """Every process's `x` in order of rank, (B, …) → (world · B, …), without gradient; shapes must agree."""
    return _all_gather(x.detach())


def gather_with_grad(x: Tensor) -> Tensor:
    """Every process's `x` in order of rank, (B, …) → (world · B, …); gradients return to where each came from."""
    return _Gather.apply(x) if world_size() > 1 else x  # type: ignore[no-any-return,no-untyped-call]


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of `x` over processes, differentiable; `x` itself is not changed."""
    return _AllReduce.apply(x) if world_size() > 1 else x  # type: ignore[no-any-return,no-untyped-call]


def all_reduce_mean(x: Tensor) -> Tensor:
    """The mean of `x` over processes, differentiable; `x` itself is not changed."""
    return all_reduce_sum(x) / world_size() if world_size() > 1 else x


def broadcast(x: Tensor, source: int = 0) -> Tensor:
    """`source`'s `x` on every process, without gradient; shapes and types must agree."""
    if world_size() == 1:
        return x
    out = x.detach().clone().contiguous()
    dist.broadcast(out, source)
    return out


def broadcast_object(value: Any, source: int = 0) -> Any:
    """`source`'s small picklable value on every process (between our own processes only, never from a file)."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, source)
    return box[0]


def main_first(work: Callable[[], T]) -> T:
    """Run `work` in the main process, then in the others: the first one writes what the others read."""
    if not is_main():
        barrier()
        return work()
    result = work()
    barrier()
    return result


def wrap(module: M, device: torch.device, **options: Any) -> M | nn.parallel.DistributedDataParallel:
    """The module in DDP, or as it is in a single process.

    Buffers are not broadcast: batch-norm statistics would otherwise be written during the forward passes of a
    method that uses its encoder twice, and autograd refuses that. What is saved is the main process's.

    Gradients are summed in the same order in every step. DDP else sorts them anew after the first one, and a sum over
    three processes or more depends on its place: a resumed run, whose first step is another, would not end in the
    same bits. It leaves the order alone where it looks for unused parameters.
    """
    if world_size() == 1:
        return module
    ids = [device.index] if device.type == "cuda" else None
    # torch 2.13 renames this one, and its new name synchronises more.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    return nn.parallel.DistributedDataParallel(
        module, device_ids=ids, broadcast_buffers=False, find_unused_parameters=True, **options
    )


def no_sync(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Within it, gradients of a module from `wrap` are added up in each process; nothing in a single process."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def _all_gather(x: Tensor) -> Tensor:
    if world_size() == 1:
        return x
    out = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(out, x.contiguous())
    return torch.cat(out)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_gather(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(world_size())[rank()]


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad
