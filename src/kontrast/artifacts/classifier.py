"""Classifier artifacts: an encoder with one linear output per finding, and what makes its outputs usable.

Beside `card.json`: `classifier.safetensors` (`encoder.…`, `head.weight`, `head.bias`) and `seen.csv`. The card holds
the encoder's spec, the findings, thresholds that were chosen on validation and are frozen since, and calibration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from kontrast.artifacts.card import Card, Parent, read_card, verify_files, write_card
from kontrast.artifacts.safe import open_weights, write_weights
from kontrast.artifacts.seen import SEEN, Seen
from kontrast.errors import ArtifactError
from kontrast.metrics.calibration import corrected
from kontrast.nn.encoders import Encoder, EncoderSpec, build_encoder
from kontrast.nn.neighbours import Neighbours
from kontrast.types import PathLike

WEIGHTS = "classifier.safetensors"

PERMUTED = "permuted_labels"
"""Marks the card of a Classifier whose training labels were permuted: it knows nothing, and nothing may take it for
one that does."""


class Classifier(nn.Module):
    """An encoder and a head: findings that exclude nothing, one logit each.

    Args:
        encoder: the encoder; shared, not copied.
        spec: its description.
        findings: names, in the order of the logits.
        head: features → logits; a new linear one when left out.

    Attributes:
        calibration: what `engine.supervision.frozen` fitted on validation, from the card; empty: nothing. It corrects
            probabilities, never logits.
    """

    def __init__(
        self, encoder: Encoder, spec: EncoderSpec, findings: Sequence[str], head: Neighbours | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.spec, self.findings = encoder, spec, tuple(findings)
        self.head: nn.Module = nn.Linear(encoder.feature_dim, len(self.findings)) if head is None else head
        self.calibration: Mapping[str, Any] = {}

    @property
    def linear(self) -> nn.Linear:
        """The head, where it is linear."""
        if not isinstance(self.head, nn.Linear):
            raise TypeError("the head of this classifier is kNN, which has no weights of its own")
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) normalised → (B, F) logits."""
        return self.head(self.encoder(x))

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (n, F), corrected by what was fitted on validation; as they are where nothing was."""
        fits = self.calibration.get("findings", {})
        slopes, intercepts = (
            np.array([fits.get(name, {}).get(key, default) for name in self.findings])
            for key, default in (("slope", 1.0), ("intercept", 0.0))
        )
        return corrected(probabilities, slopes, intercepts)


def save_classifier(
    folder: PathLike,
    classifier: Classifier,
    *,
    thresholds: Mapping[str, Mapping[str, Any]],
    calibration: Mapping[str, Any] | None = None,
    config: Mapping[str, Any],
    parents: Sequence[Parent] = (),
    content: Mapping[str, Any] | None = None,
    seen: Seen,
) -> Card:
    """Finish a Classifier artifact.

    Args:
        folder: claimed beforehand.
        classifier: its weights are written.
        thresholds: finding → `value` (None where none could be chosen), `rule`, `reason` (why none); every finding.
        calibration: `method`, and `findings`: finding → `slope` and `intercept` of the logit, fitted on validation;
            empty: probabilities are used as they are. Thresholds are on the corrected scale.
        config: what was asked for.
        parents: the encoder and the Pack that it was made from.
        content: more to keep (label policy, summary …).
        seen: whom encoder and head have met.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    if set(thresholds) != set(classifier.findings):
        raise ValueError(f"thresholds are for {sorted(thresholds)}, findings are {sorted(classifier.findings)}")
    folder = Path(folder)
    write_weights(folder / WEIGHTS, classifier.state_dict())
    seen.save(folder)
    described = {
        "encoder": asdict(classifier.spec),
        "feature_dim": classifier.encoder.feature_dim,
        "findings": list(classifier.findings),
        "thresholds": {name: dict(thresholds[name]) for name in classifier.findings},
        "calibration": dict(calibration or {}),
        **_kept_images(classifier),
        **(content or {}),
    }
    return write_card(folder, "classifier", config=config, parents=parents, content=described, files=[WEIGHTS, SEEN])


def _kept_images(classifier: Classifier) -> dict[str, Any]:
    """What a card says of a kNN head: the sizes that its weights need."""
    if not isinstance(classifier.head, Neighbours):
        return {}
    return {"neighbours": {"k": classifier.head.k, "images": len(classifier.head.get_buffer("bank"))}}


def refuse_permuted(card: Card, folder: Path) -> None:
    """Refuse a Classifier of permuted labels.

    Raises:
        ArtifactError: it is one.
    """
    if card.content.get(PERMUTED):
        raise ArtifactError(
            f"{folder} was trained on permuted labels (finetune --permute-labels): it knows nothing.",
            fix="Name a Classifier of true labels. `kontrast explain --permuted` alone takes this one.",
        )


def load_classifier(path: PathLike, *, permuted: bool = False) -> tuple[Classifier, Card, Seen]:
    """A classifier on the CPU in evaluation mode, its card, and whom its weights have met.

    Args:
        path: its folder.
        permuted: whether it may be one of permuted labels.

    Raises:
        ArtifactError: no classifier there, a damaged one, or one of permuted labels that is not asked for.
    """
    folder = Path(path)
    card = read_card(folder, "classifier")
    if not permuted:
        refuse_permuted(card, folder)
    verify_files(folder, [WEIGHTS, SEEN])
    spec = EncoderSpec(**card.content["encoder"])
    network, findings = build_encoder(spec), card.content["findings"]
    near = card.content.get("neighbours")
    head = Neighbours.empty(near["images"], network.feature_dim, len(findings), near["k"]) if near else None
    classifier = Classifier(network, spec, findings, head)
    try:
        classifier.load_state_dict(open_weights(folder / WEIGHTS))
    except RuntimeError:
        raise ArtifactError(
            f"{folder / WEIGHTS} does not fit the network that its card describes.",
            fix="Restore the folder from a copy, or train the classifier again.",
        ) from None
    classifier.calibration = card.content.get("calibration") or {}  # protocol 1 had none
    return classifier.eval(), card, Seen.load(folder)
