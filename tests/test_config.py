"""Outcomes and paths as values of a configuration's fields."""

from dataclasses import dataclass
from pathlib import Path

from kontrast.config import from_dict
from kontrast.types import Outcome


@dataclass(frozen=True)
class Config:
    start: str = "random"
    classifier: Path | None = None
    labels: tuple[Path, ...] = ()


def test_an_outcome_stands_for_its_path_in_any_field():
    made = Outcome("probe", Path("some/folder"))
    for value in (made, Path("some/folder"), "some/folder"):
        config = from_dict(Config, {"start": value, "classifier": value, "labels": value})
        assert config == Config("some/folder", Path("some/folder"), (Path("some/folder"),))
