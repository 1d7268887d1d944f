"""The scores of an evaluation in words: how figures are written, and what must stand beside them anywhere."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from kontrast.metrics.evaluation import mixed
from kontrast.types import COMPETITION_FINDINGS, by_reason, counted

SHOWN = {
    "auroc": "AUROC", "ap": "average precision", "f1": "F1", "kappa": "Cohen's kappa", "sensitivity": "sensitivity",
    "specificity": "specificity",
}  # fmt: skip
"""The scores that people are shown, and their words."""

MORE = {
    "mcc": "MCC", "balanced_accuracy": "balanced accuracy", "ppv": "PPV", "npv": "NPV",
    "ppv_at_prevalence": "PPV at the stated prevalence", "npv_at_prevalence": "NPV at the stated prevalence",
    "sensitivity_at_90_specificity": "sensitivity at 90 % specificity",
    "sensitivity_at_95_specificity": "at 95 %",
    "specificity_at_90_sensitivity": "specificity at 90 % sensitivity",
    "specificity_at_95_sensitivity": "at 95 %",
    "brier": "Brier", "ece": "ECE, bins of equal width", "ece_mass": "of equal mass",
    "calibration_slope": "calibration slope", "calibration_intercept": "intercept",
    "calibration_in_the_large": "in the large",
}  # fmt: skip
"""The other scores, which a page folds away, and their words."""

MARK = "*"
"""Stands beside the interval of a mean of which many replicates lacked a finding."""

MARKED = f"{MARK} Many replicates lack a finding: these intervals cover less than 95 %."
"""Stands beneath a table with that mark."""


NO_WIDTH = "[–]"
"""Stands for an interval without width: its ends would look like certainty."""


CHOSEN_HERE = "val chose the thresholds, calibration and settings of this Classifier: these figures flatter"
"""Stands beside the scores of the split that a Classifier's thresholds come from."""

FEW_CHOSE = 10
"""Positive images of validation below which it is said of a threshold how few it rests on."""


MET = " (met in training)"
"""Stands behind the name of an evaluation wherever its figures stand beside others'."""


def met(scores: Mapping[str, Any]) -> bool:
    """Whether patients or images that were scored are known to be among those that training has met."""
    overlap = scores.get("overlap")
    counts = (
        [overlap.get(unit) for unit in ("patients", "images", "near_copies")] if isinstance(overlap, Mapping) else []
    )
    return any(isinstance(n, int) and n > 0 for n in counts)


def thresholds_from(scores: Mapping[str, Any], roles: Container[str]) -> str:
    """Where the thresholds of an evaluation come from; empty where there are none.

    Args:
        scores: its `scores.json`.
        roles: of the parents of its card: a Classifier's thresholds are validation's, others are as they were given.
    """
    if all(entry.get("threshold") is None for entry in scores["findings"].values()):
        return ""
    if "classifier" not in roles:
        return "Thresholds are as given; whether they were chosen on these cases the files do not tell."
    if CHOSEN_HERE in (scores.get("note") or ""):
        return "Thresholds were chosen on these very cases."
    return "Thresholds were chosen beforehand on validation, not on these cases."


def trained_with(scores: Mapping[str, Any]) -> str:
    """The label policy of training, where it is not that of scoring: `; trained with uncertain = ones`."""
    policy = scores.get("trained_with") or {}
    other = [f"{name} = {value}" for name, value in policy.items() if value != scores["label_policy"].get(name)]
    return f"; trained with {', '.join(other)}" if other else ""


def beneath(scores: Mapping[str, Any]) -> list[str]:
    """What metadata alone reach on the same cases."""
    floor = scores.get("floor")
    if not floor or "reason" in floor:
        return [f"No floor of metadata: {floor['reason']}."] if floor else []
    macro = mean_with_ends(floor["macro"], scores)
    said = [f"Metadata alone ({', '.join(floor['columns'])}): macro AUROC {macro} on these cases."]
    pairs = {name: (entry["auroc"], floor["findings"].get(name)) for name, entry in scores["findings"].items()}
    ours = scores["macro"]["auroc"]
    if ours.get("findings") == floor["macro"].get("findings"):  # else of other findings, and not to be compared
        pairs["the macro"] = ours, floor["macro"]
    lower = [
        f"{name} ({decimal(found['value'])} against {decimal(under['value'])})"
        for name, (found, under) in pairs.items()
        if under and None not in (found["value"], under["value"]) and found["value"] < under["value"]
    ]
    return [*said, f"AUROC lies below that of metadata alone: {', '.join(lower)}."] if lower else said


