"""The parts of a report, one function for each kind of artifact: files in, plain values for the template out."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kontrast.artifacts.card import Card
from kontrast.artifacts.evaluation import decimal
from kontrast.pages import figures

SAMPLES = 8
"""Images shown of a Pack."""


def pack_section(folder: Path, card: Card) -> dict[str, Any]:
    """Counts, prevalence and sample images of a Pack."""
    from kontrast.artifacts.pack import Pack

    pack = Pack.open(folder, verify=False)
    content = card.content
    counts = {}
    for name in pack.findings:
        values = pack.table[name]
        counts[name] = {
            "1": int((values == 1).sum()),
            "0": int((values == 0).sum()),
            "-1": int((values == -1).sum()),
            "blank": int(values.isna().sum()),
        }
    rows = pack.rows("train")
    shown = rows[np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int)] if len(rows) else rows
    treatment = {k: card.config.get(k) for k in ("denoise", "equalize", "views", "dtype")}
    return {
        "name": folder.name,
        "splits": content["splits"],
        "rows": content["rows"],
        "size": content["size"],
        "layout": content["layout"],
        "patients_known": content["patients_known"],
        "treatment": ", ".join(f"{k} {v}" for k, v in treatment.items() if v is not None),
        "counts": counts,
        "prevalence": figures.prevalence(counts) if counts else None,
        "rejects": _count_rows(folder / "rejects.csv"),
        "moved": content.get("moved", 0),
        "preview": _picture(folder / "preview.png"),
        "images": [figures.data_uri(_grey8(image)) for image in pack.images(shown)],
    }


def _grey8(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)


def _picture(path: Path) -> str | None:
    import cv2

    if not path.is_file():
        return None
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    return None if image is None else figures.data_uri(image)


def _count_rows(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return max(sum(1 for _ in csv.reader(stream)) - 1, 0)


def history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, thinned to about 400 for drawing."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return lines[:: max(1, len(lines) // 400)]


def training_section(encoders: Mapping[str, tuple[Path, Card]]) -> dict[str, Any]:
    """How each encoder was pretrained, and its curves."""
    runs = {name: history(folder) for name, (folder, _) in encoders.items()}
    runs = {name: lines for name, lines in runs.items() if lines}
    drawn = [
        figures.training(runs, key, label)
        for key, label in (
            ("loss", "loss"),
            ("feature_std_ratio", "feature spread (1 = whole sphere)"),
            ("effective_rank", "effective rank of features"),
        )
    ]
    rows = []
    for name, (folder, card) in encoders.items():
        content = card.content
        rows.append(
            {
                "name": name,
                "method": content.get("method"),
                "encoder": content["encoder"]["name"],
                "size": content["encoder"]["size"],
                "steps": content.get("steps"),
                "images": content.get("images_seen"),
                "speed": content.get("images_per_second"),
                "views": _picture(folder / "views.png"),
            }
        )
    return {"rows": rows, "figures": [f for f in drawn if f]}


def evaluation_section(evaluations: Mapping[str, tuple[Path, Card]]) -> dict[str, Any]:
    """Tables and intervals of evaluations; drawn together when there are few."""
    tables, drawn = [], {}
    for name, (folder, _) in evaluations.items():
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        tables.append({"name": name, "scores": scores, "rows": _score_rows(scores)})
        drawn[name] = {finding: entry["auroc"] for finding, entry in scores["findings"].items()}
    return {"tables": tables, "forest": figures.forest(drawn) if 0 < len(drawn) <= 6 else None}


def _score_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    entries = [*scores["findings"].items(), ("macro", scores["macro"])]
    if "competition" in scores:
        entries.append(("macro of CheXpert's 5", scores["competition"]))
    for name, entry in entries:
        row: dict[str, Any] = {"name": name, "n": entry.get("n"), "positives": entry.get("positives")}
        row["prevalence"] = decimal(entry.get("prevalence"))
        row["threshold"] = decimal(entry.get("threshold"))
        for score in ("auroc", "ap", "f1", "kappa", "sensitivity", "specificity"):
            row[score] = with_interval(entry.get(score, {}))
        row["notes"] = "; ".join(
            text for text in (entry["auroc"].get("reason"), entry.get("note"), entry.get("threshold_reason")) if text
        )
        rows.append(row)
    return rows


def with_interval(found: Mapping[str, Any]) -> str:
    """`.874 [.812, .921]`; a dash for what is undefined."""
    text = decimal(found.get("value"))
    if found.get("low") is not None:
        text += f" [{decimal(found['low'])}, {decimal(found['high'])}]"
    return text


def explanation_section(folder: Path, card: Card) -> dict[str, Any]:
    """Localisation scores beside the centre's, and a few overlays of each finding."""
    findings = []
    for name, found in card.content["findings"].items():
        pictures = [picture for p in found.get("pictures", [])[:4] if (picture := _picture(folder / p))]
        row = {key: with_interval(found.get(key) or {}) for key in ("hit", "iou", "centre_hit", "centre_iou")}
        findings.append({"name": name, "n": found.get("n"), "pictures": pictures, **row})
    keys = ("method", "encoder", "map", "split", "threshold", "order", "overlap")
    return {"name": folder.name, "findings": findings, **{key: card.content.get(key) for key in keys}}


