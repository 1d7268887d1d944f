"""docs/speed.md from benchmarks/results/speed/ and speed.md beside this file: `python -m benchmarks.speed.page`.

The text lies in speed.md, with `{{CASE}}` where a case's table goes and `{{machine CASE}}` where its machine is named.
"""

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.speed.__main__ import RESULTS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "speed.md"


def read(case: str) -> dict[str, Any] | None:
    """A case's results; None where there are none yet."""
    path = RESULTS / f"{case}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def number(value: float, unit: str) -> str:
    """Three digits, thousands apart."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def goal(line: dict[str, Any]) -> str:
    """The goal and whether it is met."""
    if "target" in line:
        return f"≥ {line['target']:g}: {'met' if line['value'] >= line['target'] else 'missed'}"
    if "limit" in line:
        return f"≤ {line['limit']:g}: {'met' if line['value'] <= line['limit'] else 'missed'}"
    return ""


def table(case: str) -> str:
    """A row for each figure; what was not measured says why."""
    found = read(case)
    if found is None:
        return "Not measured yet."
    rows = ["| what | measured | goal |", "|---|---|---|"]
    for line in found["figures"]:
        value = line["note"] if line["value"] is None else number(line["value"], line["unit"])
        rows.append(f"| {line['what']} | {value} | {goal(line) if line['value'] is not None else ''} |")
    return "\n".join(rows)


def curve(case: str) -> str:
    """Curves: a row for each size, a column for each quantity."""
    found = read(case)
    if found is None:
        return "Not measured yet."
    curves: dict[str, dict[int, dict[str, str]]] = {}
    for line in found["figures"]:
        job, name = line["curve"].split(" ", 1)
        row = curves.setdefault(job, {}).setdefault(line["n"], {})
        row[f"{name.rsplit('_', 1)[0].replace('_', ' ')}, {line['unit']}"] = number(line["value"], "")
    blocks = []
    for job, sizes in curves.items():
        heads = list(next(iter(sizes.values())))
        rows = [f"| {job} | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
        rows += [f"| {n:,} | " + " | ".join(row.values()) + " |" for n, row in sizes.items()]
        blocks.append("\n".join(rows))
    return "\n\n".join(blocks)


def machine(case: str) -> str:
    """What it was measured on."""
    found = read(case)
    if found is None:
        return ""
    m = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    return (
        f"{m['processor']}, {m['cores']} cores ({', '.join(m['features']) or 'no AVX2'}), GPU: {m['gpu'] or 'none'}; "
        f"{m['threads']} thread; load {m['load'][0]:g} before and {found['load_after'][0]:g} after, "
        f"{100 * m['steal']:.2g} % stolen by other guests; Python {m['python']}, {versions}"
    )


def page(name: str = "speed") -> str:
    """A page from its text and the committed files."""
    text = (HERE / f"{name}.md").read_text(encoding="utf-8")
    text = re.sub(r"\{\{machine (\w+)\}\}", lambda found: machine(found[1]), text)
    text = re.sub(r"\{\{curves (\w+)\}\}", lambda found: curve(found[1]), text)
    return re.sub(r"\{\{(\w+)\}\}", lambda found: table(found[1]), text)


def main() -> None:
    """Write both pages."""
    for name in ("speed", "scaling"):
        PAGE.with_name(f"{name}.md").write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
