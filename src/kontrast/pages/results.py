"""The parts of a report about scores: evaluations and studies, as their files have them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kontrast.artifacts.card import CARD, verify_files
from kontrast.artifacts.evaluation import SCORES, decimal
from kontrast.pages import figures
from kontrast.pages.sections import Found, read_json, with_interval

SHOWN = {
    "auroc": "AUROC", "ap": "average precision", "f1": "F1", "kappa": "Cohen's kappa", "sensitivity": "sensitivity",
    "specificity": "specificity",
}  # fmt: skip
"""The scores of the table, and their words."""

PROTOCOLS = {"probe": "linear probe on frozen features", "finetune": "fine-tuning of all weights"}

MOST = 8
"""Models that one figure can hold and still be read."""


def evaluation_section(
    evaluations: Sequence[Found], classifiers: Mapping[str, Found], seen: Mapping[str, figures.Look]
) -> dict[str, Any]:
    """An overview, a figure and a table for each evaluation.

    Args:
        evaluations: to show.
        classifiers: by the SHA-256 of their cards, for what stands behind an evaluation.
        seen: how each evaluation is drawn, from `figures.looks`.
    """
    tables, drawn = [], {}
    for one in evaluations:
        scores = read_json(one.path, SCORES)
        tables.append(
            {
                "name": one.name,
                "scores": scores,
                "rows": _score_rows(scores),
                "remarks": remarks(scores),
                "overlap": _overlap(scores.get("overlap")),
                "note": scores.get("note"),
                "trained": _trained(one, classifiers),
                "thresholds": any(entry.get("threshold") is not None for entry in scores["findings"].values()),
            }
        )
        drawn[one.name] = {name: entry["auroc"] for name, entry in _entries(scores)}
    names = list(drawn)
    parts = [{name: drawn[name] for name in names[i : i + MOST]} for i in range(0, len(names), MOST)]
    return {"tables": tables, "forest": [figures.forest(part, seen, "AUROC, 95 % interval") for part in parts]}


def _entries(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [*scores["findings"].items(), ("macro", scores["macro"])]


def _score_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = [(name, entry, False) for name, entry in scores["findings"].items()] + [("macro", scores["macro"], True)]
    if "competition" in scores:
        entries.append(("macro of CheXpert's 5", scores["competition"], True))
    return [
        {
            "name": name,
            "total": total,
            "n": entry.get("n"),
            "positives": entry.get("positives"),
            "prevalence": decimal(entry.get("prevalence")),
            "threshold": decimal(entry.get("threshold")),
            **{score: with_interval(entry.get(score)) for score in SHOWN},
        }
        for name, entry, total in entries
    ]


def remarks(scores: Mapping[str, Any]) -> list[str]:
    """Why scores are undefined or weak, each reason once with the findings that it is about."""
    about: dict[str, list[str]] = {}
    weak: dict[str, list[str]] = {}
    for name, entry in scores["findings"].items():
        for text in _reasons(entry):
            about.setdefault(text, []).append(name)
        if entry.get("note"):
            # "few: only 12 positive patients, so the intervals …": what follows is the same for many findings
            facts, _, meaning = entry["note"].partition(", so ")
            weak.setdefault(meaning, []).append(f"{name} ({facts.partition(': ')[2] or facts})")
    total = len(scores["findings"])
    said = [
        f"{'All findings' if len(names) == total > 1 else ', '.join(names)}: {text}." for text, names in about.items()
    ]
    said += [f"{meaning[:1].upper()}{meaning[1:] or 'Note'}: {', '.join(facts)}." for meaning, facts in weak.items()]
    means = scores["macro"]["auroc"].get("findings")
    if means is not None and 0 < len(means) < total:
        said.append(f"The macro AUROC is the mean over the {len(means)} of {total} findings for which it is defined.")
    return said


def _reasons(entry: Mapping[str, Any]) -> list[str]:
    """Why scores of a finding, or their intervals, are undefined: each reason with the scores that it is about."""
    undefined: dict[str, list[str]] = {}
    for score, words in SHOWN.items():
        if entry[score]["value"] is None or entry[score].get("reason"):
            undefined.setdefault(entry[score].get("reason") or "undefined on these cases", []).append(words)
    texts = [
        reason if len(which) == len(SHOWN) else f"{reason} ({', '.join(which)})" for reason, which in undefined.items()
    ]
    limit = entry.get("threshold_reason")
    return [*texts, limit] if limit and limit not in undefined and entry["auroc"]["value"] is not None else texts


def _overlap(found: Any) -> str | None:
    return found.get("text") if isinstance(found, Mapping) else found


def _trained(one: Found, classifiers: Mapping[str, Found]) -> str:
    """How the Classifier behind an evaluation was trained, where it is on the page too."""
    behind = next((classifiers[p.sha256] for p in one.card.parents if p.sha256 in classifiers), None)
    summary = behind.card.content.get("summary") if behind else None
    if behind is None or not summary:
        return ""
    protocol = behind.card.content.get("protocol", "")
    return (
        f"{PROTOCOLS.get(protocol, protocol)}, {100 * summary['label_fraction']:g} % of labels: "
        f"{summary['train_images']:,} images of {summary['train_patients']:,} patients"
    )


def study_section(found: Found, seen: Mapping[str, figures.Look]) -> dict[str, Any]:
    """The grid's tables, curves, findings, differences and folds.

    Args:
        found: the study.
        seen: how each arm is drawn.
    """
    config = found.card.config
    cells = _read_csv(found.path, "cells.csv")
    arms = [arm for arm in config["arms"] if any(cell["arm"] == arm for cell in cells)]
    protocols = list(dict.fromkeys(cell["protocol"] for cell in cells))
    differences = {
        (row["protocol"], float(row["fraction"]), row["arm"]): row for row in _read_csv(found.path, "differences.csv")
    }
    tables, curves = [], {}
    for protocol in protocols:
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
        curves[protocol] = lines
        tables.append(
            {"words": PROTOCOLS.get(protocol, protocol), "labels": [f"{100 * f:g} %" for f in fractions], "rows": rows}
        )
    folds = read_json(found.path, "folds.json") if "folds.json" in found.card.files else None
    return {
        "name": found.name, "baseline": config["baseline"], "tables": tables,
        "seeds": len(config["seeds"]), "policy": {k: config[k] for k in ("uncertain", "blank")},
        "curves": figures.efficiency({PROTOCOLS.get(p, p): c for p, c in curves.items() if c}, seen, config["baseline"])
        if any(curves.values()) else None,
        "findings": _by_finding(found, cells, arms, protocols, seen), "folds": _folds(folds, seen),
        "left_out": found.card.content["summary"].get("left_out", []),
    }  # fmt: skip


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
    found: Found, cells: Sequence[Mapping[str, str]], arms: Sequence[str], protocols: Sequence[str],
    seen: Mapping[str, figures.Look],
) -> list[dict[str, Any]]:  # fmt: skip
    """Per protocol, each finding's AUROC with the most labels: mean and range over seeds, where the files are there."""
    drawn = []
    for protocol in protocols:
        most = max(float(cell["fraction"]) for cell in cells if cell["protocol"] == protocol)
        scores: dict[str, dict[str, dict[str, Any]]] = {}
        for arm in arms:
            places = [
                found.path / "evaluations" / arm / f"{protocol}-{100 * most:g}pc-seed{cell['seed']}"
                for cell in cells
                if (cell["arm"], cell["protocol"], float(cell["fraction"])) == (arm, protocol, most)
            ]
            runs = [dict(_entries(read_json(place, SCORES))) for place in places if (place / CARD).is_file()]
            if runs:
                names = dict.fromkeys(name for run in runs for name in run)
                scores[arm] = {
                    name: _range([run[name]["auroc"]["value"] for run in runs if name in run]) for name in names
                }
        if scores:
            figure = figures.forest(scores, seen, "AUROC, mean and range over seeds")
            drawn.append({"words": PROTOCOLS.get(protocol, protocol), "labels": f"{100 * most:g} %", "forest": figure})
    return drawn


