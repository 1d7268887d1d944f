"""A method in float64 that can take its step in chunks, and a batch for it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kontrast.engine.batches import Batch
from kontrast.methods import METHODS
from kontrast.methods.method import About, Chunkable, Step
from toys import ToyEncoder, pictures, small_config, without_norm

CHUNKABLE = [name for name, kind in METHODS.items() if issubclass(kind, Chunkable)]
B = 8


class Double(nn.Module):
    """A method as `SelfSupervised` gives it, on views that are drawn for the whole batch in the images' type."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method
        self.started = 0

    def before_step(self, progress: float) -> None:
        self.started += 1
        self.method.before_step(progress)

    def views(self, batch: Batch, draws: torch.Generator) -> list[Tensor]:
        noise = torch.randn(2, batch.total, 1, 16, 16, generator=draws, dtype=batch.images.dtype)
        return [batch.images + 0.3 * own[batch.first : batch.first + len(batch)] for own in noise]

    def embed(self, batch: Batch, draws: torch.Generator) -> tuple[Tensor, ...]:
        return self.method.embed(self.views(batch, draws))

    def compare(self, embeddings: tuple[Tensor, ...], batch: Batch) -> Step:
        return self.method.compare(embeddings, about(batch))


def about(batch: Batch) -> About:
    return About(torch.from_numpy(batch.rows) % 5)


def whole_batch(dtype: torch.dtype = torch.float64) -> Batch:
    images = pictures(B).to(dtype)
    return Batch(images=images, rows=np.arange(B), ids=[str(i) for i in range(B)], step=0, first=0, total=B)


def build(name: str, *, dropout: float = 0.0, norm: bool = True) -> Any:
    torch.manual_seed(3)
    cls: Any = METHODS[name]
    encoder = ToyEncoder(norm=norm)
    encoder.bn1 = nn.Sequential(encoder.bn1, nn.Dropout(dropout))  # type: ignore[assignment]
    method = cls(encoder, small_config(cls))
    if not norm:
        without_norm(method)
    return Double(method.double())


def draws(first: int) -> torch.Generator:
    torch.default_generator.manual_seed(100 + first)
    return torch.Generator().manual_seed(7)
