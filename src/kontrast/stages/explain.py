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
    import torch

    from kontrast.artifacts.card import Card
    from kontrast.artifacts.classifier import Classifier
    from kontrast.artifacts.pack import Pack

    _Permuted = tuple[Classifier, Card]


FITS = 0.9
"""AUROC on its own training images from which on a network of permuted labels counts as having learnt them."""


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """What is explained, and how it is scored."""

    finding: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    """Findings to explain; none given: each of the Classifier's that the split has a positive image of."""
    map: Literal["auto", "gradcam", "gradcam++", "rollout"] = "auto"
    """Kind of heat map: Grad-CAM (any encoder), Grad-CAM++ (CNNs with a linear head), attention rollout (Vision
    Transformers; it is the same for every finding)."""
    split: Literal["train", "val", "test"] = "test"
    """Whose images."""
    images: int = 8
    """Pictures per finding, drawn at random from its positive images, not the most confident: those would flatter."""
    limit: int = 500
    """Most images per finding to score, where masks or boxes are known."""
    threshold: float | Literal["auto"] = "auto"
    """Share of a map's maximum from which on it counts as the marked region, in (0, 1], for IoU; auto: for each
    finding the best on the validation split."""
    sanity: bool = False
    """Also check whether the maps depend on the weights (made random layer by layer) and on the labels (a head fitted
    on permuted ones, or --permuted)."""
    permuted: Path | None = None
    """A Classifier trained like this one but on permuted labels (`finetune --permute-labels`), for the check of labels
    with --sanity."""
    repeat: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    """Other Classifiers of the same findings, trained with other seeds: how alike are their maps?"""
    replicates: Replicates = 1000
    batch_size: ImagesAtATime = 64
    device: Device = "auto"
    seed: int = 0
    """Fixes which images are drawn, and the bootstrap."""

    def __post_init__(self) -> None:
        require(self.permuted is None or self.sanity, "--permuted is for the check of labels.", "Add --sanity.")
        at_least(self, images=0, limit=1, replicates=0, batch_size=1, seed=0)
        fits = self.threshold == "auto" or 0 < self.threshold <= 1
        require(fits, f"--threshold should be auto or lie in (0, 1], got {self.threshold}.", "Leave it out.")


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
    """Heat maps and, where masks or boxes are known, how well they point at the finding.

    Writes a picture per image (the image beside itself under the heat, the true place outlined) to overlays/, and
    localisation.csv: finding, image_id, prob, hit, iou. The card has the pointing game's hit rate and the mean IoU by
    finding, with intervals by patient, beside what two guesses that look at no image would give: the centre, and where
    the finding usually is. docs/explaining.md says what each number means.

    Args:
        classifier: a Classifier.
        pack: a labelled Pack.
        out: folder for the pictures and scores.
        config: what to explain.
        dry_run: say what would be done, write nothing.

    Raises:
        UsageError: a finding that the Classifier or the Pack does not know, or a map that its encoder does not have.
        DataError: the split has no image with any of the findings.
        ArtifactError: an input is damaged or of another kind.
        OutputError: `out` is in use.
    """
    from kontrast.artifacts.card import parent, read_card, write_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.classifier import load_classifier
    from kontrast.artifacts.explanation import say_explanation
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.engine.explaining import sample
    from kontrast.engine.gallery import Gallery, write_gallery
    from kontrast.engine.precision import resolve_device
    from kontrast.saliency.maps import choose_map

    data = Pack.open(Path(pack))
    model, card, seen = load_classifier(Path(classifier))
    rows = data.rows(config.split)
    findings = _findings(model.findings, data, config)
    kind, why = choose_map(config.map, model.spec, model.head)
    others, permuted = _others(findings, kind, config), _permuted(model, findings, config)
    parents = [parent("classifier", classifier), parent("pack", pack), *(parent("repeat", p) for p in config.repeat)]
    parents += [parent("permuted", config.permuted)] if config.permuted else []
    asked = to_dict(config) | {"repeat": len(config.repeat), "permuted": bool(config.permuted) or None}
    device = resolve_device(config.device)
    taken = claim(out, "explanation", config=asked, parents=parents, dry_run=dry_run)
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
    if config.map == "auto":
        console.decided("--map", kind, why)
    about = _say_about(model, data, seen.overlap(data, rows).text, kind, config)
    labels, checked = _label_check(model, card, data, kind, device, config, permuted)
    run = Gallery(
        model=model, card=card, pack=data, kind=kind, device=device, others=others, labels=labels, sanity=config.sanity,
        images=config.images, limit=config.limit, threshold=None if config.threshold == "auto" else config.threshold,
        batch_size=config.batch_size, replicates=config.replicates, seed=config.seed,
    )  # fmt: skip
    with locked(taken.folder):
        results, files = write_gallery(run, samples, taken.folder)
        summary = {
            name: {"n": found["n"], "hit": found["hit"]["value"], "iou": found["iou"]["value"]}
            for name, found in results.items()
        }
        content = about | checked | {"findings": results, "summary": {"findings": summary}}
        write_card(taken.folder, "explanation", config=asked, parents=parents, content=content, files=files)
    say_explanation(results)
    return Outcome("explain", Path(out), "done", content["summary"])


