"""The part of a report about a study: its grid, what labels give, findings and folds."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kontrast.artifacts.card import CARD, verify_files
from kontrast.artifacts.evaluation import SCORES
from kontrast.artifacts.wording import MARK, decimal
from kontrast.metrics.evaluation import mixed
from kontrast.pages import efficiency, figures
from kontrast.pages.drawing import Look
from kontrast.pages.results import PROTOCOLS
from kontrast.pages.sections import Found, read_json, with_interval


def study_section(found: Found, seen: Mapping[str, Look]) -> dict[str, Any]:
    """The grid's tables, curves, findings, differences and folds.

    Args:
        found: the study.
        seen: how each arm is drawn.
    """
    config, content = found.card.config, found.card.content
    cells = _read_csv(found.path, "cells.csv")
    arms = [arm for arm in config["arms"] if any(cell["arm"] == arm for cell in cells)]
    tables, curves = _grid(cells, _read_csv(found.path, "differences.csv"), arms)
    folds = read_json(found.path, "folds.json") if "folds.json" in found.card.files else None
    shaded = efficiency.bands(found, PROTOCOLS)
    draws = config.get("draws") if any(cell.get("draw") for cell in cells) else None
    return {
        "name": found.name, "baseline": config["baseline"], "tables": tables,
        "seeds": len(config["seeds"]), "policy": {k: config[k] for k in ("uncertain", "blank")},
        "curves": figures.efficiency(curves, seen, config["baseline"], shaded) if curves else None,
        "saved": efficiency.saved_rows(found, PROTOCOLS), "unlearnt": efficiency.unlearnt(found),
        "searched": efficiency.searched(found, PROTOCOLS), "draws": draws,
        "findings": _by_finding(found, cells, arms, seen), "folds": _folds(folds, config["arms"], seen),
        "left_out": content["summary"].get("left_out", []), "means": content.get("means"),
        "earlier": [_asked(grid) for grid in content.get("earlier", [])],
    }  # fmt: skip


def _asked(grid: Mapping[str, Any]) -> str:
    """A grid that was asked for before: `arms random, moco; protocols probe; labels 10 %; seeds 0, 1 (finished)`."""
    shares = ", ".join(f"{100 * fraction:g} %" for fraction in grid["fractions"])
    names = {key: ", ".join(map(str, grid[key])) for key in ("arms", "protocols", "seeds")}
    draws = f"; draws {grid['draws']}" if grid.get("draws") else ""
    state = "finished" if grid["finished"] else "unfinished"
    what = f"arms {names['arms']}; protocols {names['protocols']}; labels {shares}; seeds {names['seeds']}"
    return f"{what}{draws} ({state})"


def _grid(
    cells: Sequence[Mapping[str, str]], gaps: Sequence[Mapping[str, str]], arms: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Per protocol a table of arms by fractions, and the curves: (fraction, mean, lowest, highest over seeds)."""
    differences = {(row["protocol"], float(row["fraction"]), row["arm"]): row for row in gaps}
    tables, curves = [], dict[str, Any]()
    for protocol in dict.fromkeys(cell["protocol"] for cell in cells):
        fractions = sorted({float(cell["fraction"]) for cell in cells if cell["protocol"] == protocol})
        rows, lines = [], {}
        for arm in arms:
            values = {fraction: _values(cells, arm, protocol, fraction) for fraction in fractions}
            points = [(f, float(np.mean(v)), min(v), max(v)) for f, v in values.items() if v]
            if not points:
                continue
            lines[arm] = points
            shown = [
                _spread(values[f]) | {"difference": difference(differences.get((protocol, f, arm)))} for f in fractions
            ]
            rows.append({"arm": arm, "cells": shown})
        words = PROTOCOLS.get(protocol, protocol)
        tables.append({"words": words, "labels": [f"{100 * f:g} %" for f in fractions], "rows": rows})
        curves |= {words: lines} if lines else {}
    return tables, curves


def _values(cells: Sequence[Mapping[str, str]], arm: str, protocol: str, fraction: float) -> list[float]:
    """The macro AUROC of every seed for which it is defined."""
    return [
        float(cell["auroc"])
        for cell in cells
        if (cell["arm"], cell["protocol"], float(cell["fraction"])) == (arm, protocol, fraction) and cell["auroc"]
    ]


def _spread(values: Sequence[float]) -> dict[str, str]:
    if not values:
        return {"text": "–", "sd": ""}
    sd = f"± {decimal(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
    return {"text": decimal(float(np.mean(values))), "sd": sd}


