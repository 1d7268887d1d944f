"""Features that trainings on one frozen encoder share: a study computes those of each encoder once, not in every cell.

Kept in files under a folder that the caller names, so that processes and interrupted runs share them too. A file's name
is a hash of all that features depend on: the weights, the encoder's description, the Pack's images and their order.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kontrast.artifacts.lock import locked
from kontrast.artifacts.pack import Pack
from kontrast.errors import OutputError
from kontrast.nn.encoders import Encoder, EncoderSpec

FEATURES = "features.npy"

_place: ContextVar[tuple[Path, bool] | None] = ContextVar("folder of kept features, may it grow", default=None)


@contextlib.contextmanager
def kept_in(folder: Path, *, add: bool = True) -> Iterator[None]:
    """While the block runs, `features.embed` keeps the features of whole Packs under `folder`, and takes them there.

    Args:
        folder: made when it is first needed.
        add: False: take what is there and keep nothing more, where an encoder is asked once and for a part of a Pack.
    """
    token = _place.set((folder, add))
    try:
        yield
    finally:
        _place.reset(token)


def kept(
    encoder: Encoder, spec: EncoderSpec, pack: Pack, make: Callable[[Path], None] | None = None
) -> np.ndarray | None:
    """Features of all images of a Pack, (rows, D) float32, mapped from a file; None where none are kept.

    Args:
        encoder: whose.
        spec: its description.
        pack: of whose images.
        make: writes FEATURES into a folder, where there is none yet; None: then there are none.
    """
    place = _place.get()
    if place is None:
        return None
    parent, add = place
    folder = parent / key(encoder, spec, pack)
    if not (folder / FEATURES).is_file() and (make is None or not add or not _made(folder, make)):
        return None
    found: np.ndarray = np.load(folder / FEATURES, mmap_mode="r")
    return found


def _made(folder: Path, make: Callable[[Path], None]) -> bool:
    """Whether this process made them; not where another is at it: to wait would take as long as to do without."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except OutputError:
            return False
        if not (folder / FEATURES).is_file():
            make(folder)
    return True


def key(encoder: Encoder, spec: EncoderSpec, pack: Pack) -> str:
    """A name, 32 hexadecimal digits, that differs wherever features would."""
    found = hashlib.sha256(json.dumps([asdict(spec), _images(pack)]).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:32]


def _images(pack: Pack) -> list[str]:
    """Checksums of the Pack's shards, in their order: labels and splits may change without its features."""
    return [pack.card.files[shard["file"]]["sha256"] for shard in pack.card.content["shards"]]
