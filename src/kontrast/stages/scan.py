"""`kontrast scan`: what is in a folder, before anything is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kontrast import __version__, console
from kontrast.config import require, verb
from kontrast.errors import OutputError
from kontrast.types import Outcome, counted

if TYPE_CHECKING:
    from kontrast.data.layouts import Layout, Records
    from kontrast.data.survey import Copies, Pixels, Problem

LOOK, SECONDS = 2000, 10.0
"""Files opened, and seconds taken for it, where --limit leaves that open."""
HEADERS = 1000
"""DICOM headers read before that, likewise: a large export has hundreds of thousands."""
THUMBNAILS, PAIRS = 24, 6
WIDTH = 79


@dataclass(frozen=True, kw_only=True)
class ScanConfig:
    """What to look at, and how."""

    labels: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    """CSV files with labels and patients; those that a layout knows are found in SRC by themselves."""
    layout: str = "auto"
    """How SRC is arranged: auto, a public dataset (see docs/datasets.md), pacs, table, folder (folders may be
    classes) or plain."""
    column: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """ROLE=NAME for a column that was not recognised; `finding` and `rename=OLD:NEW` may come several times."""
    html: Path | None = None
    """Also write a small page with thumbnails to this file; nothing else is ever written."""
    limit: int | None = None
    """Open so many images, however long it takes; 2000 or what 10 seconds allow unless given (all files are listed and
    compared in any case)."""
    show_names: bool = False
    """Show file names in full; they may hold patients' ids and names, so numbers become N and words X unless asked."""

    def __post_init__(self) -> None:
        require(self.limit is None or self.limit >= 1, f"--limit {self.limit} is below 1.", "Give 1 or more.")