def study_section(folder: Path, card: Card) -> dict[str, Any]:
    """The grid's table, curves, differences and folds."""
    cells = _read_csv(folder / "cells.csv")
    differences = {(d["protocol"], d["fraction"], d["arm"]): d for d in _read_csv(folder / "differences.csv")}
    baseline = card.config["baseline"]
    groups: dict[tuple[str, str, str], list[float]] = {}
    for cell in cells:
        key = (cell["protocol"], cell["fraction"], cell["arm"])
        groups.setdefault(key, []).append(float(cell["auroc"]) if cell["auroc"] else np.nan)
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {}
    for (protocol, fraction, arm), values in groups.items():
        defined = [v for v in values if np.isfinite(v)]
        if defined:
            point = (float(fraction), float(np.mean(defined)), min(defined), max(defined))
            curves.setdefault(protocol, {}).setdefault(arm, []).append(point)
        spread = f"{decimal(float(np.mean(defined)))} ± {decimal(float(np.std(defined)))}" if defined else "–"
        rows.append(
            {
                "arm": arm, "protocol": protocol, "labels": f"{100 * float(fraction):g} %", "seeds": len(values),
                "auroc": spread, "difference": _difference(differences.get((protocol, fraction, arm))),
            }
        )  # fmt: skip
    rows.sort(
        key=lambda r: (r["protocol"] != "probe", float(r["labels"][:-2]), list(card.config["arms"]).index(r["arm"]))
    )
    drawn = [
        figures.efficiency({arm: sorted(points) for arm, points in by_arm.items()}, baseline, protocol)
        for protocol, by_arm in curves.items()
    ]
    found = folder / "folds.json"
    folds = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else None
    return {
        "name": folder.name, "baseline": baseline, "rows": rows, "curves": drawn, "folds": _folds(folds),
        "left_out": card.content["summary"].get("left_out", []), "config": card.config,
    }  # fmt: skip


def _folds(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    rows = [
        {"arm": arm, "auroc": with_interval(entry["macro"]), "difference": _difference(found["differences"].get(arm))}
        for arm, entry in found["arms"].items()
    ]
    drawn = figures.forest({arm: entry["findings"] for arm, entry in found["arms"].items()})
    return {**{k: found[k] for k in ("folds", "images", "patients", "findings")}, "rows": rows, "forest": drawn}


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] in (None, ""):
        return ""
    text = f"{float(found['value']):+.3f}"
    if found["low"] not in (None, ""):
        text += f" [{float(found['low']):+.3f}, {float(found['high']):+.3f}], p = {float(found['p']):.3f}"
    return text


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def provenance(found: Sequence[tuple[str, Path, Card, str]]) -> list[dict[str, Any]]:
    """Each artifact: name, kind, hash of its card, parents, version and settings."""
    return [
        {
            "name": name,
            "kind": card.kind,
            "sha": sha[:12],
            "parents": ", ".join(f"{p.role} {p.sha256[:12]}" for p in card.parents),
            "version": card.version,
            "config": json.dumps(card.config, indent=1, ensure_ascii=False),
        }
        for name, _, card, sha in found
    ]


def audit_section(folder: Path) -> dict[str, Any]:
    """What splits share, what is unknown, and what metadata alone scores."""
    found = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    shared = [
        {"where": f"{name}: {' / '.join(row['splits'])}", **{u: row.get(u) for u in ("patients", "studies", "images")}}
        for name, pack in found["packs"].items()
        for row in pack["between_splits"]
    ]
    for row in found["between_packs"]:
        where = " / ".join(f"{p} {s}" for p, s in zip(row["packs"], row["splits"], strict=True))
        shared.append({"where": where, **{u: row.get(u) for u in ("patients", "studies", "images")}})
    floors = []
    for pack, baselines in found["metadata"].items():
        if "reason" in baselines:
            continue
        for name, entry in baselines.items():
            floors.append({"pack": pack, "from": name, "auroc": with_interval(entry["scores"]["macro"]["auroc"])})
    groups = []
    for entry in (found.get("classifier") or {}).values():
        groups += _subgroups(entry.get("subgroups") or {})
    met = [
        {"pack": pack, "split": split, "text": overlap["text"]}
        for pack, entry in (found.get("classifier") or {}).items()
        for split, overlap in entry["overlap"].items()
    ]
    return {"name": folder.name, "shared": shared, "floors": floors, "groups": groups, "met": met}


def _subgroups(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for attribute, groups in found.items():
        if not isinstance(groups, Mapping):
            continue
        for group, entry in groups.items():
            scores = entry.get("scores", entry) if isinstance(entry, Mapping) else {}
            macro = scores.get("macro", {}).get("auroc") if isinstance(scores, Mapping) else None
            if macro:
                rows.append({"group": f"{attribute}: {group}", "n": scores.get("rows"), "auroc": with_interval(macro)})
    return rows