def calibrated(scores: Mapping[str, Any]) -> list[str]:
    """What a correction of the probabilities changed, over the findings that it was fitted for, and for which not."""
    if not scores.get("calibration"):
        return []
    fits, before = scores["calibration"]["findings"], scores["before_calibration"]["findings"]
    done = [name for name in before if not fits[name]["reason"] and before[name]["brier"]["value"] is not None]
    said = _uncalibrated({name: one["reason"] for name, one in fits.items() if one["reason"]})
    if not done:
        return said

    def mean(entries: Mapping[str, Any], score: str) -> str:
        return decimal(float(np.mean([entries[name][score]["value"] for name in done])))

    after, of = scores["findings"], done[0] if len(done) == 1 else f"means over {counted(len(done), 'finding')}"
    return [
        f"Probabilities are calibrated on validation ({scores['calibration']['method']}): Brier "
        f"{mean(before, 'brier')} before, {mean(after, 'brier')} after; calibration error {mean(before, 'ece_mass')} "
        f"before, {mean(after, 'ece_mass')} after ({of}).",
        *_harmed(before, after, done),
        *said,
    ]


def _uncalibrated(reasons: Mapping[str, str]) -> list[str]:
    """Why probabilities were left as they are, in one line; of findings with few images these, in short."""
    few: dict[str, list[str]] = {}
    others = dict(reasons)
    for name, reason in reasons.items():
        if counts := re.fullmatch(r"(\d+) positive and (\d+) negative images: (.+)", reason):
            few.setdefault(counts[3], []).append(f"{name} {counts[1]}/{counts[2]}")
            del others[name]
    parts = [f"{', '.join(facts)} ({meaning}: positive/negative images)" for meaning, facts in few.items()]
    parts += [by_reason(others)] if others else []
    return [f"Not calibrated: {'; '.join(parts)}."] if parts else []


def _harmed(before: Mapping[str, Any], after: Mapping[str, Any], done: Sequence[str]) -> list[str]:
    """The findings whose Brier score the correction made worse, by as much as the three printed decimals show."""
    pairs = {name: [decimal(table[name]["brier"]["value"]) for table in (before, after)] for name in done}
    worse = [f"{name} ({old} before, {new} after)" for name, (old, new) in pairs.items() if float(new) > float(old)]
    return [f"The correction made Brier worse on these cases: {', '.join(worse)}."] if worse else []


DIFFERENCES = ("AUROC [95 %]", "p", "Holm", "AP [95 %]")
"""What is shown of paired differences."""


