"""One of W processes: runs what test_methods.py compares between W = 1, 2 and 4."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kontrast import distributed as d
from kontrast.methods import METHODS, Method
from kontrast.methods.method import About
from kontrast.nn.batchnorm import dealt
from kontrast.nn.sinkhorn import sinkhorn
from kontrast.nn.syncbatchnorm import synchronise
from toys import about_for, pictures, small_config, toy_encoder, two_views, without_norm

B, STEPS = 12, 4


class Loss(nn.Module):
    """A method as DDP wants it: its forward returns the loss."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, views: list[Tensor], about: About) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        step = self.method(views, about)
        return step.loss, step.logs


def own(x: Tensor) -> Tensor:
    """This process's part of the global batch."""
    return x.chunk(d.world_size())[d.rank()]


WITH_PATIENTS = {
    f"{name}, patients known": name
    for name, cls in METHODS.items()
    if "same_patient_negatives" in {field.name for field in dataclasses.fields(cls.Config)}
}
"""Methods that mask negatives run twice."""

IN_GROUPS = {f"{name}, batch-norm in groups": name for name, cls in METHODS.items() if not cls.sync_batchnorm}
"""Methods whose statistics are of groups of the batch: GROUPS in one process, their share of them in each of many."""

GROUPS = 4


def run(name: str, device: torch.device) -> dict[str, Tensor]:
    """Gradients and state after each of a few SGD steps in float64."""
    torch.manual_seed(7)
    cls: Any = METHODS[(WITH_PATIENTS | IN_GROUPS).get(name, name)]
    groups = GROUPS // d.world_size() if name in IN_GROUPS else 1
    # KoLeo's groups of four lie across processes, which hold six images or three
    config = small_config(cls, bn_groups=groups, local_views=1, queue_length=16, koleo_group=4)
    method = cls(toy_encoder(cls, norm=cls.sync_batchnorm or name in IN_GROUPS), config).double()
    if not cls.sync_batchnorm and name not in IN_GROUPS:
        without_norm(method)
    elif cls.sync_batchnorm and d.world_size() > 1:
        synchronise(method, device)
    wrapped = d.wrap(Loss(method), device)
    optimizer = torch.optim.SGD((p for _, p in method.trainable()), lr=0.1)
    out = {}
    for step in range(STEPS):
        images = pictures(B, seed=step).double()
        views = two_views(images, step, count=method.views.globals)
        views += two_views(images[..., ::2, ::2], step, count=method.views.locals)
        optimizer.zero_grad()
        method.before_step(step / STEPS)
        masks = about_for(method, B, step).masks
        about = About(
            patients=own((torch.arange(B) + step) % 5) if name in WITH_PATIENTS else None,
            masks=None if masks is None else own(masks.transpose(0, 1)).transpose(0, 1),
        )
        loss, logs = wrapped([own(v.double()) for v in views], about)
        loss.backward()
        method.after_backward(step, step / STEPS)
        out[f"{name}.loss.{step}"] = d.all_reduce_mean(loss.detach())
        chance = method.chance_loss()  # after masking it is of this process's own queries
        out[f"{name}.loss.{step}.chance"] = d.all_reduce_mean(torch.tensor(chance or 0.0, dtype=torch.float64))
        if name in WITH_PATIENTS:
            out[f"{name}.loss.{step}.count"] = d.all_reduce_mean(torch.as_tensor(logs["same_patient_negatives"]))
        out |= {f"{name}.grad.{step}.{n}": p.grad.clone() for n, p in method.trainable()}
        optimizer.step()
        method.after_step(step / STEPS)
    return out | {f"{name}.state.{n}": v for n, v in method.state_dict().items()}


def compute(device: torch.device) -> dict[str, Tensor]:
    """Everything that is compared."""
    out: dict[str, Tensor] = {}
    for name in [*METHODS, *WITH_PATIENTS, *IN_GROUPS]:
        out |= run(name, device)
    scores = torch.randn(B, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out["sinkhorn"] = d.gather(sinkhorn(own(scores)))
    seen: list[Tensor] = []

    def network(part: Tensor) -> Tensor:
        seen.append(part)
        return part[:, None] * 2

    out["dealt"] = d.gather(dealt(network, own(torch.arange(float(B))), 1))
    out["seen"] = seen[0]
    return out
