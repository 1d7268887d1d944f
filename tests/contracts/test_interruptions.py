"""Ctrl-C, for every command that works long: it says what becomes of the work, and the same command goes on."""

import signal
import time

import pytest

from contracts.commands import SIZE, problem, run, start, tree
from helpers import make_pack
from kontrast.engine.checkpoint import save_checkpoint


def interrupted(words, ready):
    """Start a command, send Ctrl-C when `ready()` holds, and return its exit code and what it said."""
    process = start(words)
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


LONG = {
    # command: (what makes it take long, a file by which it is well under way, what another run would be)
    "prepare": ("--denoise nlm --seed 1", "run.json", "--val-fraction .2"),
    "pretrain": ("--epochs 5", "metrics.jsonl", "--size 32"),
    "finetune": ("--epochs 5", "metrics.jsonl", "--size 32"),
    "evaluate": ("--replicates 30000", "run.json", "--seed 5"),
    "embed": ("--batch-size 1", ".parts", "--seed 5"),
    "study": ("", "classifiers/*/*/run.json", "--seed 5"),
}


@pytest.fixture(scope="module")
def large(world, tmp_path_factory):
    """A Pack that takes some seconds to look at, image by image."""
    return make_pack(tmp_path_factory.mktemp("large") / "pack", n=240, size=SIZE)


@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_says_that_it_resumes_and_it_does(name, world, large, tmp_path):
    out, (slow, mark, other) = tmp_path / "out", LONG[name]
    words = world.words(name, out, **({"pack": large} if name == "embed" else {}))
    for option, value in zip(slow.split()[::2], slow.split()[1::2], strict=True):
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    code, _, err = interrupted(words, lambda: any(out.glob(mark)))
    assert code == 130, err
    assert "Run the same command again: it resumes." in err and "Traceback" not in err
    assert not (out / "card.json").exists() and (out / "run.json").is_file()
    changed = run([*words, *other.split()])
    assert changed.code == 5 and "was" in problem(changed)[0]
    trains = name in ("pretrain", "finetune")
    assert not trains or list(out.glob("checkpoint-*.pt"))
    after = run(words)
    assert after.code == 0 and (out / "card.json").is_file(), after.err
    assert not trains or "Resuming after step" in after.out


@pytest.mark.parametrize("name", ["scan", "report", "pack", "doctor"])
def test_ctrl_c_in_a_command_that_leaves_nothing_says_so(name, world, tmp_path, monkeypatch):
    where = {
        "scan": "kontrast.data.survey.look", "report": "kontrast.pages.report.render",
        "pack": "kontrast.artifacts.pack.verify_files", "doctor": "kontrast.stages.doctor._guarded",
    }  # fmt: skip
    monkeypatch.setattr(where[name], lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    done = run(world.words(name, tmp_path / "page.html"))
    assert done.code == 130 and problem(done) == ("interrupted; nothing was written.", "Run the same command again.")
    assert tree(tmp_path).keys() == {str(tmp_path)}


def test_a_checkpoint_of_another_configuration_is_refused(world, tmp_path):
    out = tmp_path / "out"
    words = world.words("pretrain", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kontrast.engine.run.Run._one", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(words).code == 130
    before = tree(out)
    done = run([*words, "--lr", "0.123"])
    assert done.code == 5 and "lr was 'auto', is 0.123" in problem(done)[0]
    assert tree(out) == before
    save_checkpoint(out, 1, {"fingerprint": {"lr": 99.0}, "step": 1})
    planted = run(words)
    assert planted.code == 5 and "checkpoint of another run" in problem(planted)[0]
    for file in out.glob("checkpoint-*"):
        file.unlink()
    assert run(words).code == 0