def differences(scores: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Paired differences `against` another system in words, by finding and then of the macro, marked as a mean is."""
    against = scores["against"]
    held = sum(entry["auroc"]["value"] is not None for entry in against["findings"].values())
    entries = against["findings"] | {f"macro of {held}": against["macro"]}
    return {
        name: dict(
            zip(
                DIFFERENCES,
                (
                    mean_with_ends(e["auroc"], scores),
                    decimal(e["auroc"]["p"]),
                    decimal(e["auroc"].get("p_holm")),
                    mean_with_ends(e["ap"], scores),
                ),
                strict=True,
            )
        )
        for name, e in entries.items()
    }


def cases(scores: Mapping[str, Any]) -> list[str]:
    """What a case is, where it is not simply an image, and what each view alone gives."""
    if scores.get("by") == "study":
        pooled = "highest" if scores["over_views"] == "max" else "mean"
        return [
            f"A case is a study ({scores['rows']:,} of {scores['images']:,} images): its score is the {pooled} of its "
            "images', it is positive where one of them is; thresholds and calibration are those of images."
        ]
    return [
        f"{name} ({table['rows']:,} images): macro AUROC {mean_with_ends(table['macro']['auroc'], table)}, over "
        f"{counted(len(table['macro']['auroc']['findings']), 'finding')}."
        for name, table in scores.get("views", {}).items()
    ]


def means(scores: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The means of an evaluation by what they are called: each says of how many findings it is."""
    macro, steady, five = (scores.get(name) for name in ("macro", "steady", "competition"))
    named = {f"macro of {len(macro['auroc'].get('findings', []))}": macro} if macro else {}
    if steady and steady["auroc"]["value"] is not None:
        named[f"macro of {len(steady['auroc']['findings'])} steady"] = steady
    if five and len(scores["findings"]) > len(COMPETITION_FINDINGS):
        named["macro of CheXpert's 5"] = five
    if len(scores["findings"]) > 1 and "micro" in scores:
        named["micro"] = scores["micro"]
    return named


def remarks(scores: Mapping[str, Any]) -> list[str]:
    """What must stand beside the table: why scores are undefined or weak, and what the means are of.

    Each reason comes once, with the findings that it is about.
    """
    about: dict[str, list[str]] = {}
    weak: dict[str, list[str]] = {}
    for name, entry in scores["findings"].items():
        weakness = entry.get("note") if entry["auroc"]["value"] is not None else None  # without a class no news
        for text in [*_reasons(entry), *([weakness] if weakness else [])]:
            meaning, facts = _parted(text)
            if facts:
                weak.setdefault(meaning, []).append(f"{name} ({facts})")
            else:
                about.setdefault(meaning, []).append(name)
    total = len(scores["findings"])
    said = [
        f"{'All findings' if len(names) == total > 1 else ', '.join(names)}: {text}." for text, names in about.items()
    ]
    said += [f"{meaning[:1].upper()}{meaning[1:]}: {', '.join(facts)}." for meaning, facts in weak.items()]
    shown = [entry.get(score) or {} for entry in scores["findings"].values() for score in SHOWN]
    if any(ends(found) == NO_WIDTH for found in shown):
        said.append(f"{NO_WIDTH}: every replicate is the same, so the width of the interval would say nothing.")
    return said + _of_thresholds(scores) + _of_means(scores)


def _of_thresholds(scores: Mapping[str, Any]) -> list[str]:
    """The findings whose threshold rests on few positive images of validation, and on how many."""
    rests = {name: entry.get("threshold_positives") for name, entry in scores["findings"].items()}
    few = [f"{name} ({n})" for name, n in rests.items() if n is not None and n < FEW_CHOSE]
    if not few:
        return []
    return [f"Thresholds that rest on fewer than {FEW_CHOSE} positive images of validation: {', '.join(few)}."]


def _parted(text: str) -> tuple[str, str]:
    """What a note or reason means, the same for many findings, and its facts about one: empty where there are none."""
    if lacking := re.fullmatch(r"no interval: (\d+ of \d+) replicates (.+)", text):
        return f"no interval, since many replicates {lacking[2]}", lacking[1]
    if few := re.fullmatch(r"(?:few|wide|high): (.+), so (.+)", text):  # "few: only 12 positive patients, so the …"
        return few[2], few[1]
    return text, ""


def _reasons(entry: Mapping[str, Any]) -> list[str]:
    """Why scores of a finding, or their intervals, are undefined; where it is not AUROC's, with the scores' names."""
    undefined: dict[str, list[str]] = {}
    for score, words in SHOWN.items():
        if entry[score]["value"] is None or entry[score].get("reason"):
            undefined.setdefault(entry[score].get("reason") or "undefined on these cases", []).append(words)
    texts = [
        reason if SHOWN["auroc"] in which else f"{reason} ({', '.join(which)})" for reason, which in undefined.items()
    ]
    limit = entry.get("threshold_reason")
    return [*texts, limit] if limit and limit not in undefined and entry["auroc"]["value"] is not None else texts


def _of_means(scores: Mapping[str, Any]) -> list[str]:
    """What the macro leaves out, and what its interval is worth."""
    said = []
    if absent := scores.get("not_learnt"):
        said.append(f"Not learnt by this classifier, so in no score and no mean: {by_reason(absent)}.")
    macro, total = scores["macro"]["auroc"], len(scores["findings"])
    held = macro.get("findings")
    if held is not None and 0 < len(held) < total:
        said.append(f"The macro AUROC is the mean over the {len(held)} of {total} findings for which it is defined.")
    said += _of_other_findings(scores["macro"])
    how = scores.get("interval") or {}
    replicates, unit = how.get("replicates", 0), "patient" if how.get("resampled") == "patients" else "case"
    if mixed(macro, replicates):
        text = (
            f"{MARK} In {macro['incomplete']:,} of {replicates:,} replicates a finding had no positive or no negative "
            f"{unit}, and the mean is over the others: this interval covers less than 95 % and may lie to one side."
        )
        steady = (scores.get("steady") or {}).get("auroc", {}).get("findings")
        rare = [name for name in held or [] if name not in (steady or [])]
        said.append(text + (f" The steady macro leaves out {', '.join(rare)}." if steady else ""))
    return said


def _of_other_findings(macro: Mapping[str, Any]) -> list[str]:
    """The means that are not over the findings of the mean AUROC in whose row they stand, and over which they are."""
    held = macro["auroc"].get("findings") or []
    words = SHOWN | {key: MORE[key] for key in ("mcc", "ppv", "npv", "brier", "calibration_slope")}
    others: dict[tuple[str, ...], list[str]] = {}
    for key, name in words.items():
        names = tuple((macro.get(key) or {}).get("findings") or ())
        if held and names and set(names) != set(held):
            others.setdefault(names, []).append(name)
    parts = []
    for names, which in others.items():
        absent = [f"without {', '.join(lost)}"] if (lost := [name for name in held if name not in names]) else []
        more = [f"with {', '.join(new)}"] if (new := [name for name in names if name not in held]) else []
        parts.append(f"{', '.join(which)} {len(names)} ({'; '.join(absent + more)})")
    return [f"Means over other findings than the {len(held)} of AUROC: {'; '.join(parts)}."] if parts else []


def decimal(value: float | None) -> str:
    """Three decimals as papers print shares: `.874`; a dash for what is undefined."""
    if value is None:
        return "–"
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text[:-1]


def labels_needed(one: Mapping[str, Any]) -> tuple[str, str]:
    """The share of labels that reaches a goal and what it saves: `12 % [8 %, more]`, `88 %`.

    Args:
        one: a row of `labels_saved.csv`, values as numbers or as the file has them.
    """

    def percent(value: Any) -> str:
        return "more" if value in (None, "") or float(value) != float(value) else f"{100 * float(value):.0f} %"

    if percent(one["fraction"]) == "more":
        return "not reached" if one["censored"] == "above" else "–", "–"
    less = one["censored"] == "below"
    ends = "" if no_interval(one) else f" [{percent(one['low'])}, {percent(one['high'])}]"
    share = f"{percent(one['fraction'])}{' or less' if less else ''}{ends}"
    return share, f"{'at least ' if less else ''}{percent(one['saved'])}"


def no_interval(one: Mapping[str, Any]) -> str:
    """Why a row of `labels_saved.csv` has no interval; empty where it has one."""
    # A file of version 0.1.0 has no reason, and an interval that took the runs for fixed: not shown.
    reason = one.get("reason", "the interval of version 0.1.0 took the runs for fixed")
    return str(reason) if reason and reason == reason else ""  # a CSV file's empty cell may be NaN


def with_ends(found: Mapping[str, Any]) -> str:
    """A score with its interval, where it has one: `.874 [.812, .921]`."""
    return f"{decimal(found['value'])} {ends(found)}".rstrip()


def mean_with_ends(found: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """`with_ends` of a mean, marked where many replicates of its table lacked a finding."""
    many = mixed(found, (scores.get("interval") or {}).get("replicates", 0))
    return with_ends(found) + (MARK if many and found.get("low") is not None else "")


def ends(found: Mapping[str, Any]) -> str:
    """A score's interval: `[.812, .921]`; `[–]` where every replicate is the same; empty where there is none."""
    if found.get("low") is None:
        return ""
    return NO_WIDTH if found["low"] == found["high"] else f"[{decimal(found['low'])}, {decimal(found['high'])}]"
