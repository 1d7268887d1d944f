"""`kontrast explain`: where a Classifier looks, and whether the finding is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import choose, require, to_dict, verb
from kontrast.errors import DataError, UsageError
from kontrast.options import Device, ImagesAtATime, Replicates, at_least
from kontrast.types import SPLITS, Outcome

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from kontrast.artifacts.classifier import Classifier
    from kontrast.artifacts.pack import Pack
    from kontrast.engine.explaining import Explained, Sample

TABLE, PICTURES = "localisation.csv", "overlays"


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """What is explained, and how it is scored."""

    finding: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """Findings to explain; none given: each of the Classifier's that the split has a positive image of."""
    split: Literal["train", "val", "test"] = "test"
    """Whose images."""
    images: int = 8
    """Pictures per finding, drawn at random from its positive images, not the most confident: those would flatter."""
    limit: int = 500
    """Most images per finding to score, where masks or boxes are known."""
    threshold: float = 0.5
    """Share of a map's maximum from which on it counts as the marked region, in (0, 1], for IoU."""
    replicates: Replicates = 1000
    batch_size: ImagesAtATime = 64
    device: Device = "auto"
    seed: int = 0
    """Fixes which images are drawn, and the bootstrap."""

    def __post_init__(self) -> None:
        at_least(self, images=0, limit=1, replicates=0, batch_size=1)
        require(0 < self.threshold <= 1, f"--threshold should lie in (0, 1], got {self.threshold}.", "Try 0.5.")


