import sys

import cv2
import numpy as np
import pytest

from kontrast.data.preparation import Treatment
from kontrast.data.sheet import CELL, GAP, PAPER, before_and_after, png, sheet


def test_every_image_keeps_its_aspect_and_stands_in_the_middle_of_its_cell():
    tall, wide, small = (
        np.full((200, 100), 10, np.uint8),
        np.full((50, 100), 20, np.uint8),
        np.full((5, 5), 30, np.uint8),
    )
    picture = sheet([[tall, wide], [small, small]], cell=40)
    assert picture.shape == (80 + GAP, 80 + GAP) and picture.dtype == np.uint8
    rows, columns = np.nonzero(picture[:40, :40] != PAPER)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 39, 10, 29)
    rows, columns = np.nonzero(picture[:40, 40 + GAP :] != PAPER)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 0, 39)
    assert (picture[40 + GAP :, :40] == 30).all() and (picture[:, 40 : 40 + GAP] == PAPER).all()
    assert {10, 20, 30, PAPER} == set(np.unique(picture))


@pytest.fixture
def src(tmp_path):
    for i in range(11):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((60, 30), 20 * i, np.uint8))
    return tmp_path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_six_evenly_spaced_images_above_what_they_became(src, dtype):
    picture = before_and_after(src, [f"{i}.png" for i in range(11)], Treatment(size=32, dtype=dtype))
    step = CELL + GAP
    assert picture.shape == (2 * step - GAP, 6 * step - GAP)
    middles = [picture[CELL // 2, j * step + CELL // 2] for j in range(6)]
    assert middles == [0, 40, 80, 120, 160, 200]
    assert [picture[step + CELL // 2, j * step + CELL // 2] for j in range(6)] == middles
    # above, beside a tall image, is paper; below, where it is packed, the padding that the network sees
    assert picture[CELL // 2, 5 * step + 2] == PAPER and picture[step + CELL // 2, 5 * step + 2] == 0


def test_few_none_and_unreadable_images(src):
    assert before_and_after(src, [], Treatment(size=16)) is None
    assert before_and_after(src, ["0.png", "1.png"], Treatment(size=16)).shape[1] == 2 * CELL + GAP
    (src / "0.png").write_bytes(b"")
    assert before_and_after(src, ["0.png", "1.png"], Treatment(size=16)).shape[1] == CELL
    assert before_and_after(src, ["0.png"], Treatment(size=16)) is None


def test_the_file_holds_pixels_and_nothing_else():
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = png(picture)
    assert data == png(picture) and (cv2.imdecode(np.frombuffer(data, np.uint8), -1) == picture).all()
    assert not any(chunk in data for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME", b"eXIf"))


def test_one_that_crashes_its_decoder_costs_its_place_alone(src, monkeypatch, tmp_path):
    """Decoding is done in a process apart: this one stands for a decoder that takes its process down."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\nimport kontrast.data.sheet as s\nreal = s.prepare_image\n"
        "s.prepare_image = lambda src, name, t: os.abort() if name == '0.png' else real(src, name, t)\n"
    )
    monkeypatch.setattr("sys.path", [str(site), *sys.path])
    monkeypatch.setattr("kontrast.apart._idle", [])
    assert before_and_after(src, ["0.png", "1.png"], Treatment(size=16)).shape[1] == CELL
