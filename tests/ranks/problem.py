"""A loss of each process that needs what every process has; beside it, what processes of tests/distributed run.

They stand apart because a package of the name `distributed` (Dask's) comes before a folder without `__init__.py`.
"""

import torch


def losses(y, rank, gather, mean):
    """Process `rank`'s loss of its outputs y (3, 3), which looks at everyone's through `gather` or `mean`."""
    if gather is not None:
        everyone = gather(y)  # (6, 3)
        weight = torch.linspace(-1, 1, everyone.numel()).reshape_as(everyone) * (1 + rank)
        return (everyone.sin() * weight).sum() + (y @ everyone.T).exp().mean() * 1e-3
    centre = mean(y.mean(0))  # (3,)
    return ((y - centre) ** 2).sum() * (1 + rank) + centre.prod()
