"""`prepare` once more: done, interrupted, killed, on a full disk, with files that nobody can read."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import kontrast
from kontrast.artifacts import pack_writer
from kontrast.artifacts.lock import locked
from kontrast.artifacts.pack import Pack
from kontrast.errors import ArtifactError, DataError, OutputError
from stages.sources import files

pytestmark = pytest.mark.usefixtures("key", "small_shards")


def test_again_is_already_done_and_decodes_nothing(src, tmp_path, monkeypatch, capsys):
    first = kontrast.prepare(src, out=tmp_path / "p", workers=1)
    before = files(tmp_path / "p")

    def boom(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr("kontrast.artifacts.packing.prepare_images", boom)
    again = kontrast.prepare(src, out=tmp_path / "p", workers=2)
    assert again.status == "already done" and again.summary == first.summary
    assert files(tmp_path / "p") == before
    shutil.rmtree(src)
    gone = kontrast.prepare(src, out=tmp_path / "p")
    assert gone.status == "already done" and "not there any more" in capsys.readouterr().err


def test_a_changed_source_or_key_needs_another_pack(src, tmp_path, key):
    kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    table = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    table[:29].to_csv(src / "labels.csv", index=False)
    with pytest.raises(OutputError, match=r"30 images then, 29 now") as error:
        kontrast.prepare(src, out=tmp_path / "p", size=32)
    assert "another --out" in error.value.fix
    table.to_csv(src / "labels.csv", index=False)
    assert kontrast.prepare(src, out=tmp_path / "p", size=32).status == "already done"
    table.assign(Edema=0).to_csv(src / "labels.csv", index=False)
    with pytest.raises(OutputError, match="has changed"):
        kontrast.prepare(src, out=tmp_path / "p", size=32)
    key.write_text("77" * 32)
    with pytest.raises(OutputError, match="another patient key") as error:
        kontrast.prepare(src, out=tmp_path / "p", size=32)
    assert "$KONTRAST_KEY" in error.value.fix


def test_other_settings_are_refused(src, tmp_path):
    kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    with pytest.raises(OutputError, match="size was 32, is 64"):
        kontrast.prepare(src, out=tmp_path / "p", size=64)


def test_the_number_of_workers_does_not_change_a_byte(src, tmp_path):
    (src / "a" / "image004.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    one = kontrast.prepare(src, out=tmp_path / "one", size=32, workers=1)
    two = kontrast.prepare(src, out=tmp_path / "two", size=32, workers=2)
    assert files(one) == files(two) and one.summary == two.summary


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_interrupted_anywhere_it_resumes_to_the_same_bytes(src, tmp_path, monkeypatch, capsys):
    (src / "b" / "image003.png").write_bytes(b"")
    whole = files(kontrast.prepare(src, out=tmp_path / "whole", size=32, workers=1))
    rename, count = Path.replace, [0]

    def counted(self, target):
        count[0] += 1
        if count[0] == count[1]:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", counted)
    out, stops = tmp_path / "p", 0
    while True:  # each run gets a few renames further; every rename is a place to die at
        count[:] = [0, 2 + stops % 5]
        try:
            kontrast.prepare(src, out=out, size=32, workers=1)
            break
        except Killed:
            stops += 1
            assert stops < 60
    assert stops >= 8 and files(out) == whole
    assert "resuming: 7 of 30 images are packed already" in capsys.readouterr().out


KILL = """
import os, signal, sys
from pathlib import Path
import kontrast
from kontrast.artifacts import pack_writer
pack_writer.SHARD_IMAGES = 7
os_replace, left = Path.replace, [int(sys.argv[3])]
def replace(self, target):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return os_replace(self, target)
Path.replace = replace
kontrast.prepare(sys.argv[1], out=sys.argv[2], size=32, workers=int(sys.argv[4]))
"""


@pytest.mark.parametrize(("renames", "workers"), [(5, 1), (8, 2)])
@pytest.mark.timeout(60)  # capture_output also waits for workers that outlive the killed process
def test_killed_it_resumes_to_the_same_bytes(src, tmp_path, renames, workers):
    whole = files(kontrast.prepare(src, out=tmp_path / "whole", size=32, workers=1))
    words = [sys.executable, "-c", KILL, str(src), str(tmp_path / "p"), str(renames), str(workers)]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "p").rglob(".*.partial")), "killed in the middle of a write"
    with pytest.raises(ArtifactError, match="unfinished"):
        Pack.open(tmp_path / "p")
    kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    assert files(tmp_path / "p") == whole


def test_killed_just_after_its_card_it_is_tidied(src, tmp_path, monkeypatch):
    whole = files(kontrast.prepare(src, out=tmp_path / "whole", size=32, workers=1))

    def killed(folder):
        raise Killed

    monkeypatch.setattr(pack_writer, "tidy", killed)
    with pytest.raises(Killed):
        kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    monkeypatch.undo()
    os.environ["KONTRAST_KEY"] = str(tmp_path / "k")
    (tmp_path / "k").write_text("5a" * 32)
    assert (tmp_path / "p" / ".parts").is_dir()
    assert kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1).status == "already done"
    assert files(tmp_path / "p") == whole


@pytest.mark.parametrize("limit", [1000, 4000])
def test_a_full_disk_is_said_and_resumed(src, tmp_path, limit):
    """1,000 bytes a file are too few for a shard (7 × 16 × 16 pixels), 4,000 are for table.csv."""
    whole = files(kontrast.prepare(src, out=tmp_path / "whole", size=16, workers=1))
    assert len(whole["images-00000.npy"]) < 4000 < len(whole["table.csv"])
    code = f"""
