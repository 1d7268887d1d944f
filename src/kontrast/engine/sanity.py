"""Whether heat maps depend on what they claim to explain: the weights, the labels, and not on chance.

    weights       the classifier's layers made random one after the other, the head first (Adebayo et al. 2018,
                  arXiv:1810.03292, cascading): the maps should lose their likeness
    labels        a head, or a whole network, of permuted labels: the maps should differ (data randomisation there)
    repeats       other classifiers of the same findings, of other seeds: the maps should agree

What likeness means is seen beside that of two different images' maps of the same classifier, which share nothing but
its habits (`between_images`).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.engine.explaining import Rule, Sample, maps_of
from kontrast.engine.features import embed
from kontrast.engine.finetuning import start_head
from kontrast.engine.linear import fit_path
from kontrast.metrics.localisation import iou, mean_interval, pointing_game
from kontrast.metrics.similarity import rank_correlation, ssim
from kontrast.nn.encoders import build_encoder

CHECKED, SIDE = 50, 64
"""Most images per finding that are compared, and the side in pixels at which maps are."""

TRAINING_IMAGES = 2000
"""Most images of train on which heads are fitted for the check of labels."""

APART = 0x5EED0000
"""Added to seeds of random weights: with the seed alone they would be those that `random` classifiers started from."""

PENALTY = 0.1
"""L2 penalty of these heads, the same for true and for permuted labels."""


class Compared:
    """The maps of one finding on the images to compare on, and means of likeness with them.

    Args:
        pack: whose images.
        chosen: the sample; its first rows are used.
        kind: of maps.
        device: where to compute.
        replicates: of the bootstrap, by patient.
        seed: of the bootstrap.
    """

    def __init__(
        self, pack: Pack, chosen: Sample, *, kind: str, device: torch.device, replicates: int, seed: int
    ) -> None:
        self.pack, self.chosen, self.kind, self.device = pack, chosen, kind, device
        self.rows = chosen.rows[:CHECKED]
        self.seed, self._draws = seed, {"replicates": replicates, "seed": seed}
        self.patients = pack.table["patient_id"].to_numpy()[self.rows] if pack.patients_known else None

    def maps(self, classifier: Classifier) -> np.ndarray:
        """(n, SIDE, SIDE)."""
        return maps_of(classifier, self.pack, self.chosen.finding, self.rows, self.kind, self.device, SIDE)[0]

    def likeness(self, *pairs: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        """Mean rank correlation and SSIM of maps, over pairs and then images, with intervals by patient."""
        found = {}
        for name, measure in (("rank", rank_correlation), ("ssim", ssim)):
            each = np.stack([measure(first, second) for first, second in pairs])  # (pairs, n)
            known = ~np.isnan(each)
            total, count = np.where(known, each, 0).sum(0), known.sum(0)
            mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
            reason = "one of the two maps is flat in every image"
            found[name] = mean_interval(mean, self.patients, reason=reason, **self._draws)
        return found

    def shuffled(self, maps: np.ndarray) -> dict[str, Any]:
        """Likeness of each map with that of the next image of another patient: what any two maps share."""
        people = np.arange(len(self.rows)) if self.patients is None else self.patients
        order = np.arange(len(people))
        other = [next((int(j) for j in np.roll(order, -i - 1) if people[j] != people[i]), -1) for i in order]
        if -1 in other:
            nothing = {"value": None, "low": None, "high": None, "reason": "fewer than two patients"}
            return {"rank": nothing, "ssim": nothing}
        return self.likeness((maps, maps[other]))


def layers(classifier: nn.Module) -> dict[str, list[str]]:
    """A classifier's layers from the input to the head: name → the keys of its weights and statistics.

    Norms belong to the layer before them, and what comes before the first block (a ViT's positions) to the embedding.
    """
    found: dict[str, list[str]] = {}
    for key in classifier.state_dict():
        part, *inner = key.split(".")
        name = part if part == "head" else ".".join(inner[:2]) if inner[0] in ("features", "blocks") else inner[0]
        before = next(reversed(found), None)
        own = name.rpartition(".")[2]
        if before is not None and (own.startswith(("norm", "bn")) or before in ("cls_token", "pos_embed")):
            if before in ("cls_token", "pos_embed"):
                found[name] = found.pop(before)  # these have no layer of their own
            else:
                name = before
        found.setdefault(name, []).append(key)
    return found


def cascade(classifier: Classifier, seed: int) -> Iterator[tuple[str, Classifier]]:
    """The classifier with ever more layers made random, from the head to the input: (the last layer made so, it).

    The same object each time. Random is what a fresh network has: its initialisation, and norms without statistics.

    Args:
        classifier: not changed.
        seed: of the random weights.
    """
    broken = copy.deepcopy(classifier)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(APART + seed)
        fresh = Classifier(build_encoder(classifier.spec), classifier.spec, classifier.findings).state_dict()
    state: dict[str, Tensor] = broken.state_dict()  # shares its tensors with the network
    for name, keys in reversed(layers(classifier).items()):
        for key in keys:
            if key in fresh:  # a kNN head keeps images' features, which are no weights to be made random
                state[key].copy_(fresh[key])
        yield name, broken


def no_heads(classifier: Classifier, pack: Pack, *, of_finding: bool) -> str | None:
    """Why heads cannot be refitted for the check of labels; None where they can."""
    absent = [name for name in classifier.findings if name not in pack.findings]
    if not of_finding:
        return "this kind of map knows no head"
    if absent:
        return f"this Pack has no labels of {', '.join(absent)}"
    return None if len(pack.rows("train")) else "this Pack has no training images"


def refitted_heads(
    classifier: Classifier, pack: Pack, policy: Mapping[str, Any], *, seed: int, device: torch.device, batch_size: int
) -> tuple[Classifier, Classifier]:
    """The classifier's encoder with a linear head fitted on the labels of train, and with one on permuted labels.

    The rows of labels are permuted among the images, so that each finding keeps its prevalence and its company.

    Args:
        classifier: its encoder is shared, not copied.
        pack: labelled with its findings.
        policy: `uncertain` and `blank`.
        seed: draws images and permutes labels.
        device: where to compute features.
        batch_size: images at a time.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(pack.rows("train"))[:TRAINING_IMAGES])
    columns = [pack.findings.index(name) for name in classifier.findings]
    labels = pack.labels(rows)[:, columns]
    y, w = targets(labels, classifier.findings, str(policy["uncertain"]), str(policy["blank"]), rng)
    x = embed(classifier.encoder, classifier.spec, pack, rows, device, batch_size)
    order = rng.permutation(len(rows))
    made = []
    for true, weight in ((y, w), (y[order], w[order])):
        head = fit_path(x, true, weight, penalties=(PENALTY,))[0]
        one = Classifier(classifier.encoder, classifier.spec, classifier.findings)
        start_head(one.linear, head.weight, head.bias)
        made.append(one.to(device).eval())
    return made[0], made[1]


