"""`kontrast pack`: care of Packs."""

from pathlib import Path

from kontrast import console
from kontrast.config import choose, verb
from kontrast.errors import ArtifactError, UsageError
from kontrast.types import Outcome, counted

ACTIONS = ("verify",)
JOINING = ("merge", "subset", "export")


@verb
def pack(action: str, pack: Path, /, *, dry_run: bool = False) -> Outcome:
    """Check that a Pack is whole (verify).

    `verify` compares every file's checksum with the card, whatever the Pack's size, and names each damaged file with
    the images that it holds.

    Args:
        action: verify.
        pack: the Pack.
        dry_run: say what would be compared, read no image.

    Raises:
        ArtifactError: files are missing, cut short or changed.
        UsageError: an action that is not there.
    """
    if action in JOINING:
        raise UsageError(
            f"There is no `kontrast pack {action}`.",
            fix="To choose or join images, prepare another Pack from the source; pretrain takes several Packs.",
        )
    choose(action, ACTIONS, "The action")
    return _verify(Path(pack), dry_run)


def _verify(folder: Path, dry_run: bool) -> Outcome:
    from kontrast.artifacts.card import read_card
    from kontrast.artifacts.pack import damages

    card = read_card(folder, "pack")
    total = sum(file["bytes"] for file in card.files.values())
    if dry_run:
        console.say(
            f"Would compare {counted(len(card.files), 'file')} ({total / 2**20:,.1f} MiB) of {folder} with its card."
        )
        return Outcome("pack", folder, "planned", {"files": len(card.files), "rows": card.content["rows"]})
    found = damages(folder)
    for damage in found:
        held = "" if damage.first is None else f" It holds images {damage.first:,} to {damage.last:,} (from 0)."
        console.say(f"DAMAGED  {damage.problem}{held}")
    if found:
        ranges = [range(d.first, d.last + 1) for d in found if d.first is not None and d.last is not None]
        rows = len(set().union(*ranges))
        raise ArtifactError(
            f"{len(found)} of the files of {folder} are not what its card says; "
            f"this affects at most {counted(rows, 'image')}.",
            fix="Restore those files from a copy, or prepare the Pack again into another folder.",
        )
    console.say(
        f"{folder} is whole: {counted(card.content['rows'], 'image')}, {counted(len(card.files), 'file')}, "
        f"{total / 2**20:,.1f} MiB."
    )
    return Outcome("pack", folder, summary={"files": len(card.files), "rows": card.content["rows"], "damaged": []})
