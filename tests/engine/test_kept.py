import dataclasses

import numpy as np
import pytest
import torch

from helpers import make_pack
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.lock import locked
from kontrast.artifacts.pack import Pack
from kontrast.engine import features
from kontrast.engine.kept import kept_in, key
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.nn.neighbours import Neighbours


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("packs") / "pack", n=24, shard=7)


@pytest.fixture
def pack(folder):
    return Pack.open(folder)


@pytest.fixture
def network(pack):
    spec = EncoderSpec("resnet18", pack.size, mean=pack.mean, std=pack.std)
    return build_encoder(spec, seed=0), spec


@pytest.fixture
def looked_at(pack, monkeypatch):
    """Rows whose pixels were read."""
    rows, images = [], Pack.images
    monkeypatch.setattr(Pack, "images", lambda self, part: rows.extend(part) or images(self, part))
    return rows


def test_they_are_those_of_the_direct_way_and_computed_once(pack, network, tmp_path, looked_at):
    rows = np.array([20, 3, 3, 11, 0])
    direct = features.embed(*network, pack, rows)
    looked_at.clear()
    with kept_in(tmp_path):
        got = features.embed(*network, pack, rows)
        assert sorted(looked_at) == list(range(24))
        again = features.embed(*network, pack, rows[::-1])
    assert len(looked_at) == 24 and len(list(tmp_path.iterdir())) == 1
    with kept_in(tmp_path, add=False):
        assert np.array_equal(features.embed(*network, pack, rows), got) and len(looked_at) == 24
        features.embed(build_encoder(network[1], seed=1), network[1], pack, rows)
        assert len(looked_at) == 29 and len(list(tmp_path.iterdir())) == 1, "what is asked once is not kept"
    np.testing.assert_allclose(got, direct, rtol=1e-4, atol=1e-5)
    assert np.array_equal(again, got[::-1]) and got.dtype == direct.dtype
    features.embed(*network, pack, rows)
    assert len(looked_at) == 34, "outside of the block they are computed"


@pytest.mark.parametrize("near", [False, True])
def test_a_frozen_classifier_is_its_head_on_them(pack, network, tmp_path, looked_at, near):
    encoder, spec = network
    x, y = torch.randn(20, 512).numpy(), np.eye(2)[np.arange(20) % 2]
    head = Neighbours(x, y, np.ones_like(y), 5) if near else None
    classifier = Classifier(encoder, spec, ["Edema", "Fracture"], head).eval()
    rows = np.array([9, 2, 17])
    direct = features.predict(classifier, pack, rows, batch_size=2)
    with kept_in(tmp_path):
        features.predict(classifier, pack, rows)
        assert not list(tmp_path.iterdir()), "nothing is kept for the sake of predictions"
        features.embed(encoder, spec, pack, rows)
        looked_at.clear()
        np.testing.assert_allclose(features.predict(classifier, pack, rows, batch_size=2), direct, rtol=1e-4)
        assert not looked_at
        features.predict(classifier, pack, rows, change=lambda images, _: images)
        assert len(looked_at) == 3, "altered images have other features"


def test_the_name_is_of_all_that_features_depend_on(pack, network, folder, tmp_path):
    encoder, spec = network
    name = key(encoder, spec, pack)
    assert key(build_encoder(spec, seed=0), dataclasses.replace(spec), Pack.open(folder)) == name
    other = build_encoder(spec, seed=0)
    other.bn1.running_mean[0] += 1e-6
    shards = make_pack(tmp_path / "other", n=24, shard=24)
    names = {
        name, key(other, spec, pack), key(build_encoder(spec, seed=1), spec, pack),
        key(encoder, dataclasses.replace(spec, mean=0.1), pack), key(encoder, spec, Pack.open(shards)),
    }  # fmt: skip
    assert len(names) == 5


def test_an_interrupted_computation_goes_on(pack, network, tmp_path, looked_at, monkeypatch):
    monkeypatch.setattr(features, "PART_ROWS", 10)
    images = Pack.images
    monkeypatch.setattr(Pack, "images", lambda self, part: images(self, part) if 20 not in part else 1 / 0)
    with kept_in(tmp_path), pytest.raises(ZeroDivisionError):
        features.embed(*network, pack, np.arange(24))
    monkeypatch.setattr(Pack, "images", images)
    with kept_in(tmp_path):
        looked_at.clear()
        got = features.embed(*network, pack, np.arange(24))
    assert sorted(looked_at) == [20, 21, 22, 23]
    np.testing.assert_allclose(got, features.embed(*network, pack, np.arange(24)), rtol=1e-4, atol=1e-5)


def test_where_another_process_computes_them_nobody_waits(pack, network, tmp_path):
    taken = tmp_path / key(*network, pack)
    taken.mkdir()
    with locked(taken), kept_in(tmp_path):
        got = features.embed(*network, pack, np.array([5]))
    assert np.array_equal(got, features.embed(*network, pack, np.array([5])))
    assert not list(taken.iterdir())
