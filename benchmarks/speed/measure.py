"""Contestants in turn, medians of paired ratios, and what machine it was."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

Work = Callable[[], float]
"""Does a slice of work and returns the seconds it took."""

ROUNDS = 5


def cpu(work: Callable[[], object]) -> Work:
    """The same work, giving its CPU seconds."""

    def timed() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return timed


def computing() -> float:
    """CPU seconds of this process and of the processes that work for it now (`prepare` reads files in one)."""
    found, todo = time.process_time(), [os.getpid()]
    while todo:
        for tasks in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            for pid in tasks.read_text().split():
                found += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
                todo.append(int(pid))
    return found


def family(work: Callable[[], object]) -> Work:
    """The same work, giving the CPU seconds of this process and those that work for it."""

    def timed() -> float:
        start = computing()
        work()
        return computing() - start

    return timed


def wall(work: Callable[[], object]) -> Work:
    """The same work, giving the seconds that passed."""

    def timed() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return timed


def alternate(contestants: Mapping[str, Work], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of every contestant in each round, one after the other, after a first round that does not count."""
    for work in contestants.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        names = list(contestants) if number % 2 == 0 else list(contestants)[::-1]
        for name in names:
            found[name].append(contestants[name]())
    return found


def ratio(above: list[float], below: list[float]) -> float:
    """The median over rounds of one contestant's seconds over another's in the same round."""
    return median(a / b for a, b in zip(above, below, strict=True))


def figure(case: str, what: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    """A line of the table: what was measured, and maybe `target` (at least) or `limit` (at most)."""
    line = {"case": case, "what": what, "value": float(f"{value:.4g}"), "unit": unit, **more}
    goal = (
        f"  target ≥ {more['target']}" if "target" in more else f"  limit ≤ {more['limit']}" if "limit" in more else ""
    )
    print(f"{case:9s} {what:66s} {value:10.4g} {unit}{goal}", flush=True)
    return line


def machine() -> dict[str, Any]:
    """Processor, threads, versions, and how busy it is."""
    import torch

    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if f" {name} " in f"{flags} "]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": names[0] if names else platform.processor(), "cores": os.cpu_count(), "features": features,
        "gpu": gpu, "threads": torch.get_num_threads(), "load": [round(x, 1) for x in os.getloadavg()],
        "steal": steal(), "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "numpy", "scipy", "opencv-python-headless", "scikit-learn", "pydicom", "imagecodecs")
        },
    }  # fmt: skip


def steal() -> float:
    """The share of the processors' time since start that another guest of the same host had."""
    try:
        ticks = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0
    return round(ticks[7] / max(sum(ticks), 1), 4)


def peak_memory() -> int:
    """The most memory that this process has held, in bytes; `ru_maxrss` would count that of the one that started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def pictures(n: int, height: int, width: int, seed: int = 0) -> Any:
    """(n, height, width) uint8 that are smooth like radiographs, with noise: codecs and caches see the usual."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    made = np.empty((n, height, width), np.uint8)
    for one in made:
        coarse = rng.random((max(height // 32, 4), max(width // 32, 4)), dtype=np.float32)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = rng.standard_normal((height, width), dtype=np.float32)
        one[:] = np.clip(255 * smooth + 4 * noise, 0, 255)
    return made
