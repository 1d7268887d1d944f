"""Does it learn: a probe on a pretrained encoder beats pixels and random weights.

On shapes found anywhere, in seconds; on generated radiographs, in minutes (fewer images teach too little).
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kontrast
from engine.shapes import SIZE, SmallEncoder, shape_pack
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.pack import Pack
from kontrast.nn.encoders import ENCODERS, EncoderSpec, build_encoder, normalise


def _auroc(pack, describe):
    train, test = pack.rows("train")[:200], pack.rows("test")
    x, y = (describe(pack.images(rows)) for rows in (train, test))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))
    probe.fit(x, pack.labels(train)[:, 0])
    return roc_auc_score(pack.labels(test)[:, 0], probe.decision_function(y))


def _features(encoder, spec):
    @torch.no_grad()
    def describe(images):
        return encoder.eval()(normalise(torch.from_numpy(images)[:, None], spec)).numpy()

    return describe


@pytest.mark.parametrize(
    ("method", "epochs"), [("simclr", 30), pytest.param("moco", 80, marks=pytest.mark.slow)], ids=["simclr", "moco"]
)
def test_a_probe_beats_pixels_and_random_weights(tmp_path, monkeypatch, method, epochs):
    monkeypatch.setitem(ENCODERS, "small", lambda spec: SmallEncoder())
    pack = Pack.open(shape_pack(tmp_path / "pack", n=1200))
    kontrast.pretrain(
        pack.path, out=tmp_path / "e", method=method, encoder="small", epochs=epochs, batch_size=64, lr=2e-3,
        precision="fp32",
    )  # fmt: skip
    encoder, spec, _ = load_encoder(tmp_path / "e")
    learnt = _auroc(pack, _features(encoder, spec))
    pixels = _auroc(pack, lambda images: images.reshape(len(images), -1) / 255)
    fresh = EncoderSpec("small", SIZE, mean=pack.mean, std=pack.std)
    random = [_auroc(pack, _features(build_encoder(fresh, seed=seed), fresh)) for seed in range(3)]
    assert learnt > max(pixels, np.max(random)) + 0.08


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "beaten"), [("grid", ("random",)), ("resnet18", ("random", "pixels"))])
def test_on_generated_radiographs_it_beats_random_weights_and_the_larger_one_pixels(
    tmp_path, monkeypatch, encoder, beaten
):
    learning = _benchmark("learning")
    monkeypatch.setitem(ENCODERS, "grid", lambda spec: learning.Grid())
    pack = learning.make_pack(tmp_path, patients=1500, seed=0)
    encoders = {"simclr": learning.pretrain("simclr", pack, tmp_path, encoder)}
    tenth = learning.compare(pack, encoders, ("0.1",))["fractions"]["0.1"]["simclr"]
    least = {"random": 0.01, "pixels": 0}
    assert all(tenth[f"over_{other}"]["low"] > least[other] for other in beaten)


def _benchmark(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
