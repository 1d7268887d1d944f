"""One of W processes: takes steps in chunks; gradients, weights and statistics are for test_chunks.py."""

import contextlib

import torch
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from engine.chunked import CHUNKABLE, B, build, draws, whole_batch
from kontrast import distributed as d
from kontrast.engine.chunks import Embed, backward_in_chunks

CHUNK = 2


def run(name: str, device: torch.device) -> dict[str, Tensor]:
    """Gradients of a few steps of SGD in float64, with dropout, and the state in the end."""
    model = build(name, dropout=0.3)
    wrapped, averaged = d.wrap(Embed(model), device), []
    if d.world_size() > 1:
        wrapped.register_comm_hook(None, lambda state, bucket: averaged.append(1) or allreduce_hook(state, bucket))
    optimizer = torch.optim.SGD((p for _, p in model.method.trainable()), lr=0.1)
    share = B // d.world_size()
    mine = whole_batch().part(share * d.rank(), share * (d.rank() + 1))
    out = {}
    for step in range(3):
        optimizer.zero_grad()
        output = backward_in_chunks(
            wrapped, model, mine, CHUNK, step / 3,
            draws=lambda first, step=step: draws(10 * step + first), autocast=contextlib.nullcontext, scale=lambda x: x,
        )  # fmt: skip
        out[f"{name}.loss.{step}"] = d.all_reduce_mean(output.loss.detach())
        out |= {f"{name}.grad.{step}.{n}": p.grad.clone() for n, p in model.method.trainable()}
        optimizer.step()
        model.method.after_step(step / 3)
    out[f"{name}.averaged"] = torch.tensor(len(averaged))
    return out | {f"{name}.state.{n}": v for n, v in model.state_dict().items()}


def compute(device: torch.device) -> dict[str, Tensor]:
    return {key: value for name in CHUNKABLE for key, value in run(name, device).items()}
