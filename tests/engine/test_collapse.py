"""Runs that are made to collapse are named with the right cause, and healthy ones are left in peace."""

import pytest
import torch
from torch import nn

import kontrast
from engine.shapes import SmallEncoder, shape_pack
from kontrast.methods import METHODS
from kontrast.nn.encoders import ENCODERS
from kontrast.nn.vit import VisionTransformer

pytestmark = pytest.mark.slow
NARROW = {"hidden_dim": 256, "dim": 256, "decoder_dim": 64, "decoder_depth": 1}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return shape_pack(tmp_path_factory.mktemp("shapes") / "pack", n=1200)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """Shapes in noise teach a method that paints patches nothing in so few steps; it would be right to complain."""
    root = tmp_path_factory.mktemp("radiographs")
    (root / "key").write_text("ab" * 32)
    kontrast.phantom(root / "xrays", patients=250, size=64)
    return kontrast.prepare(root / "xrays", out=root / "pack", size=32, key=root / "key", workers=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setitem(ENCODERS, "small", lambda spec: SmallEncoder())
    monkeypatch.setitem(
        ENCODERS, "vit_small", lambda spec: VisionTransformer(size=32, patch=8, dim=64, depth=3, heads=2)
    )
    yield
    torch.set_num_threads(before)


def said(pack, out, capsys, method, epochs=25, **asked):
    """What a run of some 200 steps says on standard error."""
    options = {k: v for k, v in NARROW.items() if k in METHODS[method].Config.__dataclass_fields__}
    options |= asked.pop("options", {})
    capsys.readouterr()
    kontrast.pretrain(
        pack, out=out, method=method, encoder="vit_small" if METHODS[method].needs_vit else "small", epochs=epochs,
        batch_size=64, precision="fp32", device="cpu", options=options, **asked,
    )  # fmt: skip
    return capsys.readouterr().err


@pytest.mark.parametrize("method", list(METHODS))
def test_a_healthy_run_is_left_in_peace(radiographs, tmp_path, capsys, method):
    assert said(radiographs, tmp_path / "e", capsys, method) == ""


@pytest.mark.parametrize(
    ("method", "asked", "sign", "cause"),
    [
        ("simclr", {"lr": 0.3}, "directions", "--lr 0.3 where 0.0005 is usual"),
        ("simclr", {"temperature": 100.0}, "no better than that of guessing", "--temperature 100 where 0.1 is usual"),
        ("moco", {"lr": 0.3}, "directions", "--lr 0.3 where"),
        ("byol", {"lr": 0.05, "momentum": 0.0}, "directions", "--lr 0.05 where 0.0005 is usual, --momentum 0 where"),
        ("swav", {"options": {"epsilon": 10.0}}, "guessing", "--options.epsilon 10 where 0.05 is usual"),
        ("vicreg", {"lr": 0.3}, "directions", "--lr 0.3 where"),
        ("dino", {"lr": 0.03}, "same few prototypes", "--lr 0.03 where"),
        ("mae", {"lr": 0.3}, "directions", "--lr 0.3 where"),
    ],
    ids=lambda value: value if isinstance(value, str) and value in METHODS else "",
)
def test_a_spoilt_run_is_named_with_its_cause(shapes, tmp_path, capsys, method, asked, sign, cause):
    text = said(shapes, tmp_path / "e", capsys, method, **asked)
    assert sign in text and f"Likely cause: {cause}" in text


def test_byol_without_its_predictor_collapses_and_its_remedy_is_said(shapes, tmp_path, capsys, monkeypatch):
    """No setting is unusual then, so the method says what keeps it upright."""
    byol = METHODS["byol"]
    start = byol.__init__

    def bare(self, *args, **keywords):
        start(self, *args, **keywords)
        self.predictor = nn.Identity()

    monkeypatch.setattr(byol, "__init__", bare)
    text = said(shapes, tmp_path / "e", capsys, "byol")
    assert "projections are alike" in text and "only the predictor and the slow target keep features apart" in text
