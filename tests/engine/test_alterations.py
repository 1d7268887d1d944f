"""Images without borders and without lungs, and what is scored of them."""

import numpy as np
import pytest
import torch

from helpers import make_pack
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine import alterations
from kontrast.engine.features import predict
from kontrast.metrics.scores import macro_auroc
from kontrast.nn.encoders import EncoderSpec, build_encoder


def test_borders_are_counted_within_the_picture_not_its_padding() -> None:
    image = np.zeros((1, 20, 20), np.uint8)
    image[0, 5:15] = 100  # ten rows of picture, padding above and below
    kept = alterations.without_borders(image)[0]
    assert set(np.flatnonzero(kept.any(1))) == set(range(6, 14)) and set(np.flatnonzero(kept.any(0))) == set(
        range(2, 18)
    )
    assert (kept[6:14, 2:18] == 100).all()
    assert not alterations.without_borders(np.zeros((1, 8, 8), np.uint8)).any()


def test_masked_places_take_the_mean_of_the_rest_of_the_picture() -> None:
    image = np.zeros((1, 4, 4), np.uint8)
    image[0, :, :2] = 10, 30
    mask = np.zeros((1, 4, 4), bool)
    mask[0, 0, 0] = True
    out = alterations.without(image, mask)[0]
    assert out[0, 0] == round((3 * 10 + 4 * 30) / 7) and (out[0, 1:] == image[0, 0, 1:]).all()
    assert (out[1:] == image[0, 1:]).all() and image[0, 0, 0] == 10
    full = alterations.without(image, np.ones((1, 4, 4), bool))
    assert not full.any()


def test_altered_images_are_predicted_anew_and_compared_on_the_same_cases(tmp_path) -> None:
    pack = Pack.open(make_pack(tmp_path / "p", n=60, size=16, findings=("Left lung", "Bar"), masks=True, unclear=0.0))
    spec = EncoderSpec("resnet18", 16, stem="small", mean=pack.mean, std=pack.std)
    torch.manual_seed(0)
    classifier = Classifier(build_encoder(spec, seed=0), spec, pack.findings).eval()
    rows = pack.rows("test")
    truth, intact = pack.labels(rows), predict(classifier, pack, rows)
    found = alterations.score_alterations(
        classifier, pack, rows, truth, intact, torch.device("cpu"), replicates=10
    )  # fmt: skip
    masked = np.flatnonzero(pack.mask("Left lung", rows).any(axis=(1, 2)))
    assert found["lungs masked out"]["n"] == len(masked) < len(rows) == found["borders cropped"]["n"]
    images = alterations.without_borders(pack.images(rows))
    altered = predict(classifier, pack, rows, change=lambda given, part: images)
    entry = found["borders cropped"]
    assert not np.allclose(altered, intact)
    assert entry["altered"]["value"] == pytest.approx(macro_auroc(truth, altered), abs=1e-12)
    assert entry["difference"]["value"] == pytest.approx(
        entry["altered"]["value"] - entry["intact"]["value"], abs=1e-12
    )
    assert entry["interval"] == {"level": 0.95, "resampled": "patients", "replicates": 10}
    plain = Pack.open(make_pack(tmp_path / "plain", n=40, size=16))
    rows = plain.rows("test")
    none = alterations.score_alterations(
        classifier, plain, rows, plain.labels(rows), np.zeros((len(rows), 2)), torch.device("cpu"), replicates=0
    )
    assert none["lungs masked out"] == {"reason": "the Pack has no masks of lungs for these images"}


def test_masks_of_lungs_are_known_by_name_and_findings_are_none() -> None:
    class Named:
        mask_names = ("lungs", "heart", "Left lung", "right_lung", "Lung Opacity", "Lung Lesion")

    assert alterations.lung_masks(Named()) == ("lungs", "Left lung", "right_lung")
