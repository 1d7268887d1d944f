"""Every error that kontrast raises on purpose.

    KontrastError          a problem with a known cause; carries its fix and an exit code
    ├── UsageError    2    a word, option or value that does not fit
    ├── DataError     3    source images, tables or labels
    ├── ArtifactError 4    an artifact that is missing, damaged, unsafe or of another kind
    ├── OutputError   5    an output folder in use, or a disk that cannot be written
    ├── TrainingError 6    training that cannot go on (non-finite loss, one class only)
    ├── LeakageError  7    a patient on both sides of a split
    └── MissingExtra  8    an optional dependency that is not installed

Messages are written for the person who made the mistake, in the words they typed: `problem` says what was
expected and what came, `fix` says what to do. Patient identifiers and DICOM header text never enter a message.
"""

from typing import Any


class KontrastError(Exception):
    """A problem with a known cause.

    Args:
        problem: what was expected and what came, in the words the user typed.
        fix: what to do about it; one imperative sentence or two.
        facts: more of it for machines, ready for JSON (`--json` prints it).
    """

    exit_code = 1

    def __init__(self, problem: str, *, fix: str, facts: dict[str, Any] | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix
        self.facts = facts or {}

    def __str__(self) -> str:
        return f"{self.problem}\n{self.fix}"

    def __reduce__(self) -> tuple[Any, ...]:
        # From another process it comes as it was: exceptions are otherwise made anew from `args`, which lack the fix.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[KontrastError], args: tuple[Any, ...], state: dict[str, Any]) -> KontrastError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(KontrastError):
    """A word, option or value that does not fit."""

    exit_code = 2


class DataError(KontrastError):
    """Source images, tables or labels that cannot be used as they are."""

    exit_code = 3


class ArtifactError(KontrastError):
    """An artifact that is missing, damaged, unsafe or of another kind."""

    exit_code = 4


class OutputError(KontrastError):
    """An output folder in use, or a place that cannot be written."""

    exit_code = 5


class TrainingError(KontrastError):
    """Training that cannot go on."""

    exit_code = 6


class LeakageError(KontrastError):
    """A patient (or an image) on both sides of a border that must separate them."""

    exit_code = 7


class MissingExtra(KontrastError):
    """An optional dependency that is not installed."""

    exit_code = 8


class Interrupted(KontrastError):
    """Work stopped by a signal after its state was saved; 75 asks a scheduler to requeue, 130 is Ctrl-C."""

    def __init__(self, problem: str, *, fix: str, exit_code: int = 75) -> None:
        super().__init__(problem, fix=fix)
        self.exit_code = exit_code