import resource, kontrast.cli
from kontrast.artifacts import pack_writer
pack_writer.SHARD_IMAGES = 7
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
kontrast.cli.main(["prepare", {str(src)!r}, "--out", {str(tmp_path / "p")!r}, "--size", "16", "--workers", "1"])
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == OutputError.exit_code, done.stderr
    assert "is full" in done.stderr and "it resumes" in done.stderr and "Traceback" not in done.stderr
    kontrast.prepare(src, out=tmp_path / "p", size=16, workers=1)
    assert files(tmp_path / "p") == whole


def test_a_folder_in_use_is_refused(src, tmp_path, monkeypatch):
    out = tmp_path / "p"

    def meanwhile(*args, **more):
        with pytest.raises(OutputError, match="in use"):
            real(src, out=out, size=32, workers=1)
        return fill(*args, **more)

    from kontrast.artifacts import making

    real, fill = kontrast.prepare, making.fill
    monkeypatch.setattr(making, "fill", meanwhile)
    with locked(tmp_path):  # another folder's lock is no hindrance
        assert kontrast.prepare(src, out=out, size=32, workers=1).status == "done"


def test_mostly_unreadable_stops_and_loses_nothing(src, tmp_path):
    bad = sorted(src.rglob("*.png"))[:16]
    good = [file.read_bytes() for file in bad]
    for file in bad:
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"16 of 30 images cannot be read: empty file \(16\)"):
        kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    assert len((tmp_path / "p" / "rejects.csv").read_text().splitlines()) == 17
    assert not (tmp_path / "p" / "card.json").exists()
    assert len(list((tmp_path / "p").glob("images-*.npy"))) == 2, "whole shards stay"
    with pytest.raises(DataError, match="16 of 30"):  # once more, with nothing mended
        kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    for file, content in zip(bad, good, strict=True):
        file.write_bytes(content)
    outcome = kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    assert outcome.summary["rows"] == 30
    assert files(outcome) == files(kontrast.prepare(src, out=tmp_path / "whole", size=32, workers=1))


def test_after_too_many_bad_files_they_may_also_be_removed(src, tmp_path):
    bad = [src / f"a/image{i:03d}.png" for i in range(0, 30, 2)] + [src / "b" / "image001.png"]
    for file in bad:
        file.write_bytes(b"")
    with pytest.raises(DataError, match="16 of 30"):
        kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    table = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    table[~table["path"].isin([f.relative_to(src).as_posix() for f in bad])].to_csv(src / "labels.csv", index=False)
    for file in bad:
        file.unlink()
    outcome = kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    assert outcome.summary["rows"] == 14
    assert files(outcome) == files(kontrast.prepare(src, out=tmp_path / "whole", size=32, workers=1))


