"""The figures of a Classifier in sentences, by topic: scores, calibration, heat maps, subgroups."""

from collections.abc import Mapping
from typing import Any

from kontrast.artifacts.evaluation import SCORES
from kontrast.artifacts.explanation import few_cases, judged, thresholds, true_positives
from kontrast.artifacts.explanation import interval as localised
from kontrast.artifacts.wording import MARK, mean_with_ends
from kontrast.metrics.evaluation import mixed
from kontrast.pages.audit import met_in_training
from kontrast.pages.cards.subject import Subject
from kontrast.pages.sections import read_json
from kontrast.types import counted


def testing(about: Subject) -> dict[str, list[str]]:
    """Scores of the Classifier's evaluations, and what they rest on."""
    topics = ("internal", "other", "scores", "uncertainty", "calibration", "overlap")
    said: dict[str, list[str]] = {topic: [] for topic in topics}
    own = {p.sha256 for p in about.classifier.card.parents if p.role == "pack"}
    for one in about.evaluations:
        table = read_json(one.path, SCORES)
        patients = f" of {table['patients']:,} patients" if table.get("patients") else ""
        cases = "studies" if table.get("by") == "study" else "images"
        place = "internal" if any(p.sha256 in own for p in one.card.parents) else "other"
        said[place].append(f"{one.name}: split {table.get('split')}, {table.get('rows') or 0:,} {cases}{patients}.")
        used = table.get("interval") or {}
        policy = ", ".join(f"{k} = {v}" for k, v in table["label_policy"].items())
        said["uncertainty"].append(
            f"{one.name}: 95 % intervals from {used.get('replicates', 0):,} bootstrap replicates of "
            f"{used.get('resampled', 'nothing')}; labels: {policy}."
        )
        macro = table["macro"]["auroc"]
        over = f"{_ranged(macro, table)} over {counted(len(macro.get('findings', [])), 'finding')}"
        said["scores"] += [f"{one.name}: macro AUROC {over}.", *_scored(table["findings"])]
        if mixed(macro, used.get("replicates", 0)):
            text = f"{MARK} many replicates lacked a finding, so this interval covers less than 95 %."
            said["uncertainty"].append(f"{one.name}: {text}")
        said["calibration"] += _calibration(table["findings"])
        if met := table.get("overlap"):
            said["overlap"].append(f"{one.name}: {met.get('text') if isinstance(met, Mapping) else met}.")
        said["overlap"] += [f"{one.name}: {table['note']}."] if table.get("note") else []
    metrics = (
        "AUROC, average precision, F1, Cohen's kappa, MCC, balanced accuracy, sensitivity, specificity, PPV, NPV, "
        "Brier score, calibration error, slope and intercept, by finding, their mean and their pool."
    )
    return said | {"metrics": [metrics] if about.evaluations else []}


def _scored(findings: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: AUROC {_ranged(e['auroc'])}, average precision {_ranged(e['ap'])}, sensitivity "
        f"{_ranged(e.get('sensitivity'))}, specificity {_ranged(e.get('specificity'))} "
        f"({e['positives']:,} positive of {e['n']:,})."
        for name, e in findings.items()
    ]


def _calibration(findings: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: slope {_ranged(e['calibration_slope'])}, intercept {_ranged(e.get('calibration_intercept'))}, "
        f"Brier {_ranged(e.get('brier'))}."
        for name, e in findings.items()
        if (e.get("calibration_slope") or {}).get("value") is not None
    ]


def _ranged(found: Mapping[str, Any] | None, of: Mapping[str, Any] | None = None) -> str:
    """A score with its interval; of a mean of the scores `of`, with the mark that it may need."""
    return mean_with_ends(found, of or {}) if found and found.get("value") is not None else "–"


def looking(about: Subject) -> dict[str, list[str]]:
    """What its heat maps score, and how they fared in the checks."""
    said, checked = [], []
    for one in about.explanations:
        content = one.card.content
        said.append(f"{one.name}: {content['method']}, maps of {' × '.join(map(str, content['map']))} places.")
        scored = {name: found for name, found in content["findings"].items() if found["n"]}
        for name, found in scored.items():
            truly = true_positives(found)
            said.append(
                f"{name}, {found['n']} images with a known place: pointing game {localised(found['hit'])} (centre "
                f"{localised(found['centre_hit'])}), IoU {localised(found['iou'])}"
                + (f"; called positive: {truly}" if truly else "") + "."
            )  # fmt: skip
        said += filter(None, [few_cases(scored), *thresholds(scored)])
        checked += judged(content["findings"])
    return {"explanation": said, "explanation_checks": checked}


def groups(about: Subject) -> dict[str, list[str]]:
    """Its scores by subgroup, and what metadata alone would score."""
    said, floors = [], []
    for one in about.audits:
        audit = read_json(one.path, "audit.json")
        for pack, entry in (audit["classifier"] or {}).items():
            said += [f"{pack}: {met}." for met in [met_in_training(entry)] if met]
            for attribute, parts in entry["subgroups"].items():
                for word, scores in parts.items() if isinstance(parts, Mapping) else ():
                    if "macro" in scores:
                        who = f"{pack}, {attribute} {word} ({scores['rows']:,} images)"
                        macro = scores["macro"]["auroc"]
                        over = counted(len(macro.get("findings", [])), "finding")
                        said.append(f"{who}: macro AUROC {_ranged(macro, scores)} over {over}.")
        for pack, baselines in audit["metadata"].items():
            floors += [
                f"{pack}: {name} alone reach a macro AUROC of {_ranged(scores['macro']['auroc'], scores)}."
                for name, scores in ((n, one["scores"]) for n, one in baselines.items() if n != "reason")
            ]
    return {"subgroups": said, "floors": floors}
