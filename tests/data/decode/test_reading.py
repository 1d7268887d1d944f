"""A file is read once for its image and its hash, whole however it comes."""

import hashlib
import os

import cv2
import numpy as np
import pytest

from kontrast.data import decode as package
from kontrast.data.decode import DecodeError, decode, decode_and_hash, histogram, image, sha256_of

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