def _range(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"value": None, "low": None, "high": None}
    return {"value": float(np.mean(known)), "low": min(known), "high": max(known)}


def _folds(found: Mapping[str, Any] | None, seen: Mapping[str, figures.Look]) -> dict[str, Any] | None:
    if found is None:
        return None
    rows = [
        {"arm": arm, "auroc": with_interval(entry["macro"]), "difference": difference(found["differences"].get(arm))}
        for arm, entry in found["arms"].items()
    ]
    scores = {arm: entry["findings"] | {"macro": entry["macro"]} for arm, entry in found["arms"].items()}
    drawn = figures.forest(scores, seen, "AUROC, 95 % interval")
    return {**{k: found[k] for k in ("folds", "images", "patients")}, "rows": rows, "forest": drawn}


def difference(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A paired difference in words: `+.031`, its interval, p, and whether the interval leaves out 0; None for none."""
    known = {
        k: None if found is None or found[k] in (None, "") else float(found[k]) for k in ("value", "low", "high", "p")
    }
    value, low, high, p = known.values()
    if value is None:
        return None
    between = "" if low is None or high is None else f"[{_signed(low)}, {_signed(high)}]"
    chance = "" if p is None else "p < .001" if p < 0.001 else f"p = {decimal(p)}"
    clear = low is not None and high is not None and not low <= 0 <= high
    return {"text": _signed(value), "range": between, "p": chance, "clear": clear}


def _signed(value: float) -> str:
    text = decimal(abs(value))
    return f"{'−' if value < 0 and text != '.000' else '+'}{text}"


def _read_csv(folder: Path, name: str) -> list[dict[str, str]]:
    verify_files(folder, [name])
    with (folder / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
