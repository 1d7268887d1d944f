"""`kontrast report`: one page to read and to print."""

from pathlib import Path

from kontrast import console
from kontrast.config import require, verb
from kontrast.errors import OutputError
from kontrast.types import Outcome


@verb
def report(*folders: Path, out: Path, title: str = "kontrast report", dry_run: bool = False) -> Outcome:
    """Make one HTML page from any artifacts.

    Scores with intervals, data, curves, views, heat maps and provenance, from the artifacts' files alone. The page
    needs no network and no other file. The same artifacts give the same bytes.

    Args:
        folders: artifacts, or folders that hold some (a study, a demo).
        out: the page, an .html file.
        title: its heading.
        dry_run: say what would be shown, write nothing.

    Raises:
        UsageError: nothing to show, or --out is no .html file.
        ArtifactError: an artifact is unfinished, or a file is not what its card says.
        OutputError: --out exists with another content.
    """
    from kontrast.artifacts.disk import atomic, disk_errors
    from kontrast.pages.report import find_artifacts, render

    out = Path(out)
    require(bool(folders), "Nothing to report on.", "Name artifacts: kontrast report SCORES PACK --out report.html.")
    require(out.suffix == ".html", f"--out {out} should be a page.", f"Write --out {out.with_suffix('.html')}.")
    found = find_artifacts([Path(folder) for folder in folders])
    kinds: dict[str, int] = {}
    for _, _, card, _ in found:
        kinds[card.kind] = kinds.get(card.kind, 0) + 1
    plural = {"study": "studies"}
    words = [f"{n} {kind if n == 1 else plural.get(kind, kind + 's')}" for kind, n in kinds.items()]
    console.say(f"Reporting on {', '.join(words)}.")
    if dry_run:
        return Outcome("report", out, "planned", {"artifacts": kinds})
    page = render(found, title).encode("utf-8", "replace")
    if out.is_file() and out.read_bytes() == page:
        console.say(f"{out} is already done.")
        return Outcome("report", out, "already done", {"artifacts": kinds})
    if out.exists():
        raise OutputError(f"--out {out} exists with another content.", fix="Name another file, or remove that one.")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as stream:
        stream.write(page)
    return Outcome("report", out, "done", {"artifacts": kinds, "bytes": len(page)})
