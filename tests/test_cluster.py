"""Jobs on a Dask cluster: order, bounds, deaths, wrong addresses and workers."""

import os
import signal
import sys
from pathlib import Path

import pytest

from kontrast import cluster as module
from kontrast.cluster import Cluster
from kontrast.errors import DataError, MissingExtra, UsageError
from kontrast.workers import WorkerDied

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def threads():
    """A scheduler and two workers in this process: no process to start, everything else as it is."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        yield local.scheduler_address


def double(number):
    return 2 * number


def refuse(number):
    raise DataError(f"No {number} here.", fix="Bring one.")


def here(name):
    return Path(name).is_file()


def test_results_come_in_the_order_of_the_jobs(threads, capsys):
    with Cluster(threads) as cluster:
        assert list(cluster.run(double, [(i,) for i in range(40)])) == [2 * i for i in range(40)]
        assert cluster.workers == 2 and cluster.threads >= 1
    assert "2 workers" in capsys.readouterr().out


def test_only_some_jobs_are_given_ahead(threads):
    taken = []

    def jobs():
        for i in range(1000):
            taken.append(i)
            yield (i,)

    with Cluster(threads) as cluster:
        results = cluster.run(double, jobs())
        assert next(results) == 0 and len(taken) <= 2 * module.AHEAD + 1
        results.close()


def test_an_error_comes_as_it_was_raised(threads):
    with Cluster(threads) as cluster, pytest.raises(DataError, match="No 7 here") as error:
        list(cluster.run(refuse, [(7,)]))
    assert error.value.fix == "Bring one."


def test_relative_paths_mean_what_they_mean_here(threads, tmp_path, monkeypatch):
    (tmp_path / "there").write_text("")
    monkeypatch.chdir(tmp_path)
    with Cluster(threads) as cluster:
        assert list(cluster.run(here, [("there",)])) == [True]
    assert Path.cwd() == tmp_path


def test_what_dask_writes_of_a_job_names_no_path(threads):
    job = module._Job("/data/CANARY", here, ("CANARY",))
    assert "CANARY" not in repr(job) and job.arguments == ("CANARY",)


def test_a_wrong_address_is_said(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 1)
    with pytest.raises(UsageError, match="no Dask scheduler answers") as error, Cluster("tcp://127.0.0.1:9"):
        pass
    assert "dask scheduler" in error.value.fix


@pytest.mark.parametrize(("workers", "threads", "said"), [(0, 1, "has no workers"), (1, 2, "several threads")])
def test_workers_that_do_not_fit_are_refused(workers, threads, said, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 1)
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=threads, processes=False, dashboard_address=None
    ) as local:
        with pytest.raises(UsageError, match=said) as error, Cluster(local.scheduler_address):
            pass
        assert "--nthreads 1" in error.value.fix


def test_another_version_is_refused(threads, monkeypatch):
    monkeypatch.setattr(module, "_facts", lambda: {"version": "9.9.9", "cores": 1})
    with pytest.raises(UsageError, match=r"runs kontrast 9\.9\.9"), Cluster(threads):
        pass


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra) as error, Cluster("tcp://127.0.0.1:9"):
        pass
    assert "kontrast[cluster]" in error.value.fix


def die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
def test_a_job_that_brings_down_every_worker_is_told():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Cluster(local.scheduler_address) as cluster,
    ):
        results = cluster.run(die, [(i,) for i in range(3)])
        assert next(results) == 0
        with pytest.raises(WorkerDied):
            next(results)
