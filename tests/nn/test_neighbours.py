"""The kNN head votes as the function does, and is saved and loaded like any head."""

import numpy as np
import torch

from helpers import make_pack
from kontrast.artifacts.claims import claim
from kontrast.artifacts.classifier import Classifier, load_classifier, save_classifier
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.engine.linear import knn
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.nn.neighbours import Neighbours


def problem(seed: int = 0, n: int = 40):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    y = (rng.random((n, 3)) < 0.4).astype(np.float32)
    w = (rng.random((n, 3)) < 0.8).astype(np.float32)
    return x, y, w


def test_votes_are_those_of_the_function() -> None:
    x, y, w = problem()
    w[:, 2] = 0
    w[0, 2] = 1  # hardly ever among the nearest: then the prevalence speaks
    query = problem(1, 9)[0]
    head = Neighbours(x, y, w, 5)
    got = head(torch.from_numpy(query)).double().sigmoid().numpy()
    np.testing.assert_allclose(got, np.clip(knn(x.astype(float), y, w, query, 5), 1e-6, 1 - 1e-6), atol=2e-5)
    assert Neighbours(x, y, w, 99).k == 40


def test_a_classifier_keeps_its_neighbours(tmp_path) -> None:
    pack = Pack.open(make_pack(tmp_path / "p", n=20, size=16))
    spec = EncoderSpec("resnet18", 16)
    network = build_encoder(spec, seed=0)
    rng = np.random.default_rng(0)
    bank = rng.normal(size=(12, network.feature_dim))
    head = Neighbours(bank, rng.random((12, 2)) < 0.5, np.ones((12, 2)), 3)
    classifier = Classifier(network, spec, pack.findings, head).eval()
    claim(tmp_path / "c", "classifier", config={})
    limits = {f: {"value": 0.5, "rule": "f1", "reason": None} for f in pack.findings}
    seen = Seen.of(pack, pack.rows("train"), "train")
    save_classifier(tmp_path / "c", classifier, thresholds=limits, config={}, seen=seen)
    again, card, _ = load_classifier(tmp_path / "c")
    x = torch.rand(4, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), classifier(x))
    assert card.content["neighbours"] == {"k": 3, "images": 12}
