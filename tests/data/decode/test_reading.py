"""A file is read once for its image and its hash, whole however it comes."""

import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from kontrast.data import decode as package
from kontrast.data.decode import (
    DecodeError,
    decode,
    decode_and_hash,
    find_images,
    histogram,
    image,
    listed_once,
    measure,
    out_of_reach,
    own_folders,
    passed_over,
    sha256_of,
    written_by_kontrast,
)  # fmt: skip

GREY = np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8)


@pytest.fixture
def files(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), GREY)
    np.savez(tmp_path / "chestmnist.npz", train_images=np.stack([GREY, GREY[::-1]]))
    return [tmp_path / "a.png", tmp_path / "chestmnist.npz" / "train" / "000001"]


def test_image_and_hash_are_those_of_two_readings(files):
    for path, grey in zip(files, (GREY, GREY[::-1]), strict=True):
        found, sha256 = decode_and_hash(path)
        assert np.array_equal(found.pixels, grey) and np.array_equal(decode(path).pixels, grey)
        assert sha256 == sha256_of(path)
    assert sha256_of(files[0]) == hashlib.sha256(files[0].read_bytes()).hexdigest()


def test_what_comes_in_pieces_is_read_whole(files, monkeypatch):
    """As network drives and files of more than 2 GiB may."""
    whole = os.read
    monkeypatch.setattr(package.os, "read", lambda file, count: whole(file, min(count, 100)))
    assert decode_and_hash(files[0])[1] == sha256_of(files[0]) and np.array_equal(decode(files[0]).pixels, GREY)


def test_what_is_no_file_is_told(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    reasons = {"empty.png": "empty file", "missing.png": "file not found", "folder.png": "cannot be read"}
    for name, reason in reasons.items():
        with pytest.raises(DecodeError, match=reason):
            decode_and_hash(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("at_a_time", [7, 500, 2**24])
def test_values_are_counted_in_parts_as_numpy_counts_them(dtype, at_a_time, monkeypatch):
    monkeypatch.setattr(image, "COUNTED", at_a_time)
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(1).integers(0, top + 1, (40, 30)).astype(dtype)[3:, 2:-5]
    assert np.array_equal(histogram(pixels), np.bincount(pixels.ravel(), minlength=top + 1))


def test_a_large_file_is_hashed_in_blocks_and_not_read_as_an_image(tmp_path, monkeypatch):
    """Of 64 MiB without a byte on the disk; memory as Python counts it."""
    path = tmp_path / "sparse.png"
    with path.open("wb") as stream:
        stream.truncate(64 * 2**20)
    tracemalloc.start()
    found = sha256_of(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == hashlib.sha256(bytes(64 * 2**20)).hexdigest() and most < 2 * 2**20
    monkeypatch.setattr(package, "MAX_BYTES", 2**20)
    for read in (decode, decode_and_hash, measure):
        with pytest.raises(DecodeError, match=r"file of more than 0\.000977 GiB"):
            read(path)


def test_dicom_of_any_name_is_found_and_what_is_passed_over_is_counted(tmp_path):
    """By suffix; what stands behind the last point of a name may be a person's, and is not shown."""
    marked, bare = bytes(128) + b"DICM", b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100"
    others = ("a.bmp", "b/b.BMP", "b/c.webp", "IM1.mueller", "notes", "z.dcm.gz")
    contents = {
        "scan.IMA": marked, "b/plain.img": marked, "old.weird": bare, "IM01": marked, "x.png": b"", "DICOMDIR": marked,
        ".hid.bmp": b"", "t.csv": b"", "t.txt": marked, **dict.fromkeys(others, b"BM1234"),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = ["IM01", "b/plain.img", "old.weird", "scan.IMA", "x.png"]
    counts = {".bmp": 2, ".webp": 1, "another suffix": 1, "no suffix": 1, ".gz": 1}
    assert [path.as_posix() for path in find_images(tmp_path)] == found and passed_over(tmp_path) == counts
    with listed_once():
        assert [path.as_posix() for path in find_images(tmp_path / "b")] == ["plain.img"]
        assert passed_over(tmp_path) == {".bmp": 1, ".webp": 1}, "of what was listed: nothing is listed for it alone"
        find_images(tmp_path)
        assert passed_over(tmp_path) == counts


def test_links_to_nothing_and_closed_folders_are_told(tmp_path, monkeypatch):
    """As `git annex` and `dvc` leave behind what was not fetched; a loop of links is no loss."""
    for name, target in (("a/x.png", "gone.png"), ("itself.jpg", "itself.jpg"), ("notes.txt", "gone"), ("loop", ".")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(target)
    (tmp_path / "a/real.png").write_bytes(b"")
    (tmp_path / "shut").mkdir()
    scandir = os.scandir

    def closed(folder):
        if folder.endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    missing, shut = "link to a file that is not there", ("shut", "folder that cannot be opened: Permission denied")
    assert find_images(tmp_path) == [Path("a/real.png")]
    assert sorted(out_of_reach(tmp_path)) == [("a/x.png", missing), ("itself.jpg", missing), shut]
    with listed_once():
        find_images(tmp_path / "a")
        assert out_of_reach(tmp_path) == [("a/x.png", missing)], "of what was listed"


@pytest.mark.parametrize("file", ["card.json", "run.json"])
def test_folders_that_kontrast_wrote_hold_no_images_but_phantoms_and_exports(tmp_path, file):
    (tmp_path / "x.png").write_bytes(b"")
    for kind in ("pack", "explanation", "phantom", "export"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "preview.png").write_bytes(b"")
        (tmp_path / kind / file).write_text(json.dumps({"kind": kind, "config": {}, "parents": []}))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/y.png").write_bytes(b"")
    (tmp_path / "theirs" / file).write_text('{"kind": "pack"}')
    found = ["export/preview.png", "phantom/preview.png", "theirs/y.png", "x.png"]
    assert [path.as_posix() for path in find_images(tmp_path)] == found and own_folders(tmp_path) == 2
    assert written_by_kontrast(tmp_path / "pack") == "pack" and written_by_kontrast(tmp_path / "phantom") is None


def test_a_file_that_vanishes_or_shrinks_while_it_is_read_is_told(files, monkeypatch):
    """Half of it has come when it goes (a network drive), or is cut to nothing, or cannot be read on."""
    whole, path = os.read, files[0]
    data = path.read_bytes()

    def go(act):
        def read(file, count):
            half = whole(file, count)[: len(data) // 2]
            act()
            return half

        path.write_bytes(data)
        monkeypatch.setattr(package.os, "read", read)

    def broken():
        raise OSError(5, "Input/output error")

    for act, reason in (
        (path.unlink, "file not found"), (lambda: path.write_bytes(b""), "empty file"), (broken, "Input/output error"),
        (lambda: path.write_bytes(data[: len(data) // 2]), "PNG|damaged|truncated|cut"),
    ):  # fmt: skip
        go(act)
        with pytest.raises(DecodeError, match=reason):
            decode_and_hash(path)
