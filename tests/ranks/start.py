"""W processes that meet over gloo, forked from one so that torch is loaded once: `start.py FOLDER W NAME…`.

Each computes what these modules of this folder do, and leaves it as FOLDER/NAME-RANK.pt.
"""

import importlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import torch

from kontrast import distributed as d

TESTS = Path(__file__).parents[1]


def start(folder: Path, world: int, *names: str) -> dict[str, list[dict]]:
    """Name → what each process got."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, __file__, str(folder), str(world), *names]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, said = process.communicate(timeout=250)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        raise
    assert process.returncode == 0, said
    return {
        name: [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(world)] for name in names
    }


def work(folder: Path, modules: dict) -> None:
    """What one of the processes does."""
    device = d.start("cpu")
    for name, module in modules.items():
        torch.save(module.compute(device), folder / f"{name}-{d.rank()}.pt")
        d.barrier()
    d.stop()
    assert d.world_size() == 1


def main(folder: Path, world: int, names: list[str]) -> None:
    modules = {name: importlib.import_module(f"ranks.{name}") for name in names}
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            os.environ |= common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            try:
                work(folder, modules)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
