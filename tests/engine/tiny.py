"""A Pack, a network and a Trainable small enough to train in a blink, for the engine's tests."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn


class FakePack:
    """What `Batches` needs of a Pack."""

    def __init__(self, n: int = 40, size: int = 8, seed: int = 0, dtype: Any = np.uint8) -> None:
        rng = np.random.default_rng(seed)
        self.size = size
        self._images = rng.integers(0, np.iinfo(dtype).max + 1, (n, size, size)).astype(dtype)
        self.table = pd.DataFrame({"image_id": [f"{seed:08x}{i:08x}" for i in range(n)]})

    def __len__(self) -> int:
        return len(self._images)

    def images(self, rows: np.ndarray) -> np.ndarray:
        return self._images[rows]


def table(n: int = 90) -> pd.DataFrame:
    """A Pack's columns about people, with blanks in each; every row is a patient of its own."""
    return pd.DataFrame(
        {
            "view": np.resize(["PA", "AP", ""], n),
            "sex": np.resize(["F", "M"], n),
            "age": np.where(np.arange(n) % 9 == 0, np.nan, np.arange(n, dtype=float)),
            "patient_id": [f"p{i}" for i in range(n)],
        }
    )


@dataclass
class Output:
    loss: Tensor
    features: Tensor
    logs: dict[str, Any] = field(default_factory=dict)


class Tiny(nn.Module):
    """Predicts each image's mean; has dropout, batch-norm, a buffer like a queue, an average like a momentum copy."""

    def __init__(self, size: int = 8, seed: int = 0, bad_step: int = -1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(4 * (size - 2) ** 2, 1),
        )  # fmt: skip
        self.register_buffer("queue", torch.zeros(16))
        self.register_buffer("average", torch.zeros(4, 1, 3, 3))
        self.bad_step = bad_step

    def step(self, batch: Any, progress: float, generator: torch.Generator) -> Output:
        x = batch.images.float() / 255
        noise = torch.randn(batch.total, 1, 1, 1, generator=generator)[batch.first : batch.first + len(batch)]
        out = self.net(x + 0.01 * noise)[:, 0]
        self.queue = torch.cat([self.queue, out.detach().float()])[-16:]
        loss = (out.float() - x.mean((1, 2, 3))).square().mean() + 1e-3 * self.queue.mean()
        if batch.step == self.bad_step:
            loss = loss * float("nan")
        return Output(loss, out.detach()[:, None], {"half": loss.detach() / 2})

    def after_backward(self, step: int, progress: float) -> None:
        pass

    def after_step(self, progress: float) -> None:
        self.average.mul_(0.9).add_(self.net[0].weight.detach(), alpha=0.1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": self.net.parameters()}]
