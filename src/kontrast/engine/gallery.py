"""The heat maps of an explanation: each finding's images explained, scored, checked, and some of them drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kontrast import console
from kontrast.artifacts.card import Card
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.disk import atomic, disk_errors
from kontrast.artifacts.pack import Pack, slug
from kontrast.engine.explaining import Explained, Rule, Sample, explain_sample, fix_rule, summarise
from kontrast.engine.sanity import Compared, checks
from kontrast.saliency.overlay import overlay, png

TABLE, PICTURES = "localisation.csv", "overlays"


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """What every finding is explained with.

    Attributes:
        model, card: the Classifier's.
        pack: whose images.
        kind: of maps.
        device: where to compute.
        others: Classifiers of other seeds, for repeatability.
        labels: two Classifiers whose maps are compared for the check of labels, of true and of permuted ones, or None.
        sanity: whether weights are made random for a check.
        images: pictures of each finding.
        limit: most images of each finding that are scored.
        threshold: share of a map's maximum for IoU; None: tuned on validation.
        batch_size: images at a time.
        replicates, seed: of the bootstrap.
    """

    model: Classifier
    card: Card
    pack: Pack
    kind: str
    device: torch.device
    others: Sequence[Classifier]
    labels: tuple[Classifier, Classifier] | None
    sanity: bool
    images: int
    limit: int
    threshold: float | None
    batch_size: int
    replicates: int
    seed: int


def write_gallery(run: Gallery, samples: Sequence[Sample], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Explain every sample: results by finding, and the names of the files written.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    tables: list[pd.DataFrame] = []
    results: dict[str, Any] = {}
    files = [TABLE]
    total = sum(len(chosen.rows) for chosen in samples)
    pack, draws = run.pack, {"replicates": run.replicates, "seed": run.seed}
    with disk_errors(folder), console.progress("explain", total, "images") as line:
        (folder / PICTURES).mkdir(exist_ok=True)
        for chosen in samples:
            rule = fix_rule(
                run.model, pack, chosen.finding, threshold=run.threshold, kind=run.kind, limit=run.limit,
                seed=run.seed, device=run.device, batch_size=run.batch_size,
            )  # fmt: skip
            table, pictures = _explain_one(run, chosen, rule, folder, line)
            tables.append(table)
            patients = pack.table["patient_id"].to_numpy()[chosen.rows] if pack.patients_known else None
            cutoff = (run.card.content["thresholds"].get(chosen.finding) or {}).get("value")
            found: dict[str, Any] = {"explained": len(table), "empty": int(table.pop("empty").sum())}
            found |= summarise(chosen, table, patients, cutoff=cutoff, **draws)
            found |= {"threshold": dict(rule.about)} if chosen.scored else {}
            if len(chosen.rows) and (run.sanity or run.others):
                compared = Compared(pack, chosen, kind=run.kind, device=run.device, **draws)
                found |= checks(compared, run.model, run.others, run.labels, rule, sanity=run.sanity)
            results[chosen.finding] = found | {"pictures": pictures}
            files += pictures
    with atomic(folder / TABLE) as stream:
        whole = pd.concat(tables, ignore_index=True)[["finding", "image_id", "prob", "hit", "iou"]]
        stream.write(whole.to_csv(index=False, lineterminator="\n").encode())
    return results, files


def _explain_one(
    run: Gallery, chosen: Sample, rule: Rule, folder: Path, line: console.Progress
) -> tuple[pd.DataFrame, list[str]]:
    """Explain one finding's sample: a row an image, and the pictures drawn."""
    records, pictures = [], []
    explained = explain_sample(
        run.model, run.pack, chosen, rule=rule, device=run.device, batch_size=run.batch_size, kind=run.kind
    )
    for position, one in enumerate(explained):
        image_id = run.pack.table["image_id"].iloc[one.row]
        if position < run.images:
            pictures.append(f"{PICTURES}/{slug(chosen.finding)}-{image_id}.png")
            _draw(run.pack, one, folder / pictures[-1])
        known = {"finding": chosen.finding, "image_id": image_id, "prob": one.probability, "empty": one.empty}
        records.append(known | one.scores)
        line.update()
    guesses = [f"{prior}_{score}" for prior in rule.priors for score in ("hit", "iou")]
    columns = ["finding", "image_id", "prob", "empty", "hit", "iou", *guesses, "area"]
    return pd.DataFrame(records, columns=columns), pictures


def _draw(pack: Pack, one: Explained, path: Path) -> None:
    image = pack.images([one.row])[0]
    if image.dtype != np.uint8:
        image = (image >> 8).astype(np.uint8)
    with atomic(path) as stream:
        stream.write(png(overlay(image, one.heat, one.place)))
