"""Batches of images from Packs, by step: any step's batch can be made at once, so a resumed run needs no state."""

import hashlib
import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kontrast import distributed
from kontrast.engine.patients import Groups
from kontrast.engine.rows import Rows
from kontrast.engine.sizes import free_memory
from kontrast.errors import UsageError

if TYPE_CHECKING:
    from kontrast.artifacts.pack import Pack

PREFETCH = 3
RESIDENT_SHARE = 0.25
"""A Pack is loaded whole when it takes at most this share of the free memory."""

ORDER, VIEWS, NOISE, HEADS, PARTNERS = 0, 1, 2, 3, 4
"""Streams of random numbers: order of the images; views and augmentation; dropout and the like; a method's heads;
which image stands in for another."""


def derive(seed: int, stream: int, *numbers: int) -> int:
    """A 63-bit seed that depends on all of its arguments, so that neighbouring steps have unrelated streams."""
    words = np.random.SeedSequence((seed, stream, *numbers)).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def generator(seed: int, step: int) -> torch.Generator:
    """The CPU generator from which a step draws its views: the same after a resume, on any number of processes."""
    return torch.Generator().manual_seed(derive(seed, VIEWS, step))


@dataclass(frozen=True)
class Batch:
    """One process's part of a global batch.

    Attributes:
        images: (b, 1, H, W) uint8 on the device; float32 in [0, 1] from a 16-bit Pack.
        rows: (b,) row numbers in the Packs laid end to end (with one Pack: its own row numbers).
        ids: the image ids, b of them (hashes: they may be shown).
        step: 0-based.
        first: where this part begins in the global batch.
        total: size of the global batch.
        partners: like `images`, row i another image of the group of image i; None where no groups were given.
        partner_ids: their image ids.
    """

    images: Tensor
    rows: np.ndarray
    ids: list[str]
    step: int
    first: int
    total: int
    partners: Tensor | None = None
    partner_ids: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> "Batch":
        """Images start … stop − 1 of these, where they stand in the same global batch."""
        return replace(
            self, images=self.images[start:stop], rows=self.rows[start:stop], ids=self.ids[start:stop],
            first=self.first + start, partners=None if self.partners is None else self.partners[start:stop],
            partner_ids=self.partner_ids[start:stop],
        )  # fmt: skip


