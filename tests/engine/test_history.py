"""metrics.jsonl and the means that go into it."""

import json

import torch

from kontrast.engine.history import History, Window, read_history


def test_a_resume_drops_later_and_torn_lines(tmp_path):
    history = History(tmp_path, 0)
    for step in (2, 4, 6):
        history.write({"step": step, "loss": step / 2})
    history.close()
    with history.path.open("a") as stream:
        stream.write('{"step": 8, "lo')
    again = History(tmp_path, 4)
    assert again.last == {"step": 4, "loss": 2.0}
    again.write({"step": 6, "loss": float("nan"), "x": torch.tensor(1.5)})
    again.close()
    assert [line["step"] for line in read_history(again.path)] == [2, 4, 6]
    assert json.loads(again.path.read_text().splitlines()[-1]) == {"step": 6, "loss": None, "x": 1.5}


def test_a_new_run_starts_empty(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n')
    History(tmp_path, 0).close()
    assert read_history(tmp_path / "metrics.jsonl") == []


def test_window_means_survive_a_checkpoint_in_between():
    cpu = torch.device("cpu")
    window = Window()
    window.add({"loss": torch.tensor(1.0), "lr": 0.5}, cpu)
    other = Window()
    other.load_state_dict(window.state_dict(), cpu)
    for w in (window, other):
        w.add({"loss": torch.tensor(2.0), "lr": 0.1}, cpu)
    assert window.means() == other.means() == {"loss": 1.5, "lr": 0.3}
    assert window.means() == {}
