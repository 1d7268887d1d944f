"""`kontrast report`: one page to read and to print, and a model card."""

from pathlib import Path

from kontrast import console
from kontrast.config import require, verb
from kontrast.errors import OutputError
from kontrast.types import Outcome


@verb
def report(
    *folders: Path, out: Path, title: str = "kontrast report", cards: Path | None = None,
    classifier: str | None = None, dry_run: bool = False,
) -> Outcome:  # fmt: skip
    """Make one HTML page from any artifacts.

    Scores with intervals and curves, the flow of patients and their table, training, views, heat maps, limits and
    provenance, from the artifacts' files alone. The page needs no network and no other file. The same artifacts give
    the same bytes.

    With --cards a model card (model-card.md, and model-card.json by the schema of RSNA's ATLAS) and the checklists
    claim-2024.md and tripod-ai.md too, filled with what the artifacts know; blanks are for a person.

    Args:
        folders: artifacts, or folders that hold some (a study, a demo).
        out: the page, an .html file.
        title: its heading.
        cards: folder for the model card and the checklists.
        classifier: the Classifier that they are about, by its name on the page; needed where there are several and
            not one of them alone was explained.
        dry_run: say what would be shown, write nothing.

    Raises:
        UsageError: nothing to show, --out is no .html file, or which Classifier the cards are about is not clear.
        ArtifactError: an artifact is unfinished, or a file is not what its card says.
        OutputError: a file exists with another content: nothing is overwritten.
    """
    from kontrast.pages import cards as writing
    from kontrast.pages.report import find_artifacts, render

    out = Path(out)
    require(bool(folders), "Nothing to report on.", "Name artifacts: kontrast report SCORES PACK --out report.html.")
    require(out.suffix == ".html", f"--out {out} should be a page.", f"Write --out {out.with_suffix('.html')}.")
    require(classifier is None or cards is not None, "--classifier says whom --cards is about.", "Add --cards DIR.")
    found = find_artifacts([Path(folder) for folder in folders])
    kinds: dict[str, int] = {}
    for _, _, card, _ in found:
        kinds[card.kind] = kinds.get(card.kind, 0) + 1
    plural = {"study": "studies"}
    words = [f"{n} {kind if n == 1 else plural.get(kind, kind + 's')}" for kind, n in kinds.items()]
    console.say(f"Reporting on {', '.join(words)}.")
    texts = {} if cards is None else {Path(cards) / n: text for n, text in writing.cards(found, classifier).items()}
    if dry_run:
        return Outcome("report", out, "planned", {"artifacts": kinds})
    page = render(found, title).encode("utf-8", "replace")
    files = {out: page} | {path: text.encode("utf-8", "replace") for path, text in texts.items()}
    if not _write(files):
        console.say(f"{out} is already done.")
        return Outcome("report", out, "already done", {"artifacts": kinds})
    for path, text in texts.items():
        console.say(f"  {path}" + (f": {blanks} blanks to fill in" if (blanks := text.count("*(to be")) else ""))
    return Outcome("report", out, "done", {"artifacts": kinds, "bytes": len(page)})


def _write(files: dict[Path, bytes]) -> bool:
    """Write the files that are not there yet; whether there were any.

    Raises:
        OutputError: one is there with another content, which is looked at before any is written.
    """
    from kontrast.artifacts.disk import atomic, disk_errors

    missing = []
    for path, content in files.items():
        if path.is_file() and path.read_bytes() == content:
            continue
        if path.exists():
            option = "--out" if path.suffix == ".html" else "--cards"
            raise OutputError(
                f"{option} {path} exists with another content.",
                fix="Name another file, or remove that one."
                if option == "--out"
                else "Name another folder: what somebody filled in there is kept.",
            )
        missing.append(path)
    for path in missing:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(path), atomic(path) as stream:
            stream.write(files[path])
    return bool(missing)
