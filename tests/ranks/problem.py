"""A loss of each process that needs what every process has; beside it, what processes of tests/distributed run.

They stand apart because a package of the name `distributed` (Dask's) comes before a folder without `__init__.py`.
"""

from types import SimpleNamespace

import torch

from kontrast.engine.finetuning import Supervised
from kontrast.engine.losses import bce, focal
from kontrast.engine.threeclass import cross_entropy


def losses(y, rank, gather, mean):
    """Process `rank`'s loss of its outputs y (3, 3), which looks at everyone's through `gather` or `mean`."""
    if gather is not None:
        everyone = gather(y)  # (6, 3)
        weight = torch.linspace(-1, 1, everyone.numel()).reshape_as(everyone) * (1 + rank)
        return (everyone.sin() * weight).sum() + (y @ everyone.T).exp().mean() * 1e-3
    centre = mean(y.mean(0))  # (3,)
    return ((y - centre) ** 2).sum() * (1 + rank) + centre.prod()


def labelled_gradients(rows):
    """Gradients (rows, 4) of the losses of labels, by name, in the logits of these of 8 rows.

    Two findings of two classes, and one of three with its logit of "uncertain". Of rows 0 to 3 only two cells count
    and one is uncertain: their mean is far from that of the others.
    """
    g = torch.Generator().manual_seed(3)
    logits, y = torch.randn(8, 4, generator=g), (torch.rand(8, 3, generator=g) > 0.5).float()
    w, third = torch.ones(8, 3), torch.zeros(8, 3)
    w[:4], w[0, :2], third[3:6, 2], w[3:6, 2] = 0, 1, 1, 0
    model = SimpleNamespace(
        _targets=y, _weights=w, _third=third, _two=torch.tensor([0, 1]), _three=torch.tensor([2]),
        _pos_weight=None, _gamma=0.0, _loss=bce, unclear=lambda features: features[:, 3:],
    )  # fmt: skip
    y, w, third = y[rows], w[rows], third[rows]
    losses = {
        "bce": lambda z: bce(z[:, :3], y, w),
        "focal": lambda z: focal(z[:, :3], y, w),
        "three": lambda z: cross_entropy(z[:, 2:3], z[:, 3:], y[:, 2:], w[:, 2:], third[:, 2:]),
        "both": lambda z: Supervised._cost(model, z[:, :3], z, rows, torch.device("cpu")),
    }
    found = {}
    for name, loss in losses.items():
        z = logits[rows].requires_grad_()
        loss(z).backward()
        found[name] = z.grad
    return found
