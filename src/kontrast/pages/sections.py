"""The parts of a report about training and audits, and what all parts share: files in, plain values out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kontrast.artifacts.card import Card, verify_files
from kontrast.artifacts.classifier import PERMUTED
from kontrast.artifacts.wording import decimal, ends
from kontrast.pages import figures
from kontrast.pages.drawing import COLOURS, Look, data_uri


class Found(NamedTuple):
    """An artifact on the page: a name that no other of its kind has, its folder, card and the SHA-256 of the card."""

    name: str
    path: Path
    card: Card
    sha: str

    @property
    def shas(self) -> frozenset[str]:
        """Of this card and of those that a Pack had before it grew."""
        return frozenset((self.sha, *(entry["sha256"] for entry in self.card.content.get("history", []))))

    @property
    def permuted(self) -> bool:
        """Whether it is a Classifier of permuted labels, which serves a check of heat maps and is none to be shown."""
        return bool(self.card.content.get(PERMUTED)) and self.card.kind == "classifier"


def read_json(folder: Path, name: str) -> Any:
    """A JSON file of an artifact, as its card vouches for it.

    Raises:
        ArtifactError: the file is missing or was changed.
    """
    verify_files(folder, [name])
    return json.loads((folder / name).read_text(encoding="utf-8"))


def with_interval(found: Mapping[str, Any] | None) -> dict[str, str]:
    """`{"text": ".874", "range": "[.812, .921]"}`; a dash for what is undefined."""
    found = found or {}
    known = found.get("value") is not None and found.get("low") is not None
    return {
        "text": decimal(found.get("value")),
        "range": ends(found) if known else "",
    }


def picture(found: Found, name: str, most: int | None = None) -> str | None:
    """A picture of an artifact as a data address, encoded anew so that nothing but its pixels comes along."""
    import cv2

    path = found.path / name
    if name not in found.card.files or not path.is_file():
        return None
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    return None if image is None else data_uri(image, most=most)


def history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, thinned to about 400 for drawing; the last and those with scores stay."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    step = max(1, -(-len(lines) // 400))
    return [
        line for place, line in enumerate(lines, 1) if (len(lines) - place) % step == 0 or SCORED.keys() & line.keys()
    ]


WATCHED = {"feature_std_ratio": "spread of features (1: whole sphere)", "effective_rank": "effective rank of features"}
"""What is drawn of a pretraining run beside its loss."""

SCORED = {"probe_auroc": "macro AUROC of a linear probe on val", "knn_auroc": "macro AUROC of kNN on val"}
"""What is drawn of a run that was watched with labels."""


def training_section(encoders: Sequence[Found], seen: Mapping[str, Look]) -> dict[str, Any]:
    """How each encoder was pretrained, its curves and its views."""
    runs = {one.name: lines for one in encoders if (lines := history(one.path))}
    rows = []
    for one in encoders:
        network, summary, plan = (one.card.content.get(key) or {} for key in ("encoder", "summary", "plan"))
        spread, rank = (summary.get(key) for key in ("feature_std_ratio", "effective_rank"))
        rows.append(
            {
                "name": one.name,
                "method": _method(one),
                "network": network.get("name"),
                "size": network.get("size"),
                "images": summary.get("images"),
                "patients": summary.get("patients"),
                "epochs": _number(summary.get("epochs"), 3),
                "steps": summary.get("steps"),
                "batch": plan.get("batch_size"),
                "images_seen": summary.get("images_seen"),
                "loss": _number(summary.get("loss"), 3),
                "chance": _number(summary.get("below_chance"), 3),
                "spread": _number(spread, 2),
                "rank": _number(rank, 3),
                "watched": _watched(one.name, summary),
                "views": picture(one, "views.png"),
            }
        )
    return {"rows": rows, "curves": _curves(runs, {one.name: _method(one) for one in encoders}, seen),
            "several": len({_method(one) for one in encoders}) > 1}  # fmt: skip


def _watched(name: str, summary: Mapping[str, Any]) -> str | None:
    """What labels had to do with an encoder: they watched it, or chose its weights too."""
    watch = summary.get("watch")
    if not watch:
        return None
    policy = ", ".join(f"{key} = {value}" for key, value in watch["label_policy"].items())
    by = (
        f"a probe on {watch['train_images']:,} labelled images of train, scored on {watch['val_images']:,} of val "
        f"({policy}; {watch['overlap']})"
    )
    if "chosen" in summary:
        return f"{name} was chosen by labels, {summary['chosen']}: {by}. Its scores with few labels rest on these too."
    return f"{name} was watched by {by}; no label had a part in its weights."


FINETUNED = {"loss": "loss", "val_auroc": "macro AUROC on validation"}
"""What is drawn of a fine-tuning."""

CURVES = 6
"""Fine-tunings whose curves can be told from each other."""


def finetunings(classifiers: Sequence[Found]) -> tuple[list[Found], str]:
    """The fine-tunings whose curves are drawn, and in words which they are: empty for all.

    Where they are many, those with the most labels; where these are still many, those of one seed.
    """
    every = [one for one in classifiers if history(one.path)]
    runs, words = every, []
    for option, choice, meaning in (("label_fraction", max, "with the most labels"), ("seed", min, "of one seed")):
        if len(runs) > CURVES:
            chosen = choice(one.card.config[option] for one in runs)
            runs = [one for one in runs if one.card.config[option] == chosen]
            words.append(meaning)
    shown = runs[: len(COLOURS)]
    return shown, f"Of {len(every)} fine-tunings {len(shown)} {', '.join(words)}" if len(shown) < len(every) else ""


def finetuning_section(shown: Sequence[Found], which: str, seen: Mapping[str, Look]) -> dict[str, Any]:
    """The curves of fine-tunings, from `finetunings`."""
    curves = figures.training({one.name: history(one.path) for one in shown}, FINETUNED, seen)
    return {"curves": curves, "which": which}


def _method(encoder: Found) -> str:
    return str((encoder.card.content.get("summary") or {}).get("method") or "unknown")


def _curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    method_of: Mapping[str, str],
    seen: Mapping[str, Look],
) -> list[Any]:
    """Losses, features and scores over the steps. Losses of different methods get scales of their own."""
    scored = [drawing] if (drawing := figures.training(runs, SCORED, seen)) else []
    methods = dict.fromkeys(method_of[name] for name in runs)
    if len(methods) < 2:
        return [figures.training(runs, {"loss": "loss"} | WATCHED, seen), *scored]
    losses = {
        name: [{"step": line["step"], method_of[name]: line.get("loss")} for line in lines]
        for name, lines in runs.items()
    }
    return [
        figures.training(losses, {method: f"loss of {method}" for method in methods}, seen),
        figures.training(runs, WATCHED, seen),
        *scored,
    ]


def _number(value: float | None, digits: int) -> str | None:
    """A number to some significant digits, never in powers of ten."""
    if value is None:
        return None
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
