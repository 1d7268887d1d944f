"""torchrun as users type it: one node and two, a process killed, signals, and who writes."""

import json
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers import make_pack
from stages.ends import SCRIPT, ended_alike, environment, lines, live, run

KILL, TERM, USR1, INT = (int(getattr(signal, f"SIG{name}")) for name in ("KILL", "TERM", "USR1", "INT"))
SMALL = ["--batch-size", "12", "--precision", "fp32", "--device", "cpu", "--method", "simclr", "--positives", "patient"]
PAIR = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack") / "a", n=60, size=16)


@pytest.mark.slow
def test_a_killed_process_starts_again_and_the_first_alone_writes_and_speaks(pack, tmp_path):
    """Rank 1 may write nothing and is killed in step 10: the run is that of two undisturbed, nearly that of one."""
    words = ["pretrain", pack, *SMALL, "--encoder", "toy", "--epochs", "6"]
    result = run(
        *PAIR, "--max-restarts", "2", SCRIPT, "--first-writes", "--stop-by", KILL, 1, 10,
        *words, "--out", tmp_path / "killed", "--json",
    )  # fmt: skip
    *earlier, last = (json.loads(line) for line in result.stdout.splitlines())  # of each life of the first process
    assert last["steps"] == 18 and len(earlier) <= 1
    assert "Resuming after step 7 of 18" in result.stderr
    live(0, 2, *words, "--out", tmp_path / "two")
    ended_alike(tmp_path / "two", tmp_path / "killed")
    live(0, 1, *words, "--out", tmp_path / "one")
    one, two = lines(tmp_path / "one"), lines(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    np.testing.assert_allclose([line["loss"] for line in one], [line["loss"] for line in two], rtol=1e-3)
    assert [line["same_patient_negatives"] for line in one] == [line["same_patient_negatives"] for line in two]
    ours, theirs = (load_file(tmp_path / name / "encoder.safetensors") for name in ("one", "two"))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=2e-2, atol=2e-3)


def _start(*words):
    command = [sys.executable, *map(str, words)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _await_lines(out, process, count):
    while not (out / "metrics.jsonl").exists() or len((out / "metrics.jsonl").read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def _ended(process, code):
    try:
        said = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == code, said
    return said


@pytest.mark.slow
def test_two_nodes_meet_and_outlive_a_killed_process(pack, tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = ["pretrain", pack, *SMALL, "--encoder", "toy", "--epochs", "6"]
    node = [
        "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "pair",
        "--local-addr", "127.0.0.1", SCRIPT, "--first-writes", "--stop-by", KILL, 1, 10,
        *words, "--out", tmp_path / "killed",
    ]  # fmt: skip
    nodes = [_start(*node) for _ in range(2)]
    said = [_ended(node, 0) for node in nodes]
    assert any("Resuming after step 7 of 18" in one for one in said)
    live(0, 2, *words, "--out", tmp_path / "two")
    ended_alike(tmp_path / "two", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "handled"), [(TERM, ""), (USR1, "SIGTERM,SIGUSR1"), (INT, "")])
def test_a_signal_to_torchrun_saves_and_the_same_command_goes_on(pack, tmp_path, number, handled):
    """`-m kontrast` itself, with an encoder of its own. torchrun ends with 1, whatever its processes ended with."""
    passed_on = ["--signals-to-handle", handled] if handled else []
    words = ["-m", "kontrast", "pretrain", pack, *SMALL, "--encoder", "resnet18", "--epochs", "8", "--out"]
    first = _start(*PAIR, "--max-restarts", "2", *passed_on, *words, tmp_path / "cut")
    _await_lines(tmp_path / "cut", first, 3)
    first.send_signal(number)
    said = _ended(first, 1)
    assert said.count("everything is saved") == 2, said
    (saved,) = (tmp_path / "cut").glob("checkpoint-*.pt")
    again = run(*PAIR, *words, tmp_path / "cut")
    assert f"Resuming after step {int(saved.stem.split('-')[1])} of 24" in again.stdout
    run(*PAIR, *words, tmp_path / "whole")
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    for file in ("encoder.safetensors", "card.json", "seen.csv", "views.png"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_signal_to_one_process_stops_all_with_75_which_torchrun_takes_for_a_failure(pack, tmp_path, restarts):
    """It starts them again, where restarts are left: what is meant for the job must reach torchrun too."""
    words = ["pretrain", pack, *SMALL, "--encoder", "toy", "--epochs", "6", "--out", tmp_path / "e"]
    asked = ["--max-restarts", restarts, SCRIPT, "--stop-by", USR1, 1, 5, *words]
    result = run(*PAIR, *asked, code=0 if restarts else 1)
    assert result.stderr.count("everything is saved") == 2
    assert (tmp_path / "e" / "card.json").exists() is bool(restarts)
    if not restarts:
        assert result.stderr.count("exitcode  : 75") == 2
