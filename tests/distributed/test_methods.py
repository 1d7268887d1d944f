"""W processes with their part of the batch each against one with all of it: the same gradients, queues, assignments.

Gradients are compared, not losses: the usual mistakes in a gather leave the loss as it is.
"""

import pytest
import torch

from kontrast.methods import METHODS
from ranks.methods import IN_GROUPS, STEPS, WITH_PATIENTS, B, compute
from ranks.start import start


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)], ids="W={}".format)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pair: dict) -> list[dict]:
    """What one process got, then what each of W did."""
    parts = start(tmp_path_factory.mktemp("four"), 4, "methods") if request.param == 4 else pair
    return [compute(torch.device("cpu")), *parts["methods"]]


every = pytest.mark.parametrize("name", [*METHODS, *WITH_PATIENTS, *IN_GROUPS])


@every
@pytest.mark.parametrize("kind", ["grad", "loss", "state"])
def test_the_parts_are_one_whole(results: list[dict], name: str, kind: str) -> None:
    """Batch-norm included: synchronised, or of as many groups; each process keeps the running mean of its own."""
    one, *parts = results
    keys = [key for key in one if key.startswith(f"{name}.{kind}")]
    assert keys
    for key in keys:
        found = [part[key] for part in parts]
        if name in IN_GROUPS and ".running_" in key:
            found = [torch.stack(found).mean(dim=0)]
        for value in found:
            torch.testing.assert_close(value, one[key], rtol=1e-7, atol=1e-10, msg=key)


@every
def test_the_gradient_of_all_parameters_has_its_length_and_its_direction(results: list[dict], name: str) -> None:
    one, *parts = results
    for step in range(STEPS):
        keys = [key for key in one if key.startswith(f"{name}.grad.{step}.")]
        whole = torch.cat([one[key].flatten() for key in keys])
        for part in parts:
            ours = torch.cat([part[key].flatten() for key in keys])
            assert abs(float(ours.norm() / whole.norm()) - 1) < 1e-6
            assert torch.nn.functional.cosine_similarity(ours, whole, dim=0, eps=0) > 1 - 1e-9


def test_t2_queues_are_identical_on_all_processes(results: list[dict]) -> None:
    _, first, *others = results
    queues = [key for key in first if ".keys" in key or "queue.patients" in key]
    assert len(queues) == 8  # MoCo's keys and patients, three times, and SwAV's two
    assert (first["moco, patients known.state.queue.patients"] >= 0).all()
    assert all(torch.equal(first[key], other[key]) for key in queues for other in others)


def test_t7_sinkhorn_is_global(results: list[dict]) -> None:
    one, first, *others = results
    torch.testing.assert_close(first["sinkhorn"], one["sinkhorn"], rtol=1e-12, atol=0)
    assert all(torch.equal(first["sinkhorn"], other["sinkhorn"]) for other in others)


def test_keys_are_dealt_over_processes_and_come_back(results: list[dict]) -> None:
    one, *parts = results
    W = len(parts)
    for r, part in enumerate(parts):
        assert part["seen"].tolist() == list(range(r, B, W))
        assert torch.equal(part["dealt"], one["dealt"])
