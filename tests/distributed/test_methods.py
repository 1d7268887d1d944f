"""Two processes with half of the batch each against one with all of it: the same gradients, queues, assignments.

Gradients are compared, not losses: the usual mistakes in a gather leave the loss as it is.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distributed.methods_worker import compute
from kontrast.methods import METHODS

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict, dict]:
    """What one process got, and what each of two did."""
    folder = tmp_path_factory.mktemp("methods")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    workers = [
        subprocess.Popen(
            [sys.executable, str(HERE / "methods_worker.py"), str(folder)],
            env=common | {"RANK": str(r), "LOCAL_RANK": str(r)},
        )
        for r in range(2)
    ]
    try:
        one = compute(torch.device("cpu"))
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    first, second = (torch.load(folder / f"rank{r}.pt", weights_only=True) for r in range(2))
    return one, first, second


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("kind", ["grad", "loss", "state"])
def test_two_halves_are_one_whole(results: tuple[dict, dict, dict], name: str, kind: str) -> None:
    one, *halves = results
    keys = [key for key in one if key.startswith(f"{name}.{kind}")]
    assert keys
    for half in halves:
        for key in keys:
            torch.testing.assert_close(half[key], one[key], rtol=1e-7, atol=1e-10, msg=key)


def test_t2_queues_are_identical_on_all_processes(results: tuple[dict, dict, dict]) -> None:
    _, first, second = results
    queues = [key for key in first if ".keys" in key]
    assert len(queues) == 3  # MoCo's and SwAV's two
    assert all(torch.equal(first[key], second[key]) for key in queues)


def test_t7_sinkhorn_is_global(results: tuple[dict, dict, dict]) -> None:
    one, first, second = results
    torch.testing.assert_close(first["sinkhorn"], one["sinkhorn"], rtol=1e-12, atol=0)
    assert torch.equal(first["sinkhorn"], second["sinkhorn"])


def test_keys_are_dealt_over_processes_and_come_back(results: tuple[dict, dict, dict]) -> None:
    one, first, second = results
    assert first["seen"].tolist() == [0, 2, 4, 6] and second["seen"].tolist() == [1, 3, 5, 7]
    assert torch.equal(first["dealt"], one["dealt"]) and torch.equal(second["dealt"], one["dealt"])
