"""Checkpoints: written whole or not at all, checked when read, the last two kept.

Beside each `checkpoint-XXXXXXXX.pt` lies its SHA-256. The newest that is whole is used; a damaged one is passed over
with a warning. Loading never runs code (`weights_only=True`), so a checkpoint holds tensors and plain values only.
"""

import hashlib
from pathlib import Path
from typing import IO, Any

import torch

from kontrast import console
from kontrast.artifacts.card import atomic, disk_errors, sha256_file
from kontrast.errors import OutputError

KEEP = 2
PATTERN = "checkpoint-????????.pt"


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
    path = folder / f"checkpoint-{step:08d}.pt"
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


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def load_checkpoint(folder: Path, fingerprint: dict[str, Any]) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None where there is none; damaged ones are removed with a warning.

    Args:
        folder: the run's.
        fingerprint: of the run that would resume; must be the one saved.

    Raises:
        OutputError: the checkpoint belongs to a run with other settings or other data.
    """
    for path in list_checkpoints(folder):
        state = _read(path)
        if state is None:
            console.warn(f"{path.name} is damaged; going back to the one before.")
            _remove(path)
            continue
        old = state.get("fingerprint", {})
        changed = [f"{k} was {old.get(k)!r}, is {v!r}" for k, v in fingerprint.items() if old.get(k) != v]
        if changed:
            raise OutputError(
                f"{folder} holds a checkpoint of another run: {'; '.join(changed[:3])}.",
                fix="Give the same settings and data again, or name another --out.",
            )
        return state
    return None


def remove_checkpoints(folder: Path) -> None:
    """Delete all checkpoints: the work they protected is finished."""
    for path in list_checkpoints(folder):
        _remove(path)
    for left in folder.glob(f"{PATTERN}.sha256"):
        left.unlink(missing_ok=True)


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
