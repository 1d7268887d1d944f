"""The part of a report about an audit: leaks, floors, groups of patients, and altered images."""

from collections.abc import Mapping
from typing import Any

from kontrast.artifacts.wording import MARK, met
from kontrast.metrics.evaluation import mixed
from kontrast.pages.sections import Found, read_json, with_interval

UNITS = ("patients", "studies", "images", "near_copies")


def audit_section(found: Found, classifiers: Mapping[str, str]) -> dict[str, Any]:
    """What splits share, what is unknown, what metadata alone score; a Classifier's groups and altered images.

    Args:
        found: the audit.
        classifiers: SHA-256 of their cards → name, to say whose groups they are.
    """
    audit = read_json(found.path, "audit.json")
    shared = [
        {"where": f"{name}: {' / '.join(row['splits'])}", **_units(row), "allowed": False}
        for name, pack in audit["packs"].items()
        for row in pack["between_splits"]
    ]
    for row in audit["between_packs"]:
        where = " / ".join(f"{p} {s}" for p, s in zip(row["packs"], row["splits"], strict=True))
        shared.append({"where": where, **_units(row), "allowed": row["splits"] == ["train", "train"]})
    floors = [
        {"pack": pack, "from": name} | _macro(entry["scores"])
        for pack, baselines in audit["metadata"].items()
        if "reason" not in baselines
        for name, entry in baselines.items()
    ]
    classifier = audit["classifier"] or {}
    notes = [
        f"{name}: {pack['repeated_images']:,} images are copies of others"
        for name, pack in audit["packs"].items()
        if pack["repeated_images"]
    ]
    notes += [f"{pack}: no floor ({b['reason']})" for pack, b in audit["metadata"].items() if "reason" in b]
    warnings: list[str] = []
    groups: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []
    altered: list[dict[str, Any]] = []
    for pack, entry in classifier.items():
        notes += [f"{pack}, {split}: {one['text']} of the Classifier" for split, one in entry["overlap"].items()]
        if "reason" in entry["subgroups"]:
            notes.append(f"{pack}: no scores by subgroup ({entry['subgroups']['reason']})")
            continue
        warnings += [f"{pack}: {flattered}" for flattered in [met_in_training(entry)] if flattered]
        scored, left_out = _subgroups(pack if len(classifier) > 1 else "", entry["subgroups"])
        groups += scored
        notes += [f"{_not_scored(reason)}: {', '.join(names)}" for reason, names in left_out.items()]
        where = f"{pack}: " if len(classifier) > 1 else ""
        rates += _rates(where, entry.get("rates") or {})
        altered += _altered(where, entry.get("alterations") or {}, found.card.config.get("replicates", 0))
    whose = next((classifiers[p.sha256] for p in found.card.parents if p.sha256 in classifiers), None)
    return {
        "name": found.name, "whose": whose, "shared": shared, "floors": floors, "groups": groups, "notes": notes,
        "policy": audit["label_policy"], "rates": rates, "altered": altered, "warnings": warnings,
    }  # fmt: skip


def met_in_training(entry: Mapping[str, Any]) -> str:
    """What must stand beside a Classifier's figures on a test split that it has met; empty where none is known to be.

    Args:
        entry: of a Pack in an audit's `classifier`.
    """
    overlap = entry["overlap"].get("test") or {}
    if not met({"overlap": overlap}):
        return ""
    return f"the test images are no test of this Classifier ({overlap['text']}), so its figures on them flatter"


def _units(row: Mapping[str, Any]) -> dict[str, int | None]:
    return {unit: row.get(unit) for unit in UNITS}  # version 0.1.0 did not look for near-copies


def _subgroups(pack: str, found: Mapping[str, Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """The subgroups that were scored, and the others by the reason why not."""
    rows: list[dict[str, Any]] = []
    left_out: dict[str, list[str]] = {}
    for attribute, groups in found.items():
        for group, scores in groups.items():
            name = f"{pack + ', ' if pack else ''}{attribute} {group}"
            if "macro" in scores:
                rows.append({"group": name, "n": scores["rows"]} | _macro(scores))
            else:
                left_out.setdefault(scores["reason"], []).append(f"{name} ({scores['rows']})")
    return rows, left_out


def _not_scored(reason: str) -> str:
    """`Fewer than 50 images: not scored` in the order in which names may follow."""
    why, _, what = reason.partition(": ")
    return f"{what.capitalize()}, {why}" if what else reason.capitalize()


def _macro(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The mean of a table, and of how many findings it is: not of all where one has a single class there."""
    found = scores["macro"]["auroc"]
    replicates = (scores.get("interval") or {}).get("replicates", 0)
    return {"of": len(found.get("findings", [])), "auroc": _marked(found, replicates)}


def _marked(mean: Mapping[str, Any] | None, replicates: int) -> dict[str, str]:
    """A mean with its interval, and a mark where many replicates lacked a finding."""
    return with_interval(mean) | {"mark": MARK if mixed(mean or {}, replicates) else ""}


def _rates(where: str, found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each way of parting: the under-diagnosis rate of each group, and the gaps of every rate."""
    tables = []
    for kind, rates in found.items():
        if "reason" in rates:
            continue
        under = rates["underdiagnosis"]
        gaps = [
            {"rate": rate.upper(), "finding": finding, "gap": with_interval(one["gap"])}
            | {"between": " over ".join(one["gap"]["between"]), "clear": (one["gap"]["low"] or 0) > 0}
            | {"small": ", ".join(group for group, its in one["groups"].items() if "apart" in its)}
            | {"reason": one["gap"].get("reason", "")}
            for rate in ("tpr", "fpr")
            for finding, one in rates[rate].items()
            if one["gap"]["value"] is not None
        ]
        tables.append(
            {
                "kind": f"{where}{kind}",
                "groups": [
                    {"group": group, "n": one["n"], "rate": with_interval(one), "apart": one.get("apart", "")}
                    for group, one in under.get("groups", {}).items()
                ],
                "means": under.get("means"),
                "gap": with_interval(under.get("gap")),
                "gaps": gaps,
                "none": [
                    f"{finding} ({rate.upper()})"
                    for rate in ("tpr", "fpr")
                    for finding, one in rates[rate].items()
                    if one["gap"]["value"] is None
                ],
            }
        )
    return tables


def _altered(where: str, found: Mapping[str, Mapping[str, Any]], replicates: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{where}{name}", "reason": one.get("reason"), "n": one.get("n")}
        | {key: _marked(one.get(key), replicates) for key in ("intact", "altered", "difference")}
        for name, one in found.items()
    ]
