"""A patient key, a small source and small shards, for tests that ask for them."""

import pytest

from kontrast.artifacts import pack_writer
from kontrast.nn.encoders import ENCODERS
from stages.run_pretrain import TOYS
from stages.sources import make_source


@pytest.fixture(scope="module")
def toys():
    """Encoders of a few hundred weights by name, where a test is not about the network: training takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, make in TOYS.items():
            patch.setitem(ENCODERS, name, make)
        yield


@pytest.fixture
def key(tmp_path_factory, monkeypatch):
    file = tmp_path_factory.getbasetemp() / "patient.key"
    file.write_text("5a" * 32)
    file.chmod(0o600)  # else each command warns that others can read it
    monkeypatch.setenv("KONTRAST_KEY", str(file))
    return file


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(pack_writer, "SHARD_IMAGES", 7)


@pytest.fixture
def src(tmp_path):
    return make_source(tmp_path / "src")
