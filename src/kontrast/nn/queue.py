"""A first-in, first-out memory of embeddings: MoCo's negatives, SwAV's help for small batches."""

import torch
from torch import Tensor, nn

from kontrast.distributed import gather
from kontrast.nn.numerics import unit

NOBODY = -1


class Queue(nn.Module):
    """The newest `length` embeddings of all processes, oldest overwritten first.

    Every process holds the same rows, so the main process's checkpoint is complete. All state is in persistent
    buffers: a queue lost on resume would be noise again.

    Args:
        dim: D, the size of an embedding.
        length: K, how many rows; need be no multiple of the batch, writing wraps around.

    Attributes:
        keys: (K, D), unit rows. They start random, from a seed of their own so that all processes agree; which rows
            have been written is `filled`.
        patients: (K,) int64, the patient of each row; −1 for the noise, and where patients are not known.
        pointer: where the next row goes.
        filled: how many rows have been written, at most K.
    """

    keys: Tensor
    patients: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, dim: int, length: int) -> None:
        super().__init__()
        noise = torch.randn(length, dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("keys", unit(noise))
        self.register_buffer("patients", torch.full((length,), NOBODY))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @property
    def full(self) -> bool:
        """Whether no row of the noise that it began with is left (on a GPU this waits for the device)."""
        return int(self.filled) == len(self.keys)

    @torch.no_grad()
    def enqueue(self, k: Tensor, patients: Tensor | None = None) -> None:
        """Write embeddings of every process, in order of rank, over the oldest rows.

        Use the queue before this call: an embedding must not be its own negative.

        Args:
            k: (b, D).
            patients: (b,) int64, None where not known; in all processes or in none.
        """
        k = gather(k)  # (B, D)
        whose = self.patients.new_full((len(k),), NOBODY) if patients is None else gather(patients)  # (B,)
        K, B = len(self.keys), len(k)
        kept = min(B, K)  # a batch longer than the queue leaves its newest rows
        offsets = torch.arange(B - kept, B, device=k.device)
        # positions as a tensor: asking the device for the pointer would wait for it at every step
        rows = (self.pointer + offsets) % K
        self.keys.index_copy_(0, rows, k[B - kept :].to(self.keys.dtype))
        self.patients.index_copy_(0, rows, whose[B - kept :])
        self.pointer.add_(B).remainder_(K)
        self.filled.add_(B).clamp_(max=K)
