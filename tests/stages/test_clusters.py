"""`prepare` and `study` on a Dask cluster: the same artifacts as alone, whatever becomes of the workers."""

import os
import pickle
import signal
import threading
import time

import cv2
import numpy as np
import pytest
import yaml

import kontrast
from helpers import make_pack
from kontrast.artifacts import pack_writer
from kontrast.artifacts.pack import damages
from kontrast.errors import OutputError, UsageError
from stages.sources import PATIENT, STUDY, files, make_source

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.usefixtures("key", "small_shards")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        yield local.scheduler_address


def with_masks(src):
    (src / "masks" / "a").mkdir(parents=True)
    (src / "masks" / "legend.json").write_text('["lungs"]')
    for i in (0, 4):
        cv2.imwrite(str(src / "masks" / "a" / f"image{i:03d}.png"), np.ones((40, 48), np.uint16))
    return src


def test_many_workers_make_the_pack_that_one_machine_makes(src, tmp_path, cluster, capsys):
    (src / "a" / "image008.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    with_masks(src)
    alone = kontrast.prepare(src, out=tmp_path / "alone", size=32, workers=1)
    many = kontrast.prepare(src, out=tmp_path / "many", size=32, cluster=cluster)
    assert files(alone.out) == files(many.out)
    assert len(list(many.out.glob("images-*.npy"))) == 5 and list(many.out.glob("masks-lungs-*.npy"))
    assert many.summary["rejects"] == 1 and damages(many.out) == []
    assert kontrast.prepare(src, out=tmp_path / "many", size=32, workers=1).status == "already done"
    assert "--cluster" in capsys.readouterr().out


def test_neither_ids_nor_the_key_travel(src, tmp_path, cluster, monkeypatch):
    from kontrast import cluster as module

    travelled = []
    before = module._Job.__call__
    monkeypatch.setattr(
        module._Job, "__call__", lambda job: travelled.append((job, before(job))) or travelled[-1][1], raising=True
    )
    kontrast.prepare(src, out=tmp_path / "p", size=32, cluster=cluster)
    sent = b"".join(pickle.dumps([job.arguments, result]) for job, result in travelled)
    assert len(travelled) == 5
    assert PATIENT.encode() not in sent and STUDY.encode() not in sent and b"5a5a5a" not in sent


def test_a_run_stopped_on_a_cluster_goes_on_alone(src, tmp_path, cluster, monkeypatch):
    alone = kontrast.prepare(src, out=tmp_path / "alone", size=32, workers=1)
    real, vouched = pack_writer.PackWriter.vouch, []

    def stops(self, index, shard):
        if len(vouched) == 2:
            raise KeyboardInterrupt
        vouched.append(index)
        real(self, index, shard)

    monkeypatch.setattr(pack_writer.PackWriter, "vouch", stops)
    with pytest.raises(KeyboardInterrupt):
        kontrast.prepare(src, out=tmp_path / "p", size=32, cluster=cluster)
    monkeypatch.setattr(pack_writer.PackWriter, "vouch", real)
    again = kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    assert vouched == [0, 1] and files(again.out) == files(alone.out)


def test_a_worker_that_sees_another_folder_is_told(src, tmp_path, cluster, monkeypatch):
    from kontrast.artifacts import packing

    monkeypatch.setattr(packing, "interrupted_plan", lambda folder: None)
    with pytest.raises(UsageError, match="does not see") as error:
        kontrast.prepare(src, out=tmp_path / "p", size=32, cluster=cluster)
    assert "same path" in error.value.fix


def test_workers_and_cluster_exclude_each_other(src, tmp_path):
    with pytest.raises(UsageError, match="exclude each other"):
        kontrast.prepare(src, out=tmp_path / "p", workers=2, cluster="tcp://127.0.0.1:9")
    with pytest.raises(UsageError, match="exclude each other"):
        kontrast.study(tmp_path / "none.yaml", out=tmp_path / "s", jobs=2, cluster="tcp://127.0.0.1:9")


def kill_one(local, after, killed):
    """Kill a worker's process as soon as `after` is true."""
    end = time.monotonic() + 120
    while time.monotonic() < end and not after():
        time.sleep(0.01)
    process = next(iter(local.workers.values())).process
    killed.append(process.pid)
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_killed_midway_costs_nothing(tmp_path):
    src = make_source(tmp_path / "src", 210, size=(300, 300))
    alone = kontrast.prepare(src, out=tmp_path / "alone", size=32, workers=1)
    killed = []
    out = tmp_path / "many"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        begun = lambda: len(list((out / pack_writer.PARTS).glob("part-*.json"))) >= 3  # noqa: E731
        thread = threading.Thread(target=kill_one, args=(local, begun, killed))
        thread.start()
        many = kontrast.prepare(src, out=out, size=32, cluster=local.scheduler_address)
        thread.join()
    assert killed and files(alone.out) == files(many.out)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_whose_worker_is_killed_is_the_study_made_alone(tmp_path):
    plan = {
        "pack": str(make_pack(tmp_path / "pack", n=60)),
        "arms": {"random": {}, "moco": {"method": "moco"}},
        "pretrain": {"epochs": 1, "batch_size": 16},
        "protocols": ["probe"],
        "fractions": [0.5, 1.0],
        "seeds": [0],
        "replicates": 50,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(plan))
    alone = kontrast.study(tmp_path / "study.yaml", out=tmp_path / "alone")
    killed, out = [], tmp_path / "many"
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        begun = lambda: list(out.glob("classifiers/*/*/card.json"))  # noqa: E731
        thread = threading.Thread(target=kill_one, args=(local, begun, killed))
        thread.start()
        many = kontrast.study(tmp_path / "study.yaml", out=out, cluster=local.scheduler_address)
        thread.join()
    assert killed and (many.out / "cells.csv").read_bytes() == (alone.out / "cells.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_images_that_end_every_worker_end_the_run_in_words(src, tmp_path, monkeypatch):
    from kontrast import cluster as module
    from kontrast.workers import WorkerDied

    def dies(self, function, jobs):
        raise WorkerDied
        yield

    monkeypatch.setattr(module.Cluster, "run", dies)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as local,
        pytest.raises(OutputError, match="Four workers") as error,
    ):
        kontrast.prepare(src, out=tmp_path / "p", size=32, cluster=local.scheduler_address)
    assert "it resumes" in error.value.fix
