"""Files that were replaced by others of the same size: never taken for those that were packed."""

import os
import shutil

import cv2
import numpy as np
import pytest

import kontrast
from kontrast.artifacts import adding, packing
from kontrast.artifacts.pack import Pack
from kontrast.data import replaced as module
from kontrast.data.replaced import replaced
from kontrast.errors import OutputError
from stages.sources import files, make_source

LONG_AGO = 10**18
pytestmark = pytest.mark.usefixtures("key", "small_shards")


@pytest.fixture
def src(tmp_path):
    """16 TIFFs without compression, so that another picture has the same size."""
    src = make_source(tmp_path / "src", n=16)
    table = (src / "labels.csv").read_text().replace(".png", ".tif")
    (src / "labels.csv").write_text(table)
    for file in sorted(src.rglob("*.png")):
        write(file.with_suffix(".tif"), cv2.imread(str(file), 0))
        file.unlink()
    return src


def write(file, pixels):
    cv2.imwrite(str(file), pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])


def turn(file):
    """Turn a picture by half; its size stays, and so does its time of modification, as with `cp -p`."""
    before = file.stat()
    write(file, cv2.imread(str(file), 0)[::-1, ::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


@pytest.fixture
def compared(monkeypatch):
    """How many files were compared by each call; clocks are exact."""
    counts = []
    monkeypatch.setattr(module, "SLACK_NS", 0)

    def counting(*words):
        others, count = replaced(*words)
        counts.append(count)
        return others, count

    for user in (adding, packing):
        monkeypatch.setattr(user, "replaced", counting)
    return counts


def test_a_replaced_file_is_refused_with_its_count(src, tmp_path, compared):
    out = kontrast.prepare(src, out=tmp_path / "p", size=32).out
    assert kontrast.prepare(src, out=out, size=32).status == "already done" and sum(compared) == 0
    before = files(out)
    turn(src / "a" / "image004.tif")
    for dry_run in (True, False):
        with pytest.raises(OutputError, match=r"1 file of .* holds other bytes now"):
            kontrast.prepare(src, out=out, size=32, dry_run=dry_run)
    assert files(out) == before and compared[-1] == 1
    (src / "b" / "image099.tif").write_bytes((src / "b" / "image003.tif").read_bytes())
    with (src / "labels.csv").open("a") as table:
        table.write("b/image099.tif,Q,S,PA,F,40,1,0\n")
    with pytest.raises(OutputError, match="other bytes now"):
        kontrast.prepare(src, out=out, size=32)  # no addition hides it
    turn(src / "a" / "image004.tif")
    assert kontrast.prepare(src, out=out, size=32).summary["added"] == 1


def test_a_copied_folder_is_the_same_and_compared_once(src, tmp_path, compared):
    """Also for a Pack of before, whose files have the times of their writing, and one that cannot be dated."""
    out = kontrast.prepare(src, out=tmp_path / "p", size=32).out
    for name in ("copy", "again"):
        shutil.copytree(src, tmp_path / name, copy_function=shutil.copy)
        compared.clear()
        assert kontrast.prepare(tmp_path / name, out=out, size=32).status == "already done"
        assert kontrast.prepare(tmp_path / name, out=out, size=32).status == "already done"
        assert compared == [16, 0]


def test_an_interrupted_run_reads_anew_what_was_replaced(src, tmp_path, compared, monkeypatch, capsys):
    real, calls = packing._shard, []

    def die(*words):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(packing, "_shard", die)
    with pytest.raises(KeyboardInterrupt):
        kontrast.prepare(src, out=tmp_path / "p", size=32)
    turn(src / "a" / "image000.tif")
    kontrast.prepare(src, out=tmp_path / "p", size=32)
    said = capsys.readouterr().out
    assert "1 file changed since that run: shard 0 is made anew" in said and "resuming: 7 of 16" in said
    assert len(calls) == 3 + 2
    calls.clear()
    monkeypatch.setattr(packing, "_shard", real)
    assert files(tmp_path / "p") == files(kontrast.prepare(src, out=tmp_path / "calm", size=32))


def test_what_is_gone_or_in_an_archive(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 5), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", train_images=pixels)
    names = ["x.npz/train/000000", "x.npz/train/000001"]
    hashes = [module.sha256_of(tmp_path / name) for name in names]
    listed = [*zip(names, hashes, [LONG_AGO] * 2, strict=True), ("gone.png", "0" * 64, LONG_AGO)]
    assert replaced(tmp_path, listed) == ([], 2)
    np.savez(tmp_path / "x.npz", train_images=np.stack([pixels[0], pixels[0]]))
    assert replaced(tmp_path, listed) == ([names[1]], 2)
    assert replaced(tmp_path, [(name, "", 2**62) for name in names]) == ([], 0)


def test_a_pack_is_read_from_storage_where_nothing_can_be_dated(src, tmp_path, monkeypatch, compared):
    out = kontrast.prepare(src, out=tmp_path / "p", size=32).out
    shutil.copytree(src, tmp_path / "copy", copy_function=shutil.copy)

    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(module.os, "utime", refuse)
    assert [kontrast.prepare(tmp_path / "copy", out=out, size=32).status for _ in "ab"] == ["already done"] * 2
    assert compared[-2:] == [16, 16] and len(Pack.open(out)) == 16
