"""Two processes over gloo against the same sums in one."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from kontrast import distributed as d
from kontrast.errors import UsageError
from ranks.problem import labelled_gradients, losses

X = [torch.arange(6.0).reshape(3, 2) + 10 * r for r in range(2)]


@pytest.fixture
def ranks(pair):
    return pair["collectives"]


def test_everyone_knows_who_they_are(ranks):
    assert [out["facts"].tolist() for out in ranks] == [[2, 0, 0, 1], [2, 1, 1, 0]]


def test_gather_stands_in_order_of_rank_without_gradient(ranks):
    for out in ranks:
        assert torch.equal(out["gather"], torch.cat(X))
        assert torch.equal(
            out["gather_strided"], torch.cat([torch.arange(6.0).reshape(2, 3).T + 10 * r for r in (0, 1)])
        )
        assert out["gather_requires_grad"] == 0


def test_sums_and_means_leave_their_input_alone(ranks):
    for r, out in enumerate(ranks):
        assert torch.equal(out["sum"], X[0] + X[1])
        assert torch.equal(out["mean"], (X[0] + X[1]) / 2)
        assert torch.equal(out["x_after"], X[r])


def test_broadcast(ranks):
    for out in ranks:
        assert torch.equal(out["broadcast"], X[0])
        assert torch.equal(out["broadcast_1"], X[1])
        assert out["object"] == 0


def test_main_first(ranks):
    assert [bool(out["first"]) for out in ranks] == [False, True]


@pytest.mark.parametrize("name", ["gather", "reduce"])
def test_gradients_are_those_of_the_mean_loss_in_one_process(ranks, name):
    weight = torch.full((3, 2), 0.5, requires_grad=True)
    ys = [x / 10 @ weight.T for x in X]
    gathered = (lambda _: torch.cat(ys)) if name == "gather" else None
    mean = (lambda _: (ys[0].mean(0) + ys[1].mean(0)) / 2) if name == "reduce" else None
    (sum(losses(y, r, gathered, mean) for r, y in enumerate(ys)) / 2).backward()
    for out in ranks:
        torch.testing.assert_close(out[f"grad_{name}"], weight.grad)


def test_losses_of_labels_have_one_processs_gradient_where_labels_are_ignored(ranks):
    for name, gradient in labelled_gradients(torch.arange(8)).items():
        for out in ranks:
            torch.testing.assert_close(out[f"labels_{name}"], gradient)


def test_in_one_process_all_of_it_is_the_identity(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert d.start("cpu") == torch.device("cpu")
    assert (d.world_size(), d.rank(), d.local_rank(), d.is_main()) == (1, 0, 0, True)
    x = torch.randn(3, 2, requires_grad=True)
    for function in (d.gather_with_grad, d.all_reduce_sum, d.all_reduce_mean, d.broadcast):
        assert function(x) is x
    assert torch.equal(d.gather(x), x) and not d.gather(x).requires_grad
    module = torch.nn.Linear(1, 1)
    assert d.wrap(module, torch.device("cpu")) is module
    assert d.broadcast_object("a") == "a" and d.main_first(lambda: 4) == 4
    d.barrier()
    d.stop()


def test_a_restart_meets_none_of_the_dead():
    """The store of torchrun outlives the processes: words and addresses of earlier lives stand in it."""
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=20))
    for life in range(3):
        if life == 1:  # killed before the first process answered
            store.set("here/1", "of one who is gone")
            store.set("here/2", "of another")
        with ThreadPoolExecutor(3) as pool:
            met = list(pool.map(lambda rank: d.meet(store, rank, 3), range(3)))
        for rank, own in enumerate(met):
            assert not own.check(["address"]), "one of an earlier life"
            own.set(f"from {rank}", str(life))
        met[0].set("address", "of this life")
        assert all(own.get(f"from {rank}") == str(life).encode() for own in met for rank in range(3))


def test_who_does_not_come_is_waited_for_no_longer_than_the_store_waits():
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=0.1))
    with pytest.raises(UsageError, match="says 3 processes, but 1 have come"):
        d.meet(store, 0, 3)