class Batches:
    """Shuffled batches over rows of one or several Packs, with random access by step.

    Each epoch is a permutation drawn from (seed, epoch) alone. With `weights`, an epoch draws as many rows with
    replacement instead. Packs of another size than `size` are resized with area antialiasing.

    Args:
        packs: each Pack with the rows to use.
        batch_size: global, over all processes; a multiple of their number.
        seed: of the order.
        device: where images go.
        weights: one per row, in the order given; relative probability to be drawn.
        groups: one int64 per row, in the order given. Beside each image comes another of its group, drawn from
            (seed, step) alone; an image that is alone in its group is its own partner.
        drop_last: leave out the ragged last batch of an epoch, as every contrastive method here must.
        size: height and width of the images; by default the smallest Pack's.

    Attributes:
        count: images in an epoch before any is dropped.
        steps_per_epoch: batches in an epoch.

    Raises:
        UsageError: fewer images than one batch, or a batch size that the processes cannot share.
    """

    def __init__(
        self,
        packs: "Sequence[tuple[Pack, np.ndarray]]",
        batch_size: int,
        seed: int,
        device: torch.device | str,
        *,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        drop_last: bool = True,
        size: int | None = None,
    ) -> None:
        self._rows = Rows(packs)
        self.batch_size, self.seed, self.device = batch_size, seed, torch.device(device)
        self.size = size or min(pack.size for pack, _ in packs)
        self.drop_last = drop_last
        self.count = len(self._rows)
        for name, given in (("weights", weights), ("groups", groups)):
            if given is not None and len(given) != self.count:
                raise ValueError(f"{len(given)} {name} for {self.count} rows")
        self._weights = None if weights is None else np.asarray(weights, float) / np.sum(weights)
        self._groups = None if groups is None else Groups(groups)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        self._resident: Tensor | None = None
        self._check()
        self.steps_per_epoch = self.count // batch_size if drop_last else -(-self.count // batch_size)

    def _check(self) -> None:
        world = distributed.world_size()
        if self.batch_size % world:
            raise UsageError(
                f"--batch-size {self.batch_size} cannot be shared by {world} processes.",
                fix=f"Choose a multiple of {world}.",
            )
        least = self.batch_size if self.drop_last else world
        if self.count < least:
            raise UsageError(
                f"--batch-size {self.batch_size} is more than the {self.count} images to train on.",
                fix=f"Choose at most --batch-size {max(self.count // world * world, 1)}, or give more images.",
            )

    def fingerprint(self) -> dict[str, Any]:
        """What decides the content of every batch; a run may only be resumed with the same."""
        digest = hashlib.sha256()
        for ids in self._rows.ids:
            digest.update("\n".join(ids).encode())
        if self._weights is not None:
            digest.update(self._weights.tobytes())
        if self._groups is not None:
            digest.update(self._groups.numbers.tobytes())
        return {
            "images": self.count, "image ids": digest.hexdigest()[:16], "image size": self.size,
            "batch size": self.batch_size, "seed": self.seed,
        }  # fmt: skip

    def indices(self, step: int) -> np.ndarray:
        """The global batch of a step: positions among the rows given, laid end to end."""
        epoch, place = divmod(step, self.steps_per_epoch)
        drawn, order = self._order
        if drawn != epoch:
            rng = np.random.default_rng(derive(self.seed, ORDER, epoch))
            if self._weights is None:
                order = rng.permutation(self.count)
            else:
                order = rng.choice(self.count, self.count, p=self._weights)
            self._order = (epoch, order)
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        # A ragged last batch is cut so that every process has as many: gradients are averaged over processes.
        world = distributed.world_size()
        return chosen[: max(len(chosen) // world, 1) * world]

    def partners(self, step: int) -> np.ndarray | None:
        """Who stands beside each image of the global batch: positions as in `indices`; None without groups."""
        if self._groups is None:
            return None
        return self._groups.partners(self.indices(step), np.random.default_rng(derive(self.seed, PARTNERS, step)))

    def ids(self, step: int) -> list[str]:
        """The image ids of the global batch of a step, then those of the partners."""
        others = self.partners(step)
        both = self.indices(step) if others is None else np.concatenate([self.indices(step), others])
        return self._rows.names(both)[1]

    def at(self, step: int) -> Batch:
        """The part of a step's batch that is this process's, on the device."""
        return self._place(self._read(step))

    def stream(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """The batches of steps [start, stop), read ahead in a background thread."""
        if self._resident is not None and self.device.type != "cpu":
            for step in range(start, stop):
                yield self.at(step)
            return
        ready: queue.Queue[Any] = queue.Queue(maxsize=PREFETCH)
        closed = threading.Event()

        def offer(item: Any) -> bool:
            while not closed.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            try:
                for step in range(start, stop):
                    if not offer(self._read(step)):
                        return
            except BaseException as error:
                offer(error)  # raised again where the batch was wanted

        thread = threading.Thread(target=work, name="kontrast-batches", daemon=True)
        thread.start()
        try:
            for _ in range(start, stop):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield self._place(item)
        finally:
            closed.set()
            thread.join()

    def load_whole(self) -> bool:
        """Keep all images on the device if they fit well; on a CPU only where that saves resizing them again.

        The system's file cache serves a Pack as fast as a copy of it would, so a CPU gains nothing else.
        """
        if self.device.type == "cpu" and self._rows.sizes == {self.size}:
            return False
        parts = distributed.world_size() if self.device.type == "cpu" else 1
        if self.count * self.size**2 * parts > RESIDENT_SHARE * free_memory(self.device):
            return False
        if not self._rows.bytes_only:
            return False
        whole = torch.empty((self.count, 1, self.size, self.size), dtype=torch.uint8, device=self.device)
        for start in range(0, self.count, 1024):
            index = np.arange(start, min(start + 1024, self.count))
            whole[start : start + len(index)] = self._rows.images(index, self.size).to(self.device)
        self._resident = whole
        return True

    def _read(self, step: int) -> Batch:
        chosen = self.indices(step)
        share = len(chosen) // distributed.world_size()
        first = share * distributed.rank()
        part = slice(first, first + share)
        rows, ids = self._rows.names(chosen[part])
        batch = Batch(images=self._images(chosen[part]), rows=rows, ids=ids, step=step, first=first, total=len(chosen))
        others = self.partners(step)
        if others is None:
            return batch
        return replace(batch, partners=self._images(others[part]), partner_ids=self._rows.names(others[part])[1])

    def _images(self, index: np.ndarray) -> Tensor:
        """Images at these positions, on the device where they are resident, else ready to go there."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(index).to(self.device)]
        images = self._rows.images(index, self.size)
        return images.pin_memory() if self.device.type == "cuda" else images

    def _place(self, batch: Batch) -> Batch:
        if batch.images.device == self.device:
            return batch
        there = {
            name: images.to(self.device, non_blocking=True)
            for name in ("images", "partners")
            if (images := getattr(batch, name)) is not None
        }
        return replace(batch, **there)
