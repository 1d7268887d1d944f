"""The heat maps by name: which encoder has which, what each is called, and one way to make any."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kontrast.config import choose
from kontrast.errors import UsageError
from kontrast.nn.encoders import EncoderSpec
from kontrast.nn.neighbours import Neighbours
from kontrast.nn.vit import VisionTransformer
from kontrast.saliency.gradcam import Explainable, weigh_maps
from kontrast.saliency.rollout import rollout


@dataclass(frozen=True)
class Map:
    """A kind of heat map.

    Attributes:
        words: what it is, for people.
        of_finding: whether it differs from finding to finding.
    """

    words: str
    of_finding: bool = True


MAPS = {
    "gradcam": Map("Grad-CAM on the last map before pooling"),
    "gradcam++": Map("Grad-CAM++ on the last map before pooling"),
    "rollout": Map("attention rollout over all blocks, the same for every finding", of_finding=False),
}
"""The kinds, as `--map` names them."""


def choose_map(name: str, spec: EncoderSpec, head: nn.Module | None = None) -> tuple[str, str]:
    """The kind of map for an encoder and a head, and why.

    Args:
        name: a key of MAPS, or `auto`.
        spec: the encoder's.
        head: of the classifier; linear when left out.

    Raises:
        UsageError: a name that is none, or a map that this encoder or head does not have.
    """
    choose(name, ("auto", *MAPS), "--map")
    if name == "rollout" and not spec.is_vit:
        raise UsageError(
            f"--map rollout follows the attention of a Vision Transformer, and {spec.name} has none.",
            fix="Use gradcam or gradcam++.",
        )
    if name == "gradcam++" and spec.is_vit:
        raise UsageError(
            f"--map gradcam++ needs maps that are never negative, and the tokens of {spec.name} are of both signs.",
            fix="Use gradcam or rollout.",
        )
    if name == "gradcam++" and isinstance(head, Neighbours):
        raise UsageError(
            "--map gradcam++ needs an output that is linear in the last map, and this Classifier's head is kNN.",
            fix="Use gradcam, or a Classifier with a linear head (kontrast probe without --head knn).",
        )
    if name != "auto":
        return name, "as asked"
    if spec.is_vit:
        return "gradcam", f"of what {spec.name} has, the one that differs by finding; rollout does not"
    return "gradcam", f"the usual one for a CNN ({spec.name})"


def make_maps(
    classifier: Explainable, x: Tensor, finding_index: int | Tensor, size: int, kind: str = "gradcam"
) -> tuple[Tensor, Tensor]:
    """Heat maps of one finding per image, and the logits.

    Args:
        classifier: in evaluation mode.
        x: (B, 1, H, W) normalised images.
        finding_index: which logit is explained: one for all images, or (B,).
        size: side of the maps in pixels.
        kind: a key of MAPS that the encoder has.

    Returns:
        (B, size, size) float32 in [0, 1], and (B, F) logits.

    Raises:
        ValueError: the classifier is in training mode: batch norm would mix the images.
    """
    if classifier.training:
        raise ValueError("Heat maps need a classifier in evaluation mode: call .eval() first.")
    with torch.no_grad():
        maps = classifier.encoder.feature_maps(x)
        logits = classifier.head(classifier.encoder.pool(maps))
    if kind == "rollout":
        assert isinstance(classifier.encoder, VisionTransformer)  # `choose_map` let nothing else through
        return rollout(classifier.encoder, x, size), logits
    return weigh_maps(classifier, maps, finding_index, (size, size), plus=kind == "gradcam++"), logits
