"""The parts of a report about scores: each evaluation, and evaluations beside each other."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from kontrast.artifacts.evaluation import SCORES
from kontrast.artifacts.wording import (
    MARK,
    MET,
    MORE,
    SHOWN,
    beneath,
    calibrated,
    cases,
    decimal,
    differences,
    means,
    met,
    remarks,
    thresholds_from,
    trained_with,
)
from kontrast.metrics.evaluation import mixed
from kontrast.pages import figures
from kontrast.pages.curves import curve_section
from kontrast.pages.drawing import Look
from kontrast.pages.readers import readers_section
from kontrast.pages.sections import Found, read_json, with_interval
from kontrast.pages.subgroups import evaluation_forest

PROTOCOLS = {
    "knn": "kNN on frozen features",
    "probe": "linear probe on frozen features",
    "finetune": "fine-tuning of all weights",
    "full": "fine-tuning of all weights from a random head",
    "lp-ft": "linear probe, then fine-tuning (LP-FT)",
}

BEGAN = {"random": "random weights", "imagenet": "ImageNet weights"}
"""What a Classifier began with, by the word that its card keeps."""

UNFOLDED = 2
"""Evaluations whose curves are all seen at once."""

MOST = 8
"""Models that one figure can hold and still be read."""


def evaluation_section(
    evaluations: Sequence[Found], brief: Sequence[Found], classifiers: Mapping[str, Found], seen: Mapping[str, Look],
    explained: Container[str] = (), encoders: Sequence[Found] = (), audited: Sequence[frozenset[str]] = (),
) -> dict[str, Any]:  # fmt: skip
    """An overview, a figure and a table for each evaluation.

    Args:
        evaluations: to show.
        brief: to show in a second overview alone: a study's many cells.
        classifiers: by the SHA-256 of their cards, for what stands behind an evaluation.
        seen: how each evaluation is drawn, from `drawing.looks`.
        explained: cards of Classifiers whose curves are unfolded where there are many evaluations.
        encoders: of the page, by which it is said what a Classifier's weights began as.
        audited: the cards of Classifier and Packs of each audit of the page, which shows their groups of patients.
    """
    pretrained = {one.sha: one for one in encoders}
    tables = [_table(one, classifiers, pretrained) for one in evaluations]
    for one, table in zip(evaluations, tables, strict=True):
        table["curves"] = curve_section(one, table["scores"])
        behind = {p.sha256 for p in one.card.parents}
        table["groups"] = None if any(behind and behind <= shown for shown in audited) else evaluation_forest(one)
        table["open"] = len(tables) <= UNFOLDED or any(p.sha256 in explained for p in one.card.parents)
    if tables and not any(table["open"] for table in tables):
        tables[-1]["open"] = True
    drawn = {
        table["shown"]: {n: entry["auroc"] for n, entry in table["scores"]["findings"].items()}
        | {"macro": table["scores"]["macro"]["auroc"]}
        for table in tables
    }
    seen = {table["shown"]: seen[table["name"]] for table in tables}
    names = list(drawn)
    parts = [{name: drawn[name] for name in names[i : i + MOST]} for i in range(0, len(names), MOST)]
    return {
        "tables": tables,
        "brief": [_table(one, classifiers, pretrained) for one in brief],
        "unlike": unlike_macros(tables),
        "forest": [figures.forest(part, seen, "AUROC, 95 % interval") for part in parts],
    }


def _table(one: Found, classifiers: Mapping[str, Found], encoders: Mapping[str, Found]) -> dict[str, Any]:
    scores = read_json(one.path, SCORES)
    overlap = scores.get("overlap")
    return {
        "name": one.name,
        "shown": one.name + (MET if met(scores) else ""),
        "scores": scores,
        "rows": _score_rows(scores),
        "absent": scores.get("not_learnt", {}),
        "more": _more(scores),
        "remarks": [*cases(scores), *calibrated(scores), *remarks(scores), *beneath(scores)],
        "against": differences(scores) if "against" in scores else {},
        "reliability": figures.reliability(_reliability(scores)) if scores.get("reliability") else None,
        "readers": readers_section(one, scores),
        "overlap": overlap.get("text") if isinstance(overlap, Mapping) else overlap,
        "note": scores.get("note"),
        "trained": _trained(one, classifiers, encoders),
        "trained_with": trained_with(scores),
        "floor": "findings" in scores.get("floor", {}),
        "thresholds": thresholds_from(scores, {p.role for p in one.card.parents}),
    }


def _score_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The findings, then the means, each with its scores and their intervals."""
    replicates = (scores.get("interval") or {}).get("replicates", 0)
    entries = [(name, entry, False) for name, entry in scores["findings"].items()]
    floor = scores.get("floor", {})
    under = floor.get("findings", {}) | {next(iter(means(scores)), ""): floor.get("macro")}
    entries += [(name, entry, True) for name, entry in means(scores).items()]
    return [
        {
            "name": name,
            "total": total,
            "n": entry.get("n"),
            "positives": entry.get("positives"),
            "prevalence": decimal(entry.get("prevalence")),
            "threshold": decimal(entry.get("threshold")),
            "floor": _marked(under.get(name), total, replicates),
            "of": len(entry["auroc"].get("findings", [])),
            **{score: _marked(entry.get(score), total, replicates) for score in (*SHOWN, *MORE)},
        }
        for name, entry, total in entries
    ]


