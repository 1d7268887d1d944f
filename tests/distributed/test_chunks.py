"""Two processes with two chunks each against one with four: a gradient that is averaged once, statistics that agree."""

import pytest
import torch

from ranks.chunks import CHUNKABLE, compute


@pytest.fixture(scope="module")
def results(pair: dict) -> list[dict]:
    """What one process got, then what each of two did."""
    return [compute(torch.device("cpu")), *pair["chunks"]]


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
