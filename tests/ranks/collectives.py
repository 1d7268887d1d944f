"""One of two processes: does what test_collectives.py checks."""

import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from kontrast import distributed as d
from ranks.problem import labelled_gradients, losses


def compute(device: torch.device) -> dict[str, Tensor]:
    r, out = d.rank(), {}
    x = torch.arange(6.0).reshape(3, 2) + 10 * r
    out["facts"] = torch.tensor([d.world_size(), r, d.local_rank(), int(d.is_main())])
    out["gather"] = d.gather(x)
    strided = torch.arange(6.0).reshape(2, 3).T.requires_grad_() + 10 * r
    out["gather_strided"] = d.gather(strided)
    out["gather_requires_grad"] = torch.tensor(int(d.gather(strided).requires_grad))
    out["sum"], out["mean"] = d.all_reduce_sum(x), d.all_reduce_mean(x)
    out["x_after"] = x
    out["broadcast"], out["broadcast_1"] = d.broadcast(x), d.broadcast(x, source=1)
    out["object"] = torch.tensor(d.broadcast_object({"rank": r})["rank"])
    model = nn.Linear(2, 3, bias=False)
    nn.init.constant_(model.weight, 0.5 + r)  # DDP sends the main process's weights
    wrapped = d.wrap(model, device)
    for name, gathered, summed in (("gather", d.gather_with_grad, None), ("reduce", None, d.all_reduce_mean)):
        wrapped.zero_grad()
        losses(wrapped(x / 10), r, gathered, summed).backward()
        out[f"grad_{name}"] = model.weight.grad.clone()
    for name, gradient in labelled_gradients(torch.arange(8).chunk(2)[r]).items():
        out[f"labels_{name}"] = d.gather(gradient) / d.world_size()  # of weights DDP takes the mean
    folder = d.broadcast_object(tempfile.mkdtemp() if d.is_main() else "")
    mark = Path(folder) / "written"
    out["first"] = torch.tensor(d.main_first(lambda: mark.exists() or mark.write_text("x") == 2))
    d.barrier()
    if d.is_main():
        shutil.rmtree(folder)
    return out
