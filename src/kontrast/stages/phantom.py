"""`kontrast phantom`: generated chest radiographs with known truth, laid out like CheXpert."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import require, to_dict, verb
from kontrast.types import Outcome, counted


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """What to generate."""

    patients: int = 200
    """How many patients, at least 2; each has 1 to 4 studies. About 12 % of them, at least one, go to `valid`."""
    size: int = 256
    """Side of the square images in pixels, 16 to 2048."""
    format: Literal["jpeg", "png", "dicom"] = "jpeg"
    """File format of the images: `jpeg` (8 bits, as in CheXpert-small), `png` (8 bits) or `dicom` (12 bits)."""
    seed: int = 0
    """The same seed gives the same patients, however many there are; 0 or more."""

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            self.patients >= 2,
            f"--patients {self.patients} is too few: one patient for training and one for validation are the least.",
            "Give --patients 2 or more.",
        )
        require(
            16 <= self.size <= 2048, f"--size {self.size} is not between 16 and 2048 pixels.", "Give, say, --size 256."
        )
        require(
            self.format in ("jpeg", "png", "dicom"),
            f"--format {self.format} is not known.",
            "Choose from: jpeg, png, dicom.",
        )
        require(self.seed >= 0, f"--seed {self.seed} is negative.", "Give --seed 0 or more.")


@verb
def phantom(
    out: Path,
    /,
    *,
    config: Annotated[PhantomConfig, Parameter(name="*")] = PhantomConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Generate chest radiographs with known truth, laid out like CheXpert.

    Args:
        out: folder to write; the images, `train.csv` and `valid.csv` go to OUT/CheXpert-v1.0-small, what was painted
            to OUT/truth.csv.
        config: what to generate.
        dry_run: say what would be done, and write nothing.

    Raises:
        UsageError: a value out of range.
        OutputError: the folder is in use or cannot be written.
    """
    from kontrast.artifacts.claims import claim
    from kontrast.data.phantom.write import members

    out = Path(out)
    wanted = to_dict(config)
    held = claim(out, "phantom", config=wanted, dry_run=dry_run)
    if held.state == "done":
        from kontrast.artifacts.card import read_card

        console.say(f"{out} is done already: {counted(config.patients, 'patient')} at {config.size} px.")
        return Outcome("phantom", out, "already done", read_card(out).content)
    cohort = members(config.patients)
    valid = sum(part == "valid" for part, _ in cohort)
    if dry_run:
        summary = {"patients": len(cohort), "valid_patients": valid}
        console.say(
            f"Would write {counted(len(cohort) - valid, 'patient')} for training and {valid} for validation to {out}."
        )
        return Outcome("phantom", out, "planned", summary)
    return _write(out, cohort, wanted, config, resumed=held.state == "resume")


def _write(
    out: Path, cohort: list[tuple[str, int]], wanted: dict[str, object], config: PhantomConfig, *, resumed: bool
) -> Outcome:
    from kontrast.artifacts.card import write_card
    from kontrast.artifacts.disk import atomic, disk_errors
    from kontrast.artifacts.lock import locked
    from kontrast.data.phantom.write import ROOT, prepare_folders, write_patient, write_tables

    if resumed:
        console.say(f"Resuming in {out}: patients that stand there are kept.")

    def write(path: Path, content: bytes) -> None:
        with atomic(path) as stream:
            stream.write(content)

    with locked(out):
        with disk_errors(out), console.progress("phantom", len(cohort), "patients") as line:
            prepare_folders(out)
            for part, number in cohort:
                write_patient(out, part, number, seed=config.seed, size=config.size, image_format=config.format)
                line.update()
        summary = write_tables(out, cohort, seed=config.seed, image_format=config.format, write=write)
        tables = ["truth.csv", *(f"{ROOT}/{name}" for name in ("train.csv", "valid.csv", "masks/legend.json"))]
        write_card(out, "phantom", config=wanted, content=summary, files=tables)
    console.say(
        f"{counted(summary['images'], 'image')} of {counted(summary['studies'], 'study')} and "
        f"{counted(summary['patients'], 'patient')} "
        f"({summary['train_images']} train, {summary['valid_images']} valid), {config.size} px."
    )
    return Outcome("phantom", out, "done", dict(summary))
