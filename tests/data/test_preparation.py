import hashlib

import cv2
import numpy as np
import pytest

from kontrast.data.intensity import denoise, equalize
from kontrast.data.preparation import Treatment, prepare_image, prepare_images, suggest_size


@pytest.fixture
def image(tmp_path):
    rng = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(rng.integers(1, 256, (40, 80), dtype=np.uint8), (0, 0), 2)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    return pixels


def test_the_picture_stands_in_the_middle_of_its_padding(tmp_path, image):
    out = prepare_image(tmp_path, "a.png", Treatment(size=40))
    assert out.pixels.shape == (40, 40) and out.content == (10, 30, 0, 40) and (out.height, out.width) == (40, 80)
    # halved: each pixel is the mean of four
    expected = image.reshape(20, 2, 40, 2).mean((1, 3))
    np.testing.assert_allclose(out.pixels[10:30], expected, atol=1)
    assert not out.pixels[:10].any() and not out.pixels[30:].any()
    assert out.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "how", [{"denoise": "nlm"}, {"denoise": "median"}, {"equalize": "hist"}, {"equalize": "clahe"}]
)
def test_cleaning_touches_the_picture_and_not_its_padding(tmp_path, image, how):
    plain = prepare_image(tmp_path, "a.png", Treatment(size=40)).pixels
    clean = prepare_image(tmp_path, "a.png", Treatment(size=40, **how)).pixels
    expected = equalize(denoise(plain[10:30].copy(), how.get("denoise", "none")), how.get("equalize", "none"))
    np.testing.assert_array_equal(clean[10:30], expected)
    assert (clean[10:30] != plain[10:30]).any()
    assert not clean[:10].any() and not clean[30:].any()


def test_sixteen_bits_stay(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), ramp)
    out = prepare_image(tmp_path, "a.png", Treatment(size=64, dtype="uint16")).pixels
    assert out.dtype == np.uint16 and len(np.unique(out)) > 3000


class Faulty:
    """In the place of masks: a fault of another kind than those that decoding knows."""

    def __init__(self, error):
        self.error = error

    def read(self, *_):
        raise self.error("PATIENT^NAME")


def test_a_bad_file_gives_its_reason_and_the_others_go_on(tmp_path, image):
    (tmp_path / "b.png").write_bytes(b"")
    out = prepare_images(tmp_path, ["b.png", "a.png", "c.png"], Treatment(size=16))
    assert out[0] == "empty file" and out[2] == "file not found" and out[1].pixels.shape == (16, 16)
    for error, reason in ((ValueError, "unexpected ValueError"), (MemoryError, "needs more than 4 GiB of memory")):
        (found,) = prepare_images(tmp_path, ["a.png"], Treatment(size=16), Faulty(error))
        assert found.startswith(reason) and "PATIENT" not in found
        with pytest.raises(error):
            prepare_image(tmp_path, "a.png", Treatment(size=16), Faulty(error))


@pytest.mark.parametrize(
    ("sides", "size"),
    [([64], 64), ([70, 80, 90], 64), ([100, 2000, 3000], 320), ([20], 32), ([319] * 3, 288), ([320], 320)],
)
def test_the_suggested_size(tmp_path, sides, size):
    for i, side in enumerate(sides):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((side // 2, side), np.uint8))
    suggested, why = suggest_size(tmp_path, [f"{i}.png" for i in range(len(sides))])
    assert suggested == size and "px" in why


def test_a_size_is_suggested_when_nothing_can_be_read(tmp_path):
    assert suggest_size(tmp_path, ["missing.png"]) == (320, "none of the 1 images looked at could be read")


def test_only_some_images_are_looked_at(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("kontrast.apart.Apart.map", lambda self, function, jobs: seen.extend(jobs) or [])
    suggest_size(tmp_path, [str(i) for i in range(1000)])
    assert len(seen) == 64 and seen[-1][0].name > "9"