def _more(scores: Mapping[str, Any]) -> dict[str, str]:
    """The other scores that some finding has, and their words: older evaluations have few."""
    known = {name for entry in scores["findings"].values() for name in MORE if name in entry}
    known -= {n for n in known if all(entry[n]["value"] is None for entry in scores["findings"].values())}
    return {name: words for name, words in MORE.items() if name in known}


def _reliability(scores: Mapping[str, Any]) -> dict[str, Any]:
    before = scores.get("before_calibration")
    if not before:
        return {"as given": scores["reliability"]}
    return {"before calibration": before["reliability"], "after": scores["reliability"]}


def _marked(found: Mapping[str, Any] | None, total: bool, replicates: int) -> dict[str, str]:
    """A score with its interval; of a mean with a mark where many replicates lacked a finding."""
    shown = with_interval(found)
    return shown | {"mark": MARK if total and found and shown["range"] and mixed(found, replicates) else ""}


def unlike_macros(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which macros beside each other are of fewer findings than the others, and why; empty where all are alike."""
    held = {table["name"]: table["scores"]["macro"]["auroc"].get("findings", []) for table in tables}
    every = dict.fromkeys(name for names in held.values() for name in names)
    who: dict[tuple[str, ...], list[str]] = {}
    for table in tables:
        absent = table["scores"].get("not_learnt", {})
        lacking = [name for name in every if name not in held[table["name"]]]
        if lacking:
            texts = tuple(f"{name} (not learnt: {absent[name]})" if name in absent else name for name in lacking)
            who.setdefault(texts, []).append(table["name"])
    return [f"{', '.join(names)}: without {', '.join(texts)}" for texts, names in who.items()]


def _trained(one: Found, classifiers: Mapping[str, Found], encoders: Mapping[str, Found]) -> str:
    """How the Classifier behind an evaluation was trained, where it is on the page too."""
    behind = next((classifiers[p.sha256] for p in one.card.parents if p.sha256 in classifiers), None)
    summary = behind.card.content.get("summary") if behind else None
    if behind is None or not summary:
        return ""
    protocol = behind.card.content.get("protocol", "")
    return (
        f"{PROTOCOLS.get(protocol, protocol)}, {100 * summary['label_fraction']:g} % of labels: "
        f"{summary['train_images']:,} images of {summary['train_patients']:,} patients"
        f"{_began(behind, encoders)}"
    )


def _began(classifier: Found, encoders: Mapping[str, Found]) -> str:
    """What a Classifier's weights began as, as far as its card and the page tell."""
    start = str(classifier.card.config.get("start", ""))
    if start in BEGAN:
        return f"; began with {BEGAN[start]}"
    if start.startswith("weights "):
        return "; began with a file of weights"
    behind = next((encoders[p.sha256] for p in classifier.card.parents if p.sha256 in encoders), None)
    if behind is None:
        return "; began with an Encoder that is not on this page" if start == "artifact" else ""
    method = (behind.card.content.get("summary") or {}).get("method")
    return f"; began with {method} weights ({behind.name})" if method else f"; began with those of {behind.name}"