@verb
def scan(
    src: Path,
    /,
    *,
    config: Annotated[ScanConfig, Parameter(name="*")] = ScanConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Say what is in a folder: formats, sizes, views, patients, labels, problems.

    What lies behind an address (`s3://bucket/xrays`) is copied to a temporary folder, which is deleted at the end.

    Args:
        src: folder with images, or its address.
        config: options.
        dry_run: list the files, open none, write nothing.

    Raises:
        DataError: no images, or a table that cannot be used.
        UsageError: an option that does not fit.
        OutputError: `--html` names a file that no scan wrote, or an address holds more than the temporary folder can.
    """
    import tempfile

    from kontrast.data.remote import address, brought, shown

    if config.html is not None:
        _check_page(Path(config.html))
    urls = [address(path) for path in (src, *config.labels)]
    named = [shown(url) if url else str(path) for url, path in zip(urls, (src, *config.labels), strict=True)]
    if not any(urls):
        return _scan(Path(src), tuple(map(Path, config.labels)), config, named, dry_run)
    if dry_run:
        console.say(f"Would copy what lies behind {' and '.join(named)} to a temporary folder, and look at it there.")
        return Outcome("scan", config.html, "planned", {})
    with tempfile.TemporaryDirectory(prefix="kontrast-scan-") as folder:
        here, labels = brought(src, config.labels, Path(folder))
        return _scan(here, labels, config, named, dry_run)


def _scan(src: Path, labels: Sequence[Path], config: ScanConfig, named: Sequence[str], dry_run: bool) -> Outcome:
    """Scan a folder here; `named` is what the user called it and each table."""
    from kontrast.data import survey
    from kontrast.data.columns import parse_overrides
    from kontrast.data.decode import listed_once
    from kontrast.data.layouts import detect
    from kontrast.data.layouts.headers import spread
    from kontrast.data.source import with_passed_over

    html = None if config.html is None else Path(config.html)
    with listed_once():
        layout = detect(src, labels, config.layout)
        records = layout.records(src, labels, parse_overrides(config.column), headers=config.limit or HEADERS)
        records = with_passed_over(src, records)
    sources = list(records.table["source"])
    chosen = [sources[row] for row in spread(len(sources), config.limit or LOOK)]
    if dry_run:
        console.say(f"Would open {len(chosen):,} of {len(sources):,} images, and write {html or 'nothing'}.")
        return Outcome("scan", html, "planned", {"images": len(sources), "layout": layout.name})
    seconds = SECONDS if config.limit is None else None
    with console.progress("opening", len(chosen), "images") as line:
        pixels = survey.look(src, chosen, thumbnails=THUMBNAILS if html else 0, seconds=seconds, tell=line.update)
    twice = survey.copies(src, sources, pixels, seconds)
    found = survey.problems(records, pixels, twice, show_names=config.show_names)
    if layout.doubt:
        found.insert(0, survey.Problem(f"{layout.doubt}: --layout folder takes them", len(layout.doubtful), ()))
    summary = _summary(named, config, layout, records, pixels, twice, found)
    _print(layout, summary, found, show_names=config.show_names)
    if html is not None:
        _write_page(html, named[0], summary, found, pixels, twice, config.show_names)
    return Outcome("scan", html, "done", summary)


def _summary(
    named: Sequence[str],
    config: ScanConfig,
    layout: "Layout",
    records: "Records",
    pixels: "Pixels",
    twice: "Copies",
    found: Sequence["Problem"],
) -> dict[str, Any]:
    """All that was found, ready for JSON."""
    from kontrast.data import survey

    patients, images = survey.overlap(records)
    return {
        "layout": layout.name,
        **survey.facts(records, pixels, twice),
        "problems": [{"reason": p.reason, "count": p.count, "examples": list(p.examples)} for p in found],
        "overlap": {"patients": patients, "images": images},
        "notes": _notes(records, len(records.table), pixels, patients, images),
        "command": _command(named, config, layout, repair=images > 0),
    }


def _notes(records: "Records", total: int, pixels: "Pixels", patients: int, images: int) -> list[str]:
    notes = list(records.notes)
    if images:
        notes.append(
            f"the given splits share {counted(patients, 'patient')}, of whom {counted(images, 'held-out image')} "
            "would test memory; "
            "prepare refuses that, or moves these images into train with --repair-splits"
        )
    if pixels.looked < total:
        notes.append(
            f"opened {pixels.looked:,} of {total:,} images, drawn evenly: formats, sizes, bits, polarity and likeness "
            f"are of those; --limit {total} opens all"
        )
    return notes


def _command(named: Sequence[str], config: ScanConfig, layout: "Layout", *, repair: bool) -> str:
    """The `kontrast prepare` that fits, to be copied."""
    import shlex

    src, *labels = named
    words = ["kontrast", "prepare", src, "--out", f"packs/{Path(src).resolve().name}"]
    if labels:
        words += ["--labels", *labels]
    if config.layout != "auto" or layout.doubt:
        words += ["--layout", layout.name]
    for pair in config.column:
        words += ["--column", pair]
    return shlex.join(words + ["--repair-splits"] * repair)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "unknown"


def _wrapped(text: str, indent: str = "  ") -> None:
    import textwrap

    for line in textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    ):
        console.say(line)


def _print(layout: "Layout", facts: dict[str, Any], found: Sequence["Problem"], *, show_names: bool) -> None:
    def row(name: str, text: str) -> None:
        _wrapped(f"{name:<10} {text}", "")

    sizes = facts["sizes"]
    row("layout", f"{layout.name} ({layout.reason})")
    row("images", f"{facts['images']:,}, {facts['looked_at']:,} of them opened")
    row("formats", _listed(facts["formats"]) + "; " + _listed({f"{n} bits:": c for n, c in facts["bits"].items()}))
    if set(facts["polarities"]) - {"not said"}:
        row(
            "polarity",
            f"{_listed(facts['polarities'])} (as headers say; prepare looks)",
        )
    if facts["modalities"]:
        row("modality", f"{_listed(facts['modalities'])} (DICOM)")
    if sizes:
        low, middle, high = ("×".join(map(str, sizes[name])) for name in ("smallest", "median", "largest"))
        text = f"{low} px, all the same" if sizes["different"] == 1 else f"{low} to {high} px, median {middle}"
        row("size", f"{text} (height×width)")
    patients = "unknown" if facts["patients"] is None else f"{facts['patients']:,}"
    row("patients", patients + ("" if facts["studies"] is None else f", with {counted(facts['studies'], 'study')}"))
    row("views", _listed(facts["views"]))
    age = facts["age"]
    row(
        "sex, age",
        f"{_listed(facts['sex'])}; "
        + ("unknown" if age is None else "{0:.0f} to {2:.0f}, median {1:.0f}".format(*age)),
    )
    row("splits", _listed(facts["splits"]))
    twice = facts["copies"]
    row(
        "copies",
        f"{twice['bytes']:,} by their bytes among {twice['compared']:,} files, {twice['similar']:,} more by their "
        f"looks among {facts['looked_at']:,}",
    )
    if facts["findings"]:
        rows = [[name, *(f"{n:,}" for n in counts.values())] for name, counts in facts["findings"].items()]
        console.table("", ["finding", "1", "0", "-1", "blank"], rows)
    else:
        console.say()
    console.say("Recognised:")
    for note in facts["notes"]:
        _wrapped(note)
    console.say()
    console.say("Problems:" if found else "No problems found.")
    for problem in found:
        times = f"{problem.count:,} × " if problem.examples else ""
        examples = f": {', '.join(problem.examples)}" if problem.examples else ""
        _wrapped(f"{times}{problem.reason}{examples}")
    if not show_names and any(problem.examples for problem in found):
        _wrapped("In names N is a number and X a word, for names may say who is shown: --show-names shows them.")
    console.say()
    console.say("Next:")
    console.say(f"  {facts['command']}", whole=True)


def _check_page(path: Path) -> None:
    """Refuse to write over anything but an earlier page of this command."""
    from kontrast.pages.scan import MARK

    if path.is_dir():
        raise OutputError(f"--html {path} is a folder.", fix="Name a file, such as scan.html.")
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise OutputError(f"--html {path} exists, and no scan wrote it.", fix="Name another file.")


def _write_page(
    path: Path,
    named: str,
    facts: dict[str, Any],
    found: Sequence["Problem"],
    pixels: "Pixels",
    twice: "Copies",
    show_names: bool,
) -> None:
    from kontrast.artifacts.disk import atomic, disk_errors
    from kontrast.data.layouts import masked
    from kontrast.pages.scan import render

    alike = [(name, pixels.small[name]) for pair in twice.similar[:PAIRS] for name in pair]
    pictures, pairs = (
        [(name if show_names else masked(name), picture) for name, picture in shown]
        for shown in (pixels.thumbnails, alike)
    )
    page = render(
        Path(named).resolve().name,
        facts,
        pictures,
        pairs,
        layout=facts["layout"],
        notes=facts["notes"],
        problems=found,
        command=facts["command"],
        version=__version__,
    )
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as stream:
        stream.write(page.encode("utf-8", "replace"))  # file names may be no UTF-8
