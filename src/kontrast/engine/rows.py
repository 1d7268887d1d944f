"""Rows of one or several Packs as if they were one: laid end to end, their images at one size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kontrast.engine.sizes import resize, to_tensor

if TYPE_CHECKING:
    from kontrast.artifacts.pack import Pack


class Rows:
    """Rows of several Packs, known by their positions: those of the first Pack, then those of the second, and so on.

    Args:
        packs: each Pack with the rows to use.

    Attributes:
        ids: for each Pack the image ids of its rows, in the order given.
        sizes: of the images of the Packs, pixels.
    """

    def __init__(self, packs: "Sequence[tuple[Pack, np.ndarray]]") -> None:
        self._packs = [(pack, np.asarray(rows, dtype=np.int64)) for pack, rows in packs]
        self._starts = np.concatenate([[0], np.cumsum([len(rows) for _, rows in self._packs])])
        self._offsets = np.concatenate([[0], np.cumsum([len(pack) for pack, _ in self._packs])])
        self.ids = [pack.table["image_id"].to_numpy(dtype=object)[rows] for pack, rows in self._packs]
        self.sizes = {pack.size for pack, _ in self._packs}

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def bytes_only(self) -> bool:
        """Whether all images have 8 bits."""
        return all(pack.images(rows[:1]).dtype == np.uint8 for pack, rows in self._packs)

    def names(self, index: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Row numbers in the whole Packs laid end to end, and image ids, of these positions."""
        which = np.searchsorted(self._starts, index, side="right") - 1
        rows = np.empty(len(index), np.int64)
        ids = np.empty(len(index), object)
        for k, (_, own) in enumerate(self._packs):
            here = which == k
            place = index[here] - self._starts[k]
            rows[here], ids[here] = own[place] + self._offsets[k], self.ids[k][place]
        return rows, ids.tolist()

    def images(self, index: np.ndarray, size: int) -> Tensor:
        """Images at these positions, on the CPU: (n, 1, size, size) uint8, or float32 where a Pack has 16 bits."""
        which = np.searchsorted(self._starts, index, side="right") - 1
        parts: list[tuple[np.ndarray, Tensor]] = []
        for k, (pack, own) in enumerate(self._packs):
            here = np.flatnonzero(which == k)
            if len(here):
                images = to_tensor(pack.images(own[index[here] - self._starts[k]]))
                parts.append((here, resize(images, size)))
        if len(parts) == 1:
            return parts[0][1]
        kinds = {images.dtype for _, images in parts}
        kind = kinds.pop() if len(kinds) == 1 else torch.float32
        out = torch.empty((len(index), 1, size, size), dtype=kind)
        for here, images in parts:
            out[torch.from_numpy(here)] = images if images.dtype == kind else images.float() / 255
        return out