def _by_finding(
    found: Found, cells: Sequence[Mapping[str, str]], arms: Sequence[str], seen: Mapping[str, Look]
) -> list[dict[str, Any]]:
    """Per protocol, each finding's AUROC with the most labels: mean and range over seeds, where the files are there.

    The mean below them is the grid's, over the findings that all cells share.
    """
    drawn = []
    for protocol in dict.fromkeys(cell["protocol"] for cell in cells):
        most = max(float(cell["fraction"]) for cell in cells if cell["protocol"] == protocol)
        scores: dict[str, dict[str, dict[str, Any]]] = {}
        for arm in arms:
            places = [
                found.path / "evaluations" / _folder(cell)
                for cell in cells
                if (cell["arm"], cell["protocol"], float(cell["fraction"])) == (arm, protocol, most)
            ]
            runs = [read_json(place, SCORES)["findings"] for place in places if (place / CARD).is_file()]
            if runs:
                names = dict.fromkeys(name for run in runs for name in run)
                by_name = {name: [run[name]["auroc"]["value"] for run in runs if name in run] for name in names}
                scores[arm] = {name: _range(values) for name, values in by_name.items()}
                scores[arm]["macro"] = _range(_values(cells, arm, protocol, most))
        if scores:
            figure = figures.forest(scores, seen, "AUROC, mean and range over seeds")
            drawn.append({"words": PROTOCOLS.get(protocol, protocol), "labels": f"{100 * most:g} %", "forest": figure})
    return drawn


def _folder(cell: Mapping[str, str]) -> str:
    """Where the evaluation of a cell is, as `engine.grid.Cell.name` says."""
    drawn = f"-draw{cell['draw']}" if cell.get("draw") else ""
    return f"{cell['arm']}/{cell['protocol']}-{100 * float(cell['fraction']):g}pc{drawn}-seed{cell['seed']}"


def _range(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"value": None, "low": None, "high": None}
    return {"value": float(np.mean(known)), "low": min(known), "high": max(known)}


def _folds(
    found: Mapping[str, Any] | None, arms: Mapping[str, Mapping[str, Any]], seen: Mapping[str, Look]
) -> dict[str, Any] | None:
    """Scores in folds; `initialisations` of the arms whose weights are random: they could have been others."""
    if found is None:
        return None
    replicates = found.get("replicates", 1000)
    rows, scores, drawn_from = [], {}, {}
    for arm, entry in found["arms"].items():
        mark = MARK if mixed(entry["macro"], replicates) else ""
        gap = found["differences"].get(arm)
        rows.append(
            {
                "arm": arm,
                "auroc": with_interval(entry["macro"]) | {"mark": mark},
                "difference": difference(gap and {"replicates": replicates, **gap}),
            }
        )
        scores[arm] = entry["findings"] | {"macro": entry["macro"]}
        if arms.get(arm, {}).get("start") == "random" and not arms[arm].get("method"):
            drawn_from[arm] = entry.get("initialisations", 1)
    drawn = figures.forest(scores, seen, "AUROC, 95 % interval")
    facts = {k: found[k] for k in ("folds", "images", "patients", "findings")} | {"pooled": "auroc" not in found}
    return {**facts, "rows": rows, "forest": drawn, "initialisations": drawn_from}


def difference(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A paired difference in words: `+.031`, its interval, p, and whether the interval leaves out 0; None for none.

    Args:
        found: values as numbers, or as a CSV file has them.
    """
    known = {
        k: None if found is None or found.get(k) in (None, "") else float(found[k])
        for k in ("value", "low", "high", "p", "incomplete", "replicates", "p_holm")
    }
    value, low, high, p, incomplete, replicates, holm = known.values()
    if value is None:
        return None
    between = "" if low is None or high is None else f"[{_signed(low)}, {_signed(high)}]"
    chance = "" if p is None else f"p {_chance(p)}"
    chance += f", Holm {_chance(holm)}" if holm is not None and holm != p else ""
    clear = low is not None and high is not None and not low <= 0 <= high
    marked = between and replicates and mixed({"incomplete": incomplete or 0}, int(replicates))
    return {
        "text": _signed(value), "range": between, "p": chance, "clear": clear, "mark": MARK if marked else "",
    }  # fmt: skip


def _chance(p: float) -> str:
    return "< .001" if p < 0.001 else f"= {decimal(p)}"


def _signed(value: float) -> str:
    text = decimal(abs(value))
    return f"{'-' if value < 0 and text != '.000' else '+'}{text}"


def _read_csv(folder: Path, name: str) -> list[dict[str, str]]:
    verify_files(folder, [name])
    with (folder / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
