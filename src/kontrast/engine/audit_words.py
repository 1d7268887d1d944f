"""What an audit found, in words for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from kontrast import console
from kontrast.artifacts.wording import MARK, MARKED, decimal, mean_with_ends, with_ends
from kontrast.engine.auditing import NEAR_COPIES, UNITS
from kontrast.types import counted


def say_audit(found: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Print it, 80 columns wide."""
    _say_shared(found)
    for name, entry in found["packs"].items():
        if entry["repeated_images"]:
            console.warn(f"{name}: of {counted(entry['repeated_images'], 'image')} there are copies.")
        if not entry["patients_known"]:
            console.warn(f"{name} names no patients: what its splits share of them is unknown.")
    if any(summary["shared"].values()):
        console.warn("what splits share makes a test too easy: train or test without it, or prepare the Packs anew.")
    for name, baselines in found["metadata"].items():
        if "reason" in baselines:
            console.say(f"{name}: no metadata baseline ({baselines['reason']}).")
            continue
        findings = next(iter(baselines.values()))["scores"]["findings"]
        table = [
            [
                f,
                str(e["positives"]),
                *(decimal(b["scores"]["findings"][f]["auroc"]["value"]) for b in baselines.values()),
            ]
            for f, e in findings.items()
        ]
        macros = [b["scores"]["macro"]["auroc"] for b in baselines.values()]
        table.append([f"macro of {_held(macros[0])}", "", *(decimal(one["value"]) for one in macros)])
        console.table(f"{name}: AUROC on test without looking at the image", ["finding", "pos", *baselines], table)
    policy = found["label_policy"]
    console.say(f"Labels: uncertain = {policy['uncertain']}, blank = {policy['blank']}.")
    for name, entry in (found["classifier"] or {}).items():
        _say_classifier(name, entry)


def _say_shared(found: Mapping[str, Any]) -> None:
    """What splits share: every pair within a Pack, and between Packs those that share or may share something."""
    units = (*UNITS, NEAR_COPIES)
    rows = [
        (f"{name}: {' / '.join(row['splits'])}", row)
        for name, pack in found["packs"].items()
        for row in pack["between_splits"]
    ]
    apart = 0
    for row in found["between_packs"]:
        if any(row[unit] != 0 for unit in units):
            pair = zip(row["packs"], row["splits"], strict=True)
            rows.append((" / ".join(f"{pack} {split}" for pack, split in pair), row))
        else:
            apart += 1
    table = [[title, *("?" if row[unit] is None else str(row[unit]) for unit in units)] for title, row in rows]
    console.table("Shared between splits (? = cannot be known)", ["", *UNITS, "near-copies"], table)
    if apart:
        console.say(f"Of different Packs, {counted(apart, 'pair')} of splits share nothing.")


def _held(mean: Mapping[str, Any]) -> int:
    """Of how many findings a macro is the mean: a small group has both classes of few."""
    return len(mean.get("findings", []))


def _say_classifier(name: str, entry: Mapping[str, Any]) -> None:
    for split, met in entry["overlap"].items():
        (console.warn if split == "test" and met["patients"] != 0 else console.say)(f"{name} {split}: {met['text']}.")
    if "reason" in entry["subgroups"]:
        console.say(f"{name}: no scores by subgroup ({entry['subgroups']['reason']}).")
        return
    table, small = [], 0
    for kind, groups in entry["subgroups"].items():
        for word, scores in groups.items():
            if "macro" not in scores:
                small += 1
                continue
            mean = scores["macro"]["auroc"]
            area = mean_with_ends(mean, scores)
            table.append([f"{kind}: {word}", str(scores["rows"]), str(_held(mean)), area])
    if table:
        columns = ["subgroup", "images", "findings", "AUROC [95 %]"]
        console.table(f"{name}: macro AUROC on test by subgroup", columns, table)
    _say_mark(table)
    if small:
        console.say(f"Too small to be scored: {counted(small, 'subgroup')}.")
    _say_rates(name, entry["rates"])
    _say_alterations(name, entry["alterations"])


def _say_mark(table: Sequence[Sequence[str]]) -> None:
    """What the mark means, beneath a table that has one."""
    if any(cell.endswith(MARK) for row in table for cell in row):
        console.say(MARKED)


def _say_rates(name: str, rates: Mapping[str, Any]) -> None:
    """The under-diagnosis rate of each group, and the gaps between groups that an interval sets apart from none."""
    table, clear = [], []
    for kind, found in rates.items():
        if "reason" in found:
            continue
        under = found["underdiagnosis"]
        for group, entry in under.get("groups", {}).items():
            table.append([f"{kind}: {group}", str(entry["n"]), with_ends(entry)])
        for rate in ("tpr", "fpr"):
            for finding, one in found[rate].items():
                gap = one["gap"]
                if gap["low"] is not None and gap["low"] > 0:
                    groups = " over ".join(gap["between"])
                    clear.append(f"{rate.upper()} of {finding} by {kind}: {with_ends(gap)} ({groups})")
    if table:
        means = next(f["underdiagnosis"]["means"] for f in rates.values() if "means" in f.get("underdiagnosis", {}))
        console.table(f"{name}: under-diagnosis rate ({means})", ["group", "n", "rate [95 %]"], table)
    for text in clear[:MOST]:
        console.warn(f"{name}: {text}.")
    if len(clear) > MOST:
        console.say(f"{name}: {len(clear) - MOST} more gaps in audit.json.")


MOST = 8
"""Gaps named on the terminal; with many findings and groups some are clear by chance."""


def _say_alterations(name: str, found: Mapping[str, Any]) -> None:
    table = [
        [f"{word}: {key}", str(one["n"]), mean_with_ends(one[key], one)]
        for word, one in found.items()
        if "reason" not in one
        for key in ("intact", "altered", "difference")
    ]
    if table:
        console.table(f"{name}: macro AUROC of altered images", ["", "n", "AUROC [95 %]"], table)
        _say_mark(table)
    for word, one in found.items():
        if "reason" in one:
            console.say(f"{name}, {word}: {one['reason']}.")
