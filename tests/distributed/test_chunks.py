"""Two processes with two chunks each against one with four: a gradient that is averaged once, statistics that agree."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ranks.chunks import CHUNKABLE, compute

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What one process got, then what each of two did."""
    folder = tmp_path_factory.mktemp("chunks")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    workers = [
        subprocess.Popen(
            [sys.executable, str(HERE.parent / "ranks" / "chunks.py"), str(folder)],
            env=common | {"RANK": str(r), "LOCAL_RANK": str(r)},
        )
        for r in range(2)
    ]
    try:
        one = compute(torch.device("cpu"))
        assert {worker.wait(timeout=250) for worker in workers} == {0}
    finally:
        for worker in workers:
            worker.kill()
    return [one, *(torch.load(folder / f"rank{r}.pt", weights_only=True) for r in range(2))]


@pytest.mark.parametrize("name", CHUNKABLE)
@pytest.mark.parametrize("kind", ["grad", "loss", "state"])
def test_the_parts_are_one_whole(results: list[dict], name: str, kind: str) -> None:
    """With batch-norm and dropout: groups and noise belong to a chunk's place in the batch, not to a process."""
    one, *parts = results
    keys = [key for key in one if key.startswith(f"{name}.{kind}")]
    assert keys
    for part in parts:
        for key in keys:
            torch.testing.assert_close(part[key], one[key], rtol=1e-7, atol=1e-10, msg=key)


@pytest.mark.parametrize("name", CHUNKABLE)
def test_gradients_are_averaged_once_a_step(results: list[dict], name: str) -> None:
    assert [part[f"{name}.averaged"].item() for part in results[1:]] == [3, 3], "of three steps, one bucket each"
