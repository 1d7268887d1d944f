import numpy as np
import pytest
import torch

from helpers import make_pack
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine import features
from kontrast.nn.encoders import EncoderSpec, build_encoder


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return Pack.open(make_pack(tmp_path_factory.mktemp("packs") / "pack", n=24, shard=7))


@pytest.fixture(scope="module")
def network(pack):
    spec = EncoderSpec("resnet18", pack.size, mean=pack.mean, std=pack.std)
    return build_encoder(spec, seed=0), spec


def naive(encoder, spec, pack, row):
    image = pack.images([row])[0].astype(np.float64) / 255
    x = torch.from_numpy(((image - spec.mean) / spec.std)[None, None]).float()
    with torch.no_grad():
        return encoder.eval()(x)[0].numpy()


def test_rows_come_in_their_order_whatever_the_batch(pack, network):
    rows = np.array([20, 3, 3, 11, 0])
    got = features.embed(*network, pack, rows, batch_size=2)
    assert (got.dtype, got.shape) == (np.float32, (5, 512))
    for position, row in enumerate(rows):
        np.testing.assert_allclose(got[position], naive(*network, pack, row), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(features.embed(*network, pack, rows, batch_size=256), got, rtol=1e-3, atol=1e-4)


def test_twice_gives_the_same_bits_and_leaves_the_mode(pack, network):
    spec = network[1]
    encoder = build_encoder(spec, seed=0).train()
    encoder.layer2.eval()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    strides = {k: v.stride() for k, v in encoder.state_dict().items()}
    one, two = (features.embed(encoder, spec, pack, pack.rows("val")) for _ in range(2))
    assert np.array_equal(one, two)
    assert encoder.training and encoder.layer1.training and not encoder.layer2.training
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert {k: v.stride() for k, v in encoder.state_dict().items()} == strides
    assert all(p.requires_grad and not p.is_inference() for p in encoder.parameters())
    encoder(torch.randn(2, 1, 32, 32)).sum().backward()  # it can go on training
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_no_rows(pack, network):
    assert features.embed(*network, pack, np.array([], dtype=np.int64)).shape == (0, 512)


def test_bf16_is_near(pack, network):
    rows = pack.rows("test")
    full, half = (features.embed(*network, pack, rows, bf16=b) for b in (False, True))
    assert not np.array_equal(full, half)
    assert np.corrcoef(full.ravel(), half.ravel())[0, 1] > 0.999


def test_another_size_is_resized_and_said(pack, capsys):
    spec = EncoderSpec("resnet18", 24, mean=0.2, std=0.5)
    features.embed(build_encoder(spec, seed=0), spec, pack, pack.rows("val"))
    assert "16 px are resized to the encoder's 24 px" in capsys.readouterr().out


def test_resizing_averages_what_it_drops():
    """A third of a chequerboard is grey, where a resize without antialiasing would keep its squares."""
    board = (np.indices((48, 48)).sum(0) % 2 * 255).astype(np.uint8)[None]
    x = features.to_input(board, EncoderSpec("resnet18", 16, mean=0.0, std=1.0))
    assert x.shape == (1, 1, 16, 16)
    assert (x[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.1


def test_uint16_means_the_same_as_uint8():
    u8 = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    spec = EncoderSpec("resnet18", 16)
    torch.testing.assert_close(features.to_input(u8, spec), features.to_input(u8.astype(np.uint16) * 257, spec))


def test_probabilities_are_the_sigmoid_of_the_logits_in_double(pack, network):
    encoder, spec = network
    torch.manual_seed(0)
    classifier = Classifier(encoder, spec, pack.findings)
    with torch.no_grad():
        classifier.head.bias.copy_(torch.tensor([20.0, -0.3]))  # 1 − 2e-9: single precision would round it to 1
        classifier.head.weight.mul_(1e-3)
    rows = pack.rows("test")
    got = features.predict(classifier, pack, rows)
    assert (got.dtype, got.shape) == (np.float64, (len(rows), 2))
    logits = (
        features.embed(encoder, spec, pack, rows).astype(np.float64)
        @ classifier.head.weight.detach().double().numpy().T
    )
    logits += classifier.head.bias.detach().double().numpy()
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-logits)), rtol=1e-4)
    assert (got[:, 0] < 1).all() and len(np.unique(got[:, 0])) > 1


def test_parts_left_by_an_interrupted_run_are_used(pack, network, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "PART_ROWS", 5)
    rows, done = pack.rows(), []
    real = features.embed

    def stops(encoder, spec, pack, part, *more):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part)
        return real(encoder, spec, pack, part, *more)

    monkeypatch.setattr(features, "embed", stops)
    with pytest.raises(KeyboardInterrupt):
        features.embed_resumably(tmp_path, *network, pack, rows)
    done.clear()
    monkeypatch.setattr(features, "embed", lambda *a: done.append(a[3]) or real(*a))
    features.embed_resumably(tmp_path, *network, pack, rows)
    assert np.array_equal(np.concatenate(done), rows[10:])
    assert [p.name for p in tmp_path.iterdir()] == ["features.npy"]
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), real(*network, pack, rows), rtol=1e-3, atol=1e-4)