@verb
def explain(
    classifier: Path,
    pack: Path,
    /,
    *,
    out: Path,
    config: Annotated[ExplainConfig, Parameter(name="*")] = ExplainConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Grad-CAM maps and, where masks or boxes are known, how well they point at the finding.

    Writes a picture per image (the image beside itself under the heat, the true place outlined) to overlays/, and
    localisation.csv: finding, image_id, prob, hit, iou. The card has the pointing game's hit rate and the mean IoU by
    finding, with intervals by patient, beside what pointing at the centre of every image would give.

    Args:
        classifier: a Classifier.
        pack: a labelled Pack.
        out: folder for the pictures and scores.
        config: what to explain.
        dry_run: say what would be done, write nothing.

    Raises:
        UsageError: a finding that the Classifier or the Pack does not know.
        DataError: the split has no image with any of the findings.
        ArtifactError: an input is damaged or of another kind.
        OutputError: `out` is in use.
    """
    from kontrast.artifacts.card import claim, parent, read_card, write_card
    from kontrast.artifacts.classifier import load_classifier
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.engine.explaining import sample
    from kontrast.engine.precision import resolve_device

    data = Pack.open(Path(pack))
    model, _, seen = load_classifier(Path(classifier))
    rows = data.rows(config.split)
    findings = _findings(model.findings, data, config)
    parents = [parent("classifier", classifier), parent("pack", pack)]
    device = resolve_device(config.device)
    taken = claim(out, "explanation", config=to_dict(config), parents=parents, dry_run=dry_run)
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("explain", Path(out), "already done", read_card(out).content["summary"])
    samples = [
        sample(data, name, rows, images=config.images, limit=config.limit, seed=config.seed) for name in findings
    ]
    if dry_run:
        total = sum(len(chosen.rows) for chosen in samples)
        console.say(f"Would explain {', '.join(findings)} on {total:,} images of {config.split}.")
        return Outcome("explain", Path(out), "planned", {"findings": list(findings), "images": total})
    about = _say_about(model, data, seen.overlap(data, rows).text, config)
    with locked(taken.folder):
        results, files = _explain(model, data, samples, taken.folder, device, config)
        summary = {
            name: {"n": found["n"], "hit": found["hit"]["value"], "iou": found["iou"]["value"]}
            for name, found in results.items()
        }
        content = about | {"findings": results, "summary": {"findings": summary}}
        write_card(taken.folder, "explanation", config=to_dict(config), parents=parents, content=content, files=files)
    _say(results)
    return Outcome("explain", Path(out), "done", content["summary"])


def _say_about(model: "Classifier", pack: "Pack", overlap: str, config: ExplainConfig) -> dict[str, Any]:
    """What must stand beside the maps: said, and kept in the card."""
    from kontrast.engine.explaining import map_shape

    console.say(f"Overlap of the split with training: {overlap}.")
    places = map_shape(model)
    if min(places) < 4:
        console.warn(
            f"the maps of this encoder have {places[0]}×{places[1]} places: they can point no finer than that."
        )
    return {
        "method": "Grad-CAM on the last map before pooling",
        "encoder": model.spec.name,
        "map": list(places),
        "split": config.split,
        "threshold": config.threshold,
        "order": "drawn at random from the images labelled 1, those with a known place first",
        "patients_known": pack.patients_known,
        "overlap": overlap,
    }


def _findings(known: tuple[str, ...], pack: "Pack", config: ExplainConfig) -> tuple[str, ...]:
    """The findings to explain."""
    labels = pack.labels(pack.rows(config.split))
    positive = {name for i, name in enumerate(pack.findings) if (labels[:, i] == 1).any()}
    for name in config.finding:
        choose(name, known, "--finding")
        if name not in pack.findings:
            raise UsageError(
                f"This Pack has no labels of {name} (it has: {', '.join(pack.findings) or 'none'}).",
                fix="Prepare the Pack from a table with this column; `--column` renames them.",
            )
    findings = tuple(dict.fromkeys(config.finding)) or tuple(name for name in known if name in positive)
    if not any(name in positive for name in findings):
        held = ", ".join(f"{name} {len(pack.rows(name)):,}" for name in SPLITS)
        raise DataError(
            f"No image of the split {config.split!r} is labelled 1 for {', '.join(findings or known)} "
            f"(images by split: {held}).",
            fix="Name another --split, or a Pack with labels of what this Classifier knows.",
        )
    return findings


def _explain(
    model: "Classifier",
    pack: "Pack",
    samples: "list[Sample]",
    folder: Path,
    device: "torch.device",
    config: ExplainConfig,
) -> tuple[dict[str, Any], list[str]]:
    """Explain every sample: results by finding, and the names of the files written."""
    import pandas as pd

    from kontrast.artifacts.disk import atomic, disk_errors
    from kontrast.engine.explaining import summarise

    tables: list[pd.DataFrame] = []
    results: dict[str, Any] = {}
    files = [TABLE]
    total = sum(len(chosen.rows) for chosen in samples)
    with disk_errors(folder), console.progress("explain", total, "images") as line:
        (folder / PICTURES).mkdir(exist_ok=True)
        for chosen in samples:
            table, pictures = _explain_one(model, pack, chosen, folder, config, device, line)
            tables.append(table)
            patients = pack.table["patient_id"].to_numpy()[chosen.rows] if pack.patients_known else None
            found = summarise(chosen, table, patients, replicates=config.replicates, seed=config.seed)
            results[chosen.finding] = found | {"pictures": pictures}
            files += pictures
    with atomic(folder / TABLE) as stream:
        whole = pd.concat(tables, ignore_index=True)[["finding", "image_id", "prob", "hit", "iou"]]
        stream.write(whole.to_csv(index=False, lineterminator="\n").encode())
    return results, files


def _explain_one(
    model: "Classifier", pack: "Pack", chosen: "Sample", folder: Path, config: ExplainConfig,
    device: "torch.device", line: console.Progress,
) -> "tuple[pd.DataFrame, list[str]]":  # fmt: skip
    """Explain one finding's sample: a row an image, and the pictures drawn."""
    import pandas as pd

    from kontrast.artifacts.pack import slug
    from kontrast.engine.explaining import explain_sample

    records, pictures = [], []
    explained = explain_sample(
        model, pack, chosen, threshold=config.threshold, device=device, batch_size=config.batch_size
    )
    for position, one in enumerate(explained):
        image_id = pack.table["image_id"].iloc[one.row]
        if position < config.images:
            pictures.append(f"{PICTURES}/{slug(chosen.finding)}-{image_id}.png")
            _draw(pack, one, folder / pictures[-1])
        records.append({"finding": chosen.finding, "image_id": image_id, "prob": one.probability} | one.scores)
        line.update()
    columns = ["finding", "image_id", "prob", "hit", "iou", "centre_hit", "centre_iou", "area"]
    return pd.DataFrame(records, columns=columns), pictures


def _draw(pack: "Pack", one: "Explained", path: Path) -> None:
    import numpy as np

    from kontrast.artifacts.disk import atomic
    from kontrast.saliency.overlay import overlay, png

    image = pack.images([one.row])[0]
    if image.dtype != np.uint8:
        image = (image >> 8).astype(np.uint8)
    with atomic(path) as stream:
        stream.write(png(overlay(image, one.heat, one.place)))


def _say(results: dict[str, Any]) -> None:
    def shown(score: dict[str, Any]) -> str:
        return "–" if score["value"] is None else f"{score['value']:.2f}"

    def both(found: dict[str, Any], name: str) -> list[str]:
        score = found[name]
        between = "" if score["low"] is None else f" ({score['low']:.2f}–{score['high']:.2f})"
        return [shown(score) + between, shown(found[f"centre_{name}"])]

    drawn = sum(len(found["pictures"]) for found in results.values())
    scored = {name: found for name, found in results.items() if found["n"]}
    if not scored:
        console.say(f"{drawn} pictures; no true place is known of any finding, so whether the maps are right is open.")
        return
    rows = [[name, str(found["n"]), *both(found, "hit"), *both(found, "iou")] for name, found in scored.items()]
    title = "Do the maps point at the finding? (beside: what pointing at the centre would give)"
    console.table(title, ["finding", "n", "hit", "centre", "IoU", "centre"], rows)
    others = [name for name in results if name not in scored]
    if others:
        console.say(f"  No true place is known of {', '.join(others)}: pictures only.")