def _say_about(model: "Classifier", pack: "Pack", overlap: str, kind: str, config: ExplainConfig) -> dict[str, Any]:
    """What must stand beside the maps: said, and kept in the card."""
    from kontrast.engine.explaining import map_shape
    from kontrast.saliency.maps import MAPS

    console.say(f"Overlap of the split with training: {overlap}.")
    places = map_shape(model)
    if min(places) < 4:
        console.warn(
            f"the maps of this encoder have {places[0]}×{places[1]} places: they can point no finer than that."
        )
    if config.split == "val" and config.threshold == "auto":
        console.warn("thresholds are tuned on val, the very images that are scored: the IoU flatters.")
    return {
        "method": MAPS[kind].words,
        "encoder": model.spec.name,
        "map": list(places),
        "split": config.split,
        "threshold": config.threshold,
        "order": "drawn at random from the images labelled 1, those with a known place first",
        "patients_known": pack.patients_known,
        "overlap": overlap,
    }


def _others(findings: tuple[str, ...], kind: str, config: ExplainConfig) -> "tuple[Classifier, ...]":
    """The Classifiers of --repeat, each of which must know the findings and have the kind of map."""
    from kontrast.artifacts.classifier import load_classifier
    from kontrast.saliency.maps import choose_map

    models = tuple(load_classifier(path)[0] for path in config.repeat)
    for path, model in zip(config.repeat, models, strict=True):
        choose_map(kind, model.spec, model.head)
        missing = [name for name in findings if name not in model.findings]
        require(
            not missing,
            f"--repeat {path} does not know {', '.join(missing)}.",
            f"Name the findings that all know with --finding (it knows: {', '.join(model.findings)}).",
        )
    return models


def _permuted(model: "Classifier", findings: tuple[str, ...], config: ExplainConfig) -> "_Permuted | None":
    """The Classifier of --permuted, which must be one of permuted labels, and as this one else."""
    from kontrast.artifacts.classifier import PERMUTED, load_classifier

    if config.permuted is None:
        return None
    other, card, _ = load_classifier(config.permuted, permuted=True)
    require(
        bool(card.content.get(PERMUTED)),
        f"--permuted {config.permuted} was trained on its own labels.",
        "Make one of permuted labels with `kontrast finetune … --permute-labels` and the settings of this Classifier.",
    )
    require(
        other.spec.name == model.spec.name and set(findings) <= set(other.findings),
        f"--permuted {config.permuted} is a {other.spec.name} that knows {', '.join(other.findings)}; this is a "
        f"{model.spec.name} asked about {', '.join(findings)}.",
        "Train it with the settings of this Classifier, or name fewer findings with --finding.",
    )
    return other, card


def _label_check(
    model: "Classifier", card: "Card", pack: "Pack", kind: str, device: "torch.device", config: ExplainConfig,
    permuted: "_Permuted | None",
) -> "tuple[tuple[Classifier, Classifier] | None, dict[str, Any]]":  # fmt: skip
    """Two Classifiers, of true and of permuted labels, and what the card keeps of how they came about.

    None where the check is not asked for, or cannot be made.
    """
    from kontrast.engine.sanity import no_heads, refitted_heads
    from kontrast.saliency.maps import MAPS

    if permuted is not None:
        other, about = permuted
        fit = about.content["summary"]["fit"]
        console.say(f"Permuted labels: of a network that fits them with a macro AUROC of {fit:.3f} on its own images.")
        if fit < FITS:
            console.warn("it hardly fits them, so other maps say little: train it for more epochs.")
        return (model, other), {"permuted": {"trained": "network", "fit": fit}}
    if not config.sanity:
        return None, {}
    if why := no_heads(model, pack, of_finding=MAPS[kind].of_finding):
        console.warn(f"no check by permuted labels: {why}.")
        return None, {}
    if card.content.get("protocol") == "finetune":
        console.warn(
            "only a head is fitted on permuted labels, while this encoder was fine-tuned: for the whole check train "
            "another Classifier with `kontrast finetune --permute-labels` and name it with --permuted."
        )
    policy = card.content.get("label_policy") or {"uncertain": "zeros", "blank": "negative"}
    batch = config.batch_size
    made = refitted_heads(model, pack, policy, seed=config.seed, device=device, batch_size=batch)
    return made, {"permuted": {"trained": "head"}}


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
