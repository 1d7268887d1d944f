"""The memory of large batches, measured in processes of their own by benchmarks/large_batch.py."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from engine.chunked import CHUNKABLE

ROOT = Path(__file__).parents[2]
LIMIT, GIGABYTE = 1.25, 1000


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("large_batch", ROOT / "benchmarks" / "large_batch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_figures_keep_the_limits() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "large_batch.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "large-batches.md").read_text(encoding="utf-8")
    assert set(found["steps"]) == set(CHUNKABLE)
    for method, steps in found["steps"].items():
        assert list(steps)[1:3] == ["256 at once", "4096 in chunks of 256"]
        assert steps["ratio of peaks"] <= LIMIT and steps["ratio beyond"] <= LIMIT
        one, many = ((name, way) for name, way in steps.items() if isinstance(way, dict))
        cells = [cell for name, way in (one, many) for cell in (name, f"{way['peak']:,} MB", f"{way['seconds']:.1f} s")]
        ratios = f"{steps['ratio of peaks']:.2f} | {steps['ratio beyond']:.2f}"
        assert f"| {method} | {' | '.join(cells)} | {ratios} |" in page
    assert found["loss"]["65536"]["blocks"]["beyond"] < GIGABYTE
    for n, row in found["loss"].items():
        (line,) = (line for line in page.splitlines() if line.startswith(f"| {int(n):,} |"))
        assert all(f"{way['beyond']:,} MB, " in line for way in row.values())


def test_the_loss_does_not_hold_all_similarities(benchmark: Any) -> None:
    """4,096 embeddings have 67 MB of them in fp32, which the plain loss needs several times."""
    assert benchmark.apart("loss", embeddings=4096, blocks=True, repeats=1)["beyond"] < 140


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", CHUNKABLE)
def test_sixteen_chunks_take_little_more_memory_than_one(benchmark: Any, method: str) -> None:
    """A quarter of the batch that the committed figures are of, where what does not grow weighs four times as much."""
    assert benchmark.compare(method, 64, 1024, 64, 1)["ratio of peaks"] <= LIMIT


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_loss_of_65536_embeddings_takes_less_than_a_gigabyte(benchmark: Any) -> None:
    assert benchmark.apart("loss", embeddings=65536, blocks=True, repeats=1)["beyond"] < GIGABYTE
