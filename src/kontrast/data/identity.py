"""Names for patients, studies and images that say nothing about them, yet agree between Packs made with one key.

A plain hash of a patient id can be undone by trying every id; a keyed one (HMAC) cannot without the key. The key
stays outside every Pack: whoever holds both can link hashed ids to known patients, whoever holds only the Pack cannot.
Packs made with different keys cannot be compared: their patients' overlap is unknown, never none.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from kontrast import console
from kontrast.errors import OutputError, UsageError
from kontrast.types import PathLike

KEY_VARIABLE = "KONTRAST_KEY"


@dataclass(frozen=True)
class Key:
    """The secret by which identities are hashed; 32 bytes. Its value never shows in a repr, a log or an artifact."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The key's name: the first 8 hexadecimal digits of its SHA-256. Safe to write down."""
        return hashlib.sha256(self.secret).hexdigest()[:8]

    def hash(self, text: str, n: int = 16) -> str:
        """The first `n` (≤ 64) hexadecimal digits of HMAC-SHA256 (RFC 2104) of `text` in UTF-8.

        With n = 16 (64 bits) two of 10 million identities collide with probability 3e-6.
        """
        # File names that are not UTF-8 reach Python as lone surrogates; they hash like any other.
        return hmac.digest(self.secret, text.encode("utf-8", "surrogatepass"), "sha256").hex()[:n]


def key_path() -> Path:
    """Where the key lies unless a command names another: $KONTRAST_KEY, else ~/.config/kontrast/patient.key."""
    named = os.environ.get(KEY_VARIABLE)
    return Path(named) if named else Path("~/.config/kontrast/patient.key").expanduser()


def made_on_first_use(path: PathLike | None = None) -> bool:
    """Whether a key that is missing is made: only where nobody named the file."""
    return path is None and not os.environ.get(KEY_VARIABLE)


def load_key(path: PathLike | None = None, *, make: bool = True) -> Key:
    """Read a key file: 64 hexadecimal digits.

    The default file is made on first use, readable by its owner alone. A file named here or by $KONTRAST_KEY must
    exist: a mistyped name would otherwise make every overlap with earlier Packs unknown. Others who can read the file
    are warned of.

    Args:
        path: the file; None for the default one.
        make: False gives a passing key where the default file is missing, and writes nothing (for a dry run).

    Raises:
        UsageError: a named file that is missing, or a file that holds no key.
        OutputError: the default file cannot be written or read.
    """
    file = key_path() if path is None else Path(path)
    try:
        if made_on_first_use(path) and not file.exists():
            if not make:
                console.say(f"Would make a patient key, {file}.")
                return Key(secrets.token_bytes(32))
            _make(file)
        key = Key(_parse(file))
        if mode := readable_by_others(file):
            console.warn(f"The patient key {file} can be read by others (mode {mode:o}): chmod 600 {file}")
        return key
    except FileNotFoundError:
        named = f"--key {file}" if path is not None else f"${KEY_VARIABLE} names {file}"
        raise UsageError(
            f"{named}: there is no such file.",
            fix=f"Check the name, or make a key: (umask 077; openssl rand -hex 32 > {file}).",
        ) from None
    except OSError as error:
        raise OutputError(
            f"The patient key {file} cannot be used: {error.strerror}.",
            fix=f"Name another file with --key FILE or ${KEY_VARIABLE}.",
        ) from error


def readable_by_others(file: Path) -> int:
    """The mode of a key file that its group or others may use, 0 where nobody but its owner may."""
    mode = file.stat().st_mode & 0o777
    return mode if mode & 0o077 else 0


def _parse(file: Path) -> bytes:
    try:
        secret = bytes.fromhex(file.read_bytes().decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise UsageError(
            f"{file} holds no key: 64 hexadecimal digits expected.",
            fix="Name the key file of your other Packs, or make a new one: openssl rand -hex 32.",
        )
    return secret


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, partial = tempfile.mkstemp(dir=file.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        _publish(Path(partial), file)
        console.say(
            f"Made a patient key, {file}: keep it, and keep it secret. With it hashed patient ids agree between Packs."
        )
    except FileExistsError:
        pass
    finally:
        Path(partial).unlink(missing_ok=True)


def _publish(partial: Path, file: Path) -> None:
    """Give `partial` its name whole, and never over another: of two processes that start at once, one key stays."""
    try:
        file.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        partial.replace(file)
