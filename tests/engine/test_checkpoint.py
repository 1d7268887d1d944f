"""Checkpoints: whole or not at all, the last two kept, damage seen, nothing in them run."""

import pickle
import resource
import signal

import pytest
import torch

from kontrast.engine.checkpoint import list_checkpoints, load_checkpoint, remove_checkpoints, save_checkpoint
from kontrast.errors import OutputError

MARK = {"seed": 1}


def _save(folder, step):
    return save_checkpoint(folder, step, {"fingerprint": MARK, "step": step, "w": torch.full((100,), float(step))})


def test_round_trip_keeps_the_last_two(tmp_path):
    for step in (1, 5, 12):
        _save(tmp_path, step)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["checkpoint-00000012.pt", "checkpoint-00000005.pt"]
    assert len(list(tmp_path.iterdir())) == 4
    state = load_checkpoint(tmp_path, MARK)
    assert state["step"] == 12 and torch.equal(state["w"], torch.full((100,), 12.0))
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_none_there(tmp_path):
    assert load_checkpoint(tmp_path, MARK) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no sum"])
def test_a_damaged_one_falls_back(tmp_path, capsys, damage):
    _save(tmp_path, 1)
    newest = _save(tmp_path, 2)
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
    elif damage == "cut":
        newest.write_bytes(data[:-10])
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        newest.with_name(newest.name + ".sha256").unlink()
    assert load_checkpoint(tmp_path, MARK)["step"] == 1
    assert "damaged" in capsys.readouterr().err
    assert not newest.exists()


def test_another_configuration_is_refused(tmp_path):
    _save(tmp_path, 1)
    with pytest.raises(OutputError, match="seed was 1, is 2"):
        load_checkpoint(tmp_path, {"seed": 2})
    assert list_checkpoints(tmp_path)


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_a_pickle_with_code_is_not_run(tmp_path):
    import hashlib

    path = tmp_path / "checkpoint-00000001.pt"
    for data in (pickle.dumps(_Evil()), pickle.dumps({"fingerprint": MARK, "x": _Evil()})):
        path.write_bytes(data)
        path.with_name(path.name + ".sha256").write_text(hashlib.sha256(data).hexdigest())
        assert load_checkpoint(tmp_path, MARK) is None


def test_a_full_disk_leaves_the_one_before(tmp_path):
    _save(tmp_path, 1)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="full"):
            save_checkpoint(tmp_path, 2, {"fingerprint": MARK, "step": 2, "w": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert load_checkpoint(tmp_path, MARK)["step"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-00000001.pt", "checkpoint-00000001.pt.sha256"]
