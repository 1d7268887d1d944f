"""Checkpoints: written whole or not at all, checked when read, the last two kept.

Beside each `checkpoint-XXXXXXXX.pt` lies its SHA-256. The newest that is whole is used; a damaged one is passed over
with a warning. Loading never runs code (`weights_only=True`), so a checkpoint holds tensors and plain values only.

Each holds the fingerprint of its run. A run with another fingerprint may go on from it only where that was allowed,
or where the number of processes alone differs: a cluster gives what it has. Either way the change stays on record.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from kontrast import console, distributed
from kontrast.artifacts.card import Parent, sha256_file
from kontrast.artifacts.disk import atomic, disk_errors
from kontrast.errors import OutputError

KEEP, FORMAT = 2, 2
PATTERN = "checkpoint-????????.pt"
FREE = {"processes"}
FIXED = {"checkpoint format", "network", "optimizer", "method", "start", "start weights", "findings"}
"""Of a fingerprint: what may always change, and what never can, as what is saved would not fit or not be what it is
called."""


class _Hashing:
    """A stream that hashes what passes, so that a large checkpoint is written once and never copied in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.digest.update(data)
        try:
            return self._stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._stream.flush()


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint atomically, then drop all but the last two.

    Args:
        folder: the run's.
        step: steps done.
        state: tensors and plain values.

    Raises:
        OutputError: the disk is full or cannot be written; the checkpoints before stay as they were.
    """
    path = _path(folder, step)
    with atomic(path) as stream:
        hashing = _Hashing(stream)
        try:
            torch.save(state, hashing)  # type: ignore[arg-type]
        except RuntimeError:
            # torch wraps the system's refusal; the refusal itself says what is wrong
            if hashing.error is not None:
                raise hashing.error from None
            raise
        # The sum is there before the file it belongs to: a kill in between leaves no unchecked checkpoint.
        with atomic(_sum(path)) as sums:
            sums.write(hashing.digest.hexdigest().encode())
    for old in list_checkpoints(folder)[KEEP:]:
        _remove(old)
    return path


def described(asked: Mapping[str, Any], parents: Sequence[Parent], **resolved: Any) -> dict[str, Any]:
    """What decides a run beside its loop and its images, for its fingerprint.

    Args:
        asked: the configuration, as the claim has it.
        parents: what the artifact is made from.
        resolved: what the configuration may leave open.
    """
    packs, start, watch = ([p.sha256[:16] for p in parents if p.role == role] for role in ("pack", "encoder", "watch"))
    return {**asked, **resolved, "packs": packs, "start weights": start, **({"watch": watch} if watch else {})}


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def load_checkpoint(folder: Path, fingerprint: dict[str, Any], *, allow: bool = False) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None where there is none; damaged ones are removed with a warning.

    Every process calls it. The main one chooses, so that all go on from the same step whatever their file systems show.

    Args:
        folder: the run's.
        fingerprint: of the run that would resume; must be the one saved.
        allow: go on although it is another one, except for what is FIXED.

    Returns:
        What was saved. Its `changes` gain `{"step", "changed"}` where the fingerprint is another.

    Raises:
        OutputError: the checkpoint belongs to a run with other settings or other data, or this process cannot read it.
    """
    state = _newest(folder) if distributed.is_main() else None
    step = distributed.broadcast_object(None if state is None else state["step"])
    if step is None:
        return None
    if state is None and (state := _read(_path(folder, step))) is None:
        raise OutputError(
            f"Process {distributed.rank()} cannot read {_path(folder, step)}, which the first process has read.",
            fix="Give --out a path that is the same folder for every process.",
        )
    old = state["fingerprint"]
    differing = [k for k in {**old, **fingerprint} if old.get(k) != fingerprint.get(k)]
    changed = [f"{k} was {old.get(k)!r}, is {fingerprint.get(k)!r}" for k in differing]
    if set(differing) - FREE and (not allow or FIXED & set(differing)):
        raise OutputError(
            f"{folder} holds a checkpoint of another run: {'; '.join(changed[:3])}.",
            fix="Give the same settings and data again, or name another --out. --allow-changes goes on with others, "
            f"but never with another {', '.join(sorted(FIXED - {'checkpoint format'}))}.",
        )
    if changed:
        console.warn(f"going on after step {step:,} otherwise than before: {'; '.join(changed)}.")
        state["changes"] = [*state["changes"], {"step": step, "changed": changed}]
    return state


def remove_checkpoints(folder: Path, *more: str) -> None:
    """Delete all checkpoints, and the other files named: the work they protected is finished."""
    for path in list_checkpoints(folder):
        _remove(path)
    there = [folder / name for name in more if (folder / name).exists()]  # a read-only disk refuses even no deletion
    for left in (*folder.glob(f"{PATTERN}.sha256"), *there):
        left.unlink(missing_ok=True)


def _newest(folder: Path) -> dict[str, Any] | None:
    for path in list_checkpoints(folder):
        state = _read(path)
        if state is not None:
            return state
        console.warn(f"{path.name} is damaged; going back to the one before.")
        _remove(path)
    return None


def _path(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step:08d}.pt"


def _read(path: Path) -> dict[str, Any] | None:
    with disk_errors(path):
        try:
            if _sum(path).read_text(encoding="ascii") != sha256_file(path):
                return None
        except (FileNotFoundError, UnicodeDecodeError):
            return None
    # The sum protects against damage only: a file made to harm can bring its own, so nothing in it may run.
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return None
    return state if isinstance(state, dict) else None


def _sum(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _sum(path).unlink(missing_ok=True)
