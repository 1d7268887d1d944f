"""One small input of every kind for all contracts, and a home that tests may write to."""

import pytest
import torch

from contracts.commands import CASES, World, run


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Made once; nothing may change in it."""
    root = tmp_path_factory.mktemp("world")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would not agree bit for bit
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KONTRAST_KEY", str(root / "patient.key"))
        (root / "patient.key").write_text("5a" * 32)
        (root / "patient.key").chmod(0o600)
        yield World(root)
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def ran(world, tmp_path_factory):
    """Each command run once, when first asked for: its output path and what it printed with --json."""
    place, done = tmp_path_factory.mktemp("ran"), {}

    def once(name):
        if name not in done:
            out = place / (name + CASES[name].suffix)
            done[name] = out, run([*world.words(name, out), "--json"])
        return done[name]

    return once
