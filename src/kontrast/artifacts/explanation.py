"""An explanation's results in words, for the terminal and for pages."""

from collections.abc import Mapping
from typing import Any

from kontrast import console
from kontrast.artifacts.wording import decimal
from kontrast.metrics.finding import FEW

ALIKE = 0.5
"""Rank correlation from which on maps count as alike: half way between nothing in common and the same order."""


def say_explanation(results: Mapping[str, Any]) -> None:
    """Print what the maps score, 80 columns wide, and how they fared in the checks."""
    drawn = sum(len(found["pictures"]) for found in results.values())
    scored = {name: found for name, found in results.items() if found["n"]}
    if not scored:
        console.say(f"{drawn} pictures; no true place is known of any finding, so whether the maps are right is open.")
    else:
        _say_scores(results, scored)
    if none := empty_maps(results):
        console.say(f"  {none}")
    rows = {name: checks(found) for name, found in results.items()}
    held = [column for column in CHECKS if any(column in row for row in rows.values())]
    if held:
        table = [
            [name, *(row[c]["text"] + row[c]["mark"] if c in row else "" for c in held)] for name, row in rows.items()
        ]
        console.table("How alike are the maps? (rank correlation)", ["finding", *(SHORT[c] for c in held)], table)
        for text in judged(results):
            console.say(f"  {text}")


def _say_scores(results: Mapping[str, Any], scored: Mapping[str, Any]) -> None:
    def both(found: Mapping[str, Any], score: str) -> list[str]:
        return [interval(found[score]), _guess(found, score)]

    rows = [[name, str(found["n"]), *both(found, "hit"), *both(found, "iou")] for name, found in scored.items()]
    title = "Do the maps point at the finding? (beside: the centre/its usual place would)"
    console.table(title, ["finding", "n", "hit", "guess", "IoU", "guess"], rows)
    seen = [f"{name} {truly}" for name, found in scored.items() if (truly := true_positives(found))]
    if seen:
        console.say(f"  Of those that the classifier calls positive: {'; '.join(seen)}.")
    for text in filter(None, [few_cases(scored), *thresholds(scored)]):
        console.say(f"  {text}")
    others = [name for name in results if name not in scored]
    if others:
        console.say(f"  No true place is known of {', '.join(others)}: pictures only.")


def few_cases(results: Mapping[str, Any]) -> str:
    """The findings whose place is known in few patients, and in how many; empty where there are enough."""
    counts = {name: found.get("patients") or found["n"] for name, found in results.items() if found["n"]}
    few = [f"{name} {n}" for name, n in counts.items() if n < FEW]
    if not few:
        return ""
    return f"Fewer than {FEW} patients with a known place, so these intervals cover less than 95 %: {', '.join(few)}."


def empty_maps(results: Mapping[str, Any]) -> str:
    """How many maps show nothing, by finding; empty where each shows something."""
    none = [
        f"{name} {found['empty']:,} of {found['explained']:,}" for name, found in results.items() if found.get("empty")
    ]
    if not none:
        return ""
    return f"Empty maps, where no place raises the output: {', '.join(none)}."


def interval(score: Mapping[str, Any]) -> str:
    """`.45 (.40–.51)`; a dash for what is undefined; no interval without width, as that of one image, is shown."""
    low, high = score["low"], score["high"]
    between = "" if low is None or low == high else f" ({_short(low)}–{_short(high)})"
    return _short(score["value"]) + between


def _guess(found: Mapping[str, Any], score: str) -> str:
    return "/".join(
        _short(found[f"{prior}_{score}"]["value"]) for prior in ("centre", "usual") if f"{prior}_{score}" in found
    )


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".removeprefix("0")


def true_positives(found: Mapping[str, Any]) -> str:
    """`n 12, hit .50 (…), IoU .20 (…)` of the true positives; empty where there are none."""
    seen = found.get("true_positives")
    if not seen or not seen["n"]:
        return ""
    return f"n {seen['n']}, hit {interval(seen['hit'])}, IoU {interval(seen['iou'])}"


def thresholds(scored: Mapping[str, Any]) -> list[str]:
    """Where the thresholds of IoU come from, findings of one origin together."""
    origins: dict[str, list[str]] = {}
    for name, found in scored.items():
        rule = found.get("threshold")
        if rule:
            origins.setdefault(rule["chosen"], []).append(f"{name} {rule['value']:g}")
    return [f"IoU at a share of the map's maximum, {origin}: {', '.join(names)}." for origin, names in origins.items()]


CHECKS = {
    "weights": "random weights", "between": "two images", "labels": "permuted labels", "repeat": "other seeds",
}  # fmt: skip
"""What maps are compared with, and its words."""

FEWEST = 5
"""Images that a verdict asks for: the interval of one has no width, and that of two hardly any."""

SHORT = {"weights": "random", "between": "2 images", "labels": "permuted", "repeat": "seeds"}

MARK = "!"
"""Stands beside a likeness that is on the wrong side of ALIKE, or may be."""


def checks(found: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The rank correlations of a finding's checks in words: key of CHECKS → `text`, `range`, `mark`."""
    sanity, repeats = found.get("sanity"), found.get("repeat")
    scores: dict[str, Mapping[str, Any]] = {}
    if sanity:
        scores |= {"weights": sanity["weights"][-1]["rank"], "between": sanity["between_images"]["rank"]}
        scores |= {"labels": sanity["labels"]["rank"]} if "labels" in sanity else {}
    if repeats:
        scores["repeat"] = repeats["rank"]
    return {
        key: {"text": decimal(score["value"]), "range": _ends(score), "mark": MARK if failed(key, score) else ""}
        for key, score in scores.items()
    }


def failed(key: str, score: Mapping[str, Any]) -> bool:
    """Whether maps are too alike under random weights or labels, or too unlike over seeds; False where undefined."""
    if score["value"] is None or key == "between":
        return False
    end = score["low" if key == "repeat" else "high"]
    end = score["value"] if end is None else end
    return bool(end < ALIKE) if key == "repeat" else bool(end >= ALIKE)


def judged(results: Mapping[str, Any]) -> list[str]:
    """What the checks of all findings came to, a sentence for each check."""
    said = []
    meaning = {
        "weights": ("depend on the weights", "may say little of the weights"),
        "labels": ("depend on the labels", "may say little of the labels"),
        "repeat": ("agree over the seeds", "change with the seed, so one of them alone is not worth reading"),
    }
    for key, (good, bad) in meaning.items():
        rows = {name: row[key] for name, found in results.items() if key in (row := checks(found))}
        untold = {name for name, found in results.items() if _images(found, key) < FEWEST}
        sound = [name for name, one in rows.items() if one["text"] != "–" and not one["mark"] and name not in untold]
        wrong = [name for name, one in rows.items() if one["mark"] and name not in untold]
        absent = [name for name, one in rows.items() if one["text"] == "–" or name in untold]
        parts = [f"maps of {', '.join(sound)} {good}"] if sound else []
        parts += [f"those of {', '.join(wrong)} {bad} ({MARK})"] if wrong else []
        parts += [f"undefined for {', '.join(absent)} (flat maps, or too few images)"] if absent else []
        if parts:
            said.append(f"{CHECKS[key].capitalize()}: {'; '.join(parts)}.")
    return said


def _images(found: Mapping[str, Any], key: str) -> int:
    """On how many images a check of a finding was made; enough where an older card does not say."""
    return int((found.get("repeat" if key == "repeat" else "sanity") or {}).get("images", FEWEST))


def _ends(score: Mapping[str, Any]) -> str:
    return "" if score["low"] is None else f"[{decimal(score['low'])}, {decimal(score['high'])}]"
