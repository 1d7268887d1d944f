"""The part of a report about where a classifier looks: scores, checks, and a gallery with its numbers."""

import csv
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from markupsafe import Markup

from kontrast.artifacts.card import verify_files
from kontrast.artifacts.explanation import CHECKS, checks, empty_maps, few_cases, judged, thresholds
from kontrast.artifacts.pack import slug
from kontrast.artifacts.wording import decimal
from kontrast.pages.drawing import COLOURS, FULL, GREY, canvas, clean, styled, svg
from kontrast.pages.sections import Found, picture, with_interval

OVERLAY_SIDE, SHOWN = 448, 4
"""Longest side of an overlay in pixels, and how many are shown of a finding."""

TABLE = "localisation.csv"


def explanation_section(found: Found, classifiers: Mapping[str, str]) -> dict[str, Any]:
    """Localisation scores beside those of guesses, the checks, and a few overlays of each finding.

    Args:
        found: the explanation.
        classifiers: SHA-256 of their cards → name, to say whose maps they are.
    """
    content = found.card.content
    each = _scores_of_images(found)
    rows = []
    for name, one in content["findings"].items():
        keys = ("hit", "centre_hit", "usual_hit", "iou", "centre_iou", "usual_iou", "hit_over_centre", "hit_over_usual")
        scores = {key: with_interval(one.get(key)) for key in keys}
        truly = one.get("true_positives") or {}
        scores["true_hit"], scores["true_iou"] = (with_interval(truly.get(key)) for key in ("hit", "iou"))
        shown = [
            {"uri": uri, "words": each.get(PurePosixPath(place).stem, "")}
            for place in one.get("pictures", [])[:SHOWN]
            if (uri := picture(found, place, OVERLAY_SIDE))
        ]
        rows.append({"name": name, "n": one["n"], "true_n": truly.get("n"), "pictures": shown} | scores)
    whose = next((classifiers[p.sha256] for p in found.card.parents if p.sha256 in classifiers), None)
    scored = {name: one for name, one in content["findings"].items() if one["n"]}
    return {
        "name": found.name, "classifier": whose, "findings": rows, "rules": thresholds(scored),
        "empty": empty_maps(content["findings"]), "few": few_cases(content["findings"]),
        "permuted": _permuted(content.get("permuted") or {}),
        "checks": _checks(content["findings"]), "judged": judged(content["findings"]),
        "cascade": cascade(sanity) if (sanity := _sanity(content)) else None,
        "usual": any("usual_hit" in one for one in content["findings"].values()),
        **{key: content[key] for key in ("method", "encoder", "map", "split", "order", "overlap")},
    }  # fmt: skip


def _permuted(about: Mapping[str, Any]) -> str:
    """What the maps of permuted labels are those of."""
    if about.get("trained") == "network":
        return (
            "a network trained as this one on permuted labels, which it fits with a macro AUROC of "
            f"{decimal(about['fit'])} on its own images"
        )
    return "a head fitted on permuted labels, on the same encoder"


def _checks(findings: Mapping[str, Any]) -> dict[str, Any]:
    """The table of checks: `heads`, and `rows` of a name and a cell for each head."""
    rows = {name: row for name, found in findings.items() if (row := checks(found))}
    held = [key for key in CHECKS if any(key in row for row in rows.values())]
    empty = {"text": "", "range": "", "mark": ""}
    return {
        "heads": [CHECKS[key] for key in held],
        "rows": [{"name": name, "cells": [row.get(key, empty) for key in held]} for name, row in rows.items()],
    }


def _sanity(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one["sanity"] for name, one in content["findings"].items() if "sanity" in one}


def _scores_of_images(found: Found) -> dict[str, str]:
    """What stands under each picture, by its file's name: an image may have several findings, each with its own."""
    if TABLE not in found.card.files:
        return {}
    verify_files(found.path, [TABLE])
    with (found.path / TABLE).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {f"{slug(row['finding'])}-{row['image_id']}": _words(row) for row in rows}


def _words(row: Mapping[str, str]) -> str:
    said = [f"p {decimal(float(row['prob']))}"]
    if row["hit"]:
        hit = float(row["hit"])
        said += [
            "hit" if hit == 1 else "miss" if decimal(hit) == ".000" else f"hit {decimal(hit)}",
            f"IoU {decimal(float(row['iou']))}",
        ]
    return ", ".join(said)


@styled
def cascade(sanity: Mapping[str, Mapping[str, Any]]) -> Markup:
    """How the maps' likeness falls as layers are made random: finding → `sanity` of an explanation."""
    layers = [step["layer"] for step in next(iter(sanity.values()))["weights"]]
    figure, (axes,) = canvas(FULL, 3.1)
    for number, (name, one) in enumerate(sanity.items()):
        values = [1.0] + [step["rank"]["value"] for step in one["weights"]]
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        colour, dashes = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
        axes.plot(*zip(*known, strict=True), marker="o", ms=3.5, lw=1.4, color=colour, ls=dashes, label=clean(name))
    axes.axhline(0, color=GREY, lw=0.9, ls=":")
    axes.set_xticks(range(len(layers) + 1), ["as trained", *layers], rotation=35, ha="right")
    axes.set_ylabel("rank correlation with\nthe maps as trained")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    names = ", ".join(map(clean, sanity))
    return svg(figure, f"Likeness of the maps as layers are made random, from the head to the input, for {names}")
