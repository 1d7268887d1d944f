"""Collect what the real studies wrote, and remake docs/results.md from the collected files.

    python results/make.py collect runs/nih runs/short …      copies scores and tables out of finished studies
    python results/make.py                                   writes docs/results.md from results/ alone

Only numbers are collected: scores, tables, settings. No image, no prediction, no identifier.
"""

import csv
import json
import shutil
import sys
from pathlib import Path

from kontrast.artifacts.wording import labels_needed

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results.md"
STUDIES = {
    "nih": "NIH ChestX-ray14, a part of 683 frontal radiographs",
    "kermany": "Bacterial against viral pneumonia in children (Kermany)",
    "short": "NIH ChestX-ray14 again, after two passes",
    "short-kermany": "Kermany again, after two passes",
    "phantom": "Generated radiographs",
}
TABLES = ("cells.csv", "differences.csv", "labels_saved.csv", "search.csv")


def collect(study: Path) -> None:
    """Copy a finished study's tables, scores.json of cells of the first seed and draw, and the encoders' cards."""
    target = HERE / study.name
    if target.exists():
        shutil.rmtree(target)
    kept = [study / name for name in ("card.json", "folds.json", *TABLES) if (study / name).exists()]
    cells = [path for path in study.glob("evaluations/*/*-seed0/scores.json") if "-draw" not in path.parent.name]
    cells += study.glob("evaluations/*/*-draw0-seed0/scores.json")
    kept += [*cells, *study.glob("encoders/*/card.json")]
    kept += [*study.glob("encoders/*/metrics.jsonl"), *study.glob("packs/*/card.json")]
    for path in kept:
        copy = target / path.relative_to(study)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.name == "metrics.jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            copy.write_text("\n".join([*lines[:-1:5], lines[-1]]) + "\n", encoding="utf-8")
        elif path.name in ("scores.json", "card.json", "folds.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            copy.write_text(json.dumps(_lean(content), separators=(",", ":")) + "\n", encoding="utf-8")
        else:
            shutil.copyfile(path, copy)


def _lean(content: dict) -> dict:
    """A card without the checksums of files that are not here."""
    return {k: v for k, v in content.items() if k != "files"} if "kind" in content else content


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def interval(found: dict) -> str:
    if found.get("value") is None:
        return "–"
    text = f"{found['value']:.3f}"
    return text if found.get("low") is None else f"{text} [{found['low']:.3f}, {found['high']:.3f}]"


def difference(found: dict | None) -> str:
    if not found or found["value"] in (None, ""):
        return ""
    value, low, high, p = (float(found[k]) for k in ("value", "low", "high", "p"))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}], p = {p:.3f}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    line = "| " + " | ".join(head) + " |"
    return [line, "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows), ""]


def folds_section(study: str) -> list[str]:
    found = read_json(HERE / study / "folds.json")
    rows = [
        [arm, interval(entry["macro"]), difference(found["differences"].get(arm))]
        for arm, entry in found["arms"].items()
    ]
    policy = found["label_policy"]
    return [
        f"Linear probes on frozen features in {found['folds']} patient-grouped folds over {found['images']:,} images "
        f"of {found['patients']:,} patients that no encoder had met (validation and test); findings: "
        f"{', '.join(found['findings'])}; uncertain = {policy['uncertain']}, blank = {policy['blank']}."
        + ("" if "auroc" in found else " **Pooled over folds, by version 0.1.0; see above.**"),
        "",
        *table(["start", "macro AUROC [95 %]", f"less {found['baseline']} [95 %]"], rows),
    ]


def grid_section(study: str) -> list[str]:
    cells = read_csv(HERE / study / "cells.csv")
    gaps = {(d["protocol"], d["fraction"], d["arm"]): d for d in read_csv(HERE / study / "differences.csv")}
    lines = []
    for protocol in dict.fromkeys(c["protocol"] for c in cells):
        rows = []
        fractions = sorted({float(c["fraction"]) for c in cells})
        for arm in dict.fromkeys(c["arm"] for c in cells):
            row = [arm]
            for fraction in fractions:
                mine = [
                    c for c in cells if (c["arm"], c["protocol"], float(c["fraction"])) == (arm, protocol, fraction)
                ]
                values = [float(c["auroc"]) for c in mine if c["auroc"]]
                if not values:
                    row.append("–")
                    continue
                mean = sum(values) / len(values)
                spread = (sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)) ** 0.5
                gap = difference(gaps.get((protocol, mine[0]["fraction"], arm)))
                row.append(f"{mean:.3f} ± {spread:.3f}" + (f"<br>{gap}" if gap else ""))
            rows.append(row)
        lines += [f"**{protocol}**: macro AUROC on the test split, mean ± SD over runs; below it the difference from "
                  "random with its 95 % interval by patient.", ""]  # fmt: skip
        lines += table(["start", *(f"{100 * f:g} % of labels" for f in fractions)], rows)
    return lines