def test_an_interrupted_run_refuses_another_listing_and_another_key(src, tmp_path, monkeypatch, key):
    def killed(*args, **more):
        raise Killed

    monkeypatch.setattr(pack_writer.PackWriter, "finish", killed)
    with pytest.raises(Killed):
        kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    (src / "a" / "image000.png").write_bytes(b"other")
    with pytest.raises(OutputError, match="another listing"):
        kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)
    key.write_text("77" * 32)
    with pytest.raises(OutputError, match="another patient key"):
        kontrast.prepare(src, out=tmp_path / "p", size=32, workers=1)


DEADLY = """
import os, signal, sys
from pathlib import Path
import kontrast.apart
import kontrast.data.decode as package
kontrast.apart.MEMORY, kontrast.apart.COMPUTING_S = 2**29, 1
real = package.decode_and_hash
def decode_and_hash(path):
    deed = Path(path).read_bytes()[:20]
    if deed == b"deadly":
        os.kill(os.getpid(), signal.SIGSEGV)
    while deed == b"endless":
        pass
    if deed == b"boundless":
        bytes(2**30)
    return real(path)
package.decode_and_hash = decode_and_hash
"""
"""As sitecustomize.py it is run by every Python process that starts, so the one apart has a decoder with faults."""
REASONS = {b"deadly": "SIGSEGV", b"endless": "takes more than 1 s", b"boundless": "needs more than 0.5 GiB of memory"}


@pytest.mark.parametrize("workers", [1, 2])
def test_files_that_crash_hang_or_fill_memory_cost_a_row_of_rejects_each(src, tmp_path, workers):
    bad = {"a/image000.png": b"deadly", "a/image004.png": b"endless", "b/image001.png": b"boundless"}
    bad |= {"b/image029.png": b"deadly"}
    for name, deed in bad.items():
        (src / name).write_bytes(deed)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DEADLY)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = [sys.executable, "-m", "kontrast", "prepare", src, "--out", tmp_path / "p", "--workers", str(workers)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    rejects = pd.read_csv(tmp_path / "p" / "rejects.csv").set_index("file")["reason"]
    assert set(rejects.index) == set(bad)
    assert all(REASONS[deed] in rejects[name] for name, deed in bad.items()), list(rejects)
    pack = Pack.open(tmp_path / "p")
    assert len(pack) == 30 - len(bad)
    for name in bad:  # ordinary bad files in their place give the same Pack
        (src / name).write_bytes(b"")
    other = Pack.open(kontrast.prepare(src, out=tmp_path / "q", workers=1))
    assert (pack.images(pack.rows()) == other.images(other.rows())).all()
    pd.testing.assert_frame_equal(pack.table, other.table)


def children(process):
    """How many processes a process has started."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return len(path.read_text().split()) if path.exists() else 2


@pytest.mark.parametrize("wait", [0.0, 1.0], ids=["while they start", "while they work"])
def test_ctrl_c_among_workers_is_quiet(src, tmp_path, wait):
    """As a terminal sends it: to every process."""
    words = [sys.executable, "-m", "kontrast", "prepare", src, "--out", tmp_path / "p", "--workers", "2"]
    for name in sorted(p.name for p in (src / "a").iterdir()):
        for copy in range(100):  # so that work is left after a second
            shutil.copy(src / "a" / name, src / "a" / f"{copy}{name}")
    (src / "labels.csv").unlink()
    process = subprocess.Popen(
        [*words, "--layout", "plain", "--denoise", "nlm"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while children(process) < 2 and process.poll() is None:
        time.sleep(0.005)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    lines = [line for line in said.splitlines() if line and not line.startswith("warning: no patient ids")]
    assert lines == ["kontrast: interrupted.", "  Run the same command again: it resumes."]
