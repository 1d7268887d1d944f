import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kontrast.artifacts.card import read_card, write_card
from kontrast.artifacts.classifier import Classifier, load_classifier, save_classifier
from kontrast.artifacts.seen import Seen
from kontrast.errors import ArtifactError
from kontrast.nn.encoders import EncoderSpec, build_encoder

FINDINGS = ("Edema", "Pleural Effusion", "Fracture")
THRESHOLDS = {
    "Edema": {"value": 0.31, "rule": "f1", "reason": None},
    "Fracture": {"value": None, "rule": "f1", "reason": "no positives in validation"},
    "Pleural Effusion": {"value": 0.5, "rule": "f1", "reason": None},
}


@pytest.fixture
def made(tmp_path):
    spec = EncoderSpec("resnet18", 32, mean=0.3, std=0.2)
    torch.manual_seed(0)
    classifier = Classifier(build_encoder(spec, seed=1), spec, FINDINGS)
    save_classifier(
        tmp_path / "c", classifier, thresholds=THRESHOLDS, config={"loss": "bce"},
        content={"label_policy": "zeros"}, seen=Seen.nothing(),
    )  # fmt: skip
    return tmp_path / "c", classifier


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "c").mkdir()


def test_round_trip(made):
    folder, classifier = made
    again, card, seen = load_classifier(folder)
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), classifier.eval()(x))
    assert (again.findings, again.spec, again.training) == (FINDINGS, classifier.spec, False)
    assert len(seen) == 0
    assert card.content["thresholds"] == THRESHOLDS
    assert list(card.content["thresholds"]) == list(FINDINGS)
    assert (card.content["calibration"], card.content["label_policy"]) == ({}, "zeros")


def test_the_head_is_linear_in_the_features(made):
    _, classifier = made
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        features = classifier.eval().encoder(x)
        expected = features @ classifier.head.weight.T + classifier.head.bias
        torch.testing.assert_close(classifier(x), expected)
    assert expected.shape == (2, len(FINDINGS))


def test_every_finding_needs_a_threshold_or_a_reason(made, tmp_path):
    with pytest.raises(ValueError, match="thresholds"):
        save_classifier(tmp_path, made[1], thresholds={"Edema": {}}, config={}, seen=Seen.nothing())


def test_weights_that_do_not_fit_the_card(made):
    folder, _ = made
    state = load_file(folder / "classifier.safetensors")
    state["head.weight"] = state["head.weight"][:2].clone()
    save_file(state, folder / "classifier.safetensors")
    card = read_card(folder)
    write_card(folder, "classifier", config=card.config, content=card.content, files=list(card.files))
    with pytest.raises(ArtifactError, match="does not fit"):
        load_classifier(folder)


def test_an_encoder_is_no_classifier(tmp_path):
    write_card(tmp_path, "encoder", config={})
    with pytest.raises(ArtifactError, match="Expected a classifier"):
        load_classifier(tmp_path)


def test_calibration_comes_with_it_and_a_card_of_before_has_none(made, tmp_path):
    folder, classifier = made
    p = np.array([[0.2, 0.5, 0.9]])
    assert np.array_equal(load_classifier(folder)[0].calibrated(p), p)
    card = json.loads((folder / "card.json").read_text())
    assert card["protocol"] == 2
    old = {**card["content"]}
    del old["calibration"]  # as the first protocol might have had it
    (folder / "card.json").write_text(json.dumps(card | {"protocol": 1, "content": old}))
    assert np.array_equal(load_classifier(folder)[0].calibrated(p), p)
    (tmp_path / "new").mkdir()
    fits = {"method": "platt", "findings": {"Fracture": {"slope": 2.0, "intercept": -1.0}}}
    save_classifier(
        tmp_path / "new", classifier, thresholds=THRESHOLDS, calibration=fits, config={}, seen=Seen.nothing()
    )
    again = load_classifier(tmp_path / "new")[0]
    expected = 1 / (1 + np.exp(-(2 * np.log(0.9 / 0.1) - 1)))
    assert again.calibrated(p) == pytest.approx(np.array([[0.2, 0.5, expected]]), abs=1e-12)