def saved_section(study: str) -> list[str]:
    """With how many labels an arm is where random weights are with all."""
    rows = []
    for row in read_csv(HERE / study / "labels_saved.csv"):
        share, saved = labels_needed(row)
        rows.append([row["protocol"], row["arm"], f"{float(row['goal']):.3f}", share, saved])
    return table(["labels used for", "start", "random weights with all labels", "reached with [95 %]", "saved"], rows)


def search_section(study: str) -> list[str]:
    """What validation chose for each arm and fraction, of the same values."""
    found = read_csv(HERE / study / "search.csv")
    tried = [name for name in found[0] if name not in ("arm", "protocol", "fraction", "val_auroc", "chosen")]
    rows = [
        [row["protocol"], row["arm"], f"{100 * float(row['fraction']):g} %", *(row[name] for name in tried)]
        for row in found
        if row["chosen"] == "1"
    ]
    return table(["protocol", "start", "labels", *tried], rows)


def encoders_section(study: str) -> list[str]:
    rows = []
    for path in sorted((HERE / study / "encoders").glob("*/card.json")):
        content = read_json(path)["content"]
        lines = [json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()]
        chance = lines[-1]["loss"] + lines[-1]["below_chance"]
        rank = [f"{line['effective_rank']:.0f}" for line in (lines[0], lines[len(lines) // 8], lines[-1])]
        rows.append([path.parent.name, f"{content['plan']['steps']:,}", f"{content['summary']['images_seen']:,}",
                     f"{lines[-1]['loss']:.2f} ({chance:.2f})", f"{lines[-1]['feature_std_ratio']:.2f}",
                     " → ".join(rank)])  # fmt: skip
    return table(["method", "steps", "images seen", "last loss (of an encoder that tells nothing apart)",
                  "feature spread", "effective rank: first, after an eighth, last"], rows)  # fmt: skip


def rates_section() -> list[str]:
    found = read_json(HERE.parent / "benchmarks" / "results" / "byol_rate.json")
    rows = []
    for name, row in found.items():
        rank = " → ".join(f"{x:.0f}" for x in row.get("rank", []))
        rows.append([name, f"{row['nih']:.3f}", f"{row['kermany']:.3f}", rank])
    return table(["features", "NIH", "bacteria or virus", "effective rank: first, after an eighth, last"], rows)


def before_section(arm: str) -> list[str]:
    """An arm in folds by an earlier rule (results/before, with the random weights of that run), and as it is."""
    rows = []
    for study, name in (("short", "NIH"), ("short-kermany", "bacteria or virus")):
        for when, path in (("before", HERE / "before" / f"{study}.json"), ("now", HERE / study / "folds.json")):
            found = read_json(path)
            if arm in found["arms"]:
                rows.append([name, when, interval(found["arms"][arm]["macro"]), difference(found["differences"][arm])])
    return table(["images", "", "macro AUROC [95 %]", "less random [95 %]"], rows)


def chexpert_section() -> list[str]:
    rows, five = [], []
    for path in sorted((HERE / "chexpert_test").glob("*.json")):
        found = read_json(path)["competition"]["auroc"]
        rows.append([path.stem, interval(found)])
        five.append(found["value"])
    rows.append(["mean", f"{sum(five) / len(five):.4f}"])
    return table(["system", "macro AUROC of the five findings [95 %]"], rows)


def page() -> str:
    """The text of docs/results.md."""
    intro = (HERE / "intro.md").read_text(encoding="utf-8")
    parts = {"CHEXPERT": chexpert_section(), "RATES": rates_section()}
    parts |= {f"BEFORE_{arm.upper()}": before_section(arm) for arm in ("moco", "byol")}
    for study in STUDIES:
        sections = {
            "encoders/*/card.json": ("ENCODERS", encoders_section), "folds.json": ("FOLDS", folds_section),
            "cells.csv": ("GRID", grid_section), "labels_saved.csv": ("SAVED", saved_section),
            "search.csv": ("SEARCH", search_section),
        }  # fmt: skip
        for file, (name, section) in sections.items():
            if any((HERE / study).glob(file)):
                parts[f"{study.upper()}_{name}"] = section(study)
    for name, lines in parts.items():
        intro = intro.replace("{{" + name + "}}", "\n".join(lines).rstrip())
    return intro


if __name__ == "__main__":
    if sys.argv[1:2] == ["collect"]:
        for name in sys.argv[2:]:
            collect(Path(name))
    else:
        PAGE.write_text(page(), encoding="utf-8")
        print(PAGE)