def checks(
    compared: Compared, classifier: Classifier, others: Sequence[Classifier],
    labels: tuple[Classifier, Classifier] | None, rule: Rule, *, sanity: bool,
) -> dict[str, Any]:  # fmt: skip
    """The checks of one finding, ready for JSON: `sanity` if asked, `repeat` where there are other classifiers.

    Args:
        compared: where.
        classifier: whose maps are in question.
        others: classifiers of other seeds.
        labels: classifiers of true and of permuted labels, from `refitted_heads` or else; None where there are none.
        rule: by which maps are scored.
        sanity: whether weights and labels are made random.
    """
    found = {"sanity": check(compared, classifier, labels)} if sanity else {}
    return found | ({"repeat": repeat(compared, [classifier, *others], rule)} if others else {})


def check(compared: Compared, classifier: Classifier, labels: tuple[Classifier, Classifier] | None) -> dict[str, Any]:
    """Likeness of the classifier's maps with those of random weights, of other images, and of permuted labels."""
    own = compared.maps(classifier)
    found: dict[str, Any] = {
        "images": len(compared.rows),
        "between_images": compared.shuffled(own),
        "weights": [
            {"layer": name} | compared.likeness((own, compared.maps(broken)))
            for name, broken in cascade(classifier, compared.seed)
        ],
    }
    if labels is not None:
        true, permuted = (compared.maps(one) for one in labels)
        found["labels"] = compared.likeness((true, permuted))
    return found


def repeat(compared: Compared, classifiers: Sequence[Classifier], rule: Rule) -> dict[str, Any]:
    """How alike the maps of several classifiers are, ready for JSON: the mean over their pairs, and each one's scores.

    Args:
        compared: where.
        classifiers: two or more that know the finding.
        rule: by which the maps are scored.
    """
    maps = [compared.maps(one) for one in classifiers]
    pairs = [(maps[i], maps[j]) for i in range(len(maps)) for j in range(i)]
    about = {"classifiers": len(maps), "images": len(compared.rows)}
    return about | compared.likeness(*pairs) | _scores(compared, classifiers, rule)


def _scores(compared: Compared, classifiers: Sequence[Classifier], rule: Rule) -> dict[str, Any]:
    """Each classifier's mean hit rate and IoU on the images whose place is known."""
    chosen, rows = compared.chosen, compared.rows[: compared.chosen.scored]
    if chosen.places is None or not len(rows):
        return {"hits": [], "ious": []}
    places = chosen.places(rows)
    heats = [maps_of(c, compared.pack, chosen.finding, rows, compared.kind, compared.device)[0] for c in classifiers]
    return {
        "hits": [float(pointing_game(heat, places).mean()) for heat in heats],
        "ious": [float(iou(heat, places, rule.threshold).mean()) for heat in heats],
    }
