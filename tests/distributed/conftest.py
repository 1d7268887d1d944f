"""Two processes, started once for all that is compared."""

import pytest

from ranks.start import start


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """What each of two processes got, by the module of tests/ranks."""
    return start(tmp_path_factory.mktemp("pair"), 2, "collectives", "chunks", "methods")
