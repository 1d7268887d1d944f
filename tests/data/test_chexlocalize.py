"""CheXlocalize's JSON against pycocotools and polygons known in closed form."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from kontrast.data.chexlocalize import Outlines, decode, fill
from kontrast.data.decode import DecodeError
from kontrast.errors import DataError


def encoded(mask):
    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}


def blobs(seed, height, width, share):
    rng = np.random.default_rng(seed)
    coarse = rng.random((-(-height // 5), -(-width // 5))) < share
    return coarse.repeat(5, 0).repeat(5, 1)[:height, :width]


@given(st.integers(0, 10**6), st.integers(1, 90), st.integers(1, 90), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_segmentations_are_those_of_pycocotools(seed, height, width, share):
    mask = blobs(seed, height, width, share)
    np.testing.assert_array_equal(decode(encoded(mask)), mask)
    np.testing.assert_array_equal(decode({"size": [height, width], "counts": _runs(mask)}), mask)


def _runs(mask):
    """Uncompressed: lengths of 0, 1, 0, … down the columns."""
    runs, value = [0], False
    for cell in mask.T.ravel():
        if cell != value:
            runs.append(0)
            value = cell
        runs[-1] += 1
    return runs


def test_what_is_cut_short_or_does_not_fit_is_no_mask():
    outline = encoded(blobs(1, 40, 30, 0.4))
    for spoilt in (outline["counts"][:-1], outline["counts"][:-3] + "o", "", outline["counts"] + "1", "\u00e9"):
        with pytest.raises(ValueError, match=r"size|short|character"):
            decode(outline | {"counts": spoilt})
    with pytest.raises(ValueError, match="size"):
        decode(outline | {"size": [30, 30]})


def test_contours_are_filled_in_image_coordinates():
    box = [[10.2, 4.8], [30.1, 4.9], [29.8, 20.2], [9.9, 19.9]]  # [x, y]
    found = fill([box, [[40, 40], [44, 40], [44, 44], [40, 44]]], [50, 60])
    assert found.shape == (50, 60) and found[5:20, 11:30].all() and found[41:44, 41:44].all()
    assert found.sum() == pytest.approx(20 * 15 + 25, rel=0.12) and not found[:4].any() and not found[:, 50:].any()


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_outlines_come_in_the_pixels_of_the_pack(tmp_path):
    mask = np.zeros((200, 100), bool)
    mask[40:80, 50:100] = True
    content = {
        "patient1_study2_view1_frontal": {"Edema": encoded(mask), "Airspace Opacity": encoded(~mask)},
        "patient2_study1_view1_frontal": {"Edema": encoded(np.zeros((9, 9), bool))},
    }
    write(tmp_path / "CheXlocalize", "gt_segmentations_val.json", content)
    outlines = Outlines.find(tmp_path)
    assert outlines.names == ("Edema", "Lung Opacity")
    # The image is a copy at a fifth of the size, so the mask comes to rows 4 to 8 of 20 and columns 5 to 10 of 20.
    found = outlines.read("valid/patient1/study2/view1_frontal.jpg", 20, (40, 20))
    expected = np.zeros((20, 20), bool)
    expected[4:8, 10:15] = True
    np.testing.assert_array_equal(found["Edema"], expected)
    assert found["Lung Opacity"].sum() == 200 - 20 and set(found) == {"Edema", "Lung Opacity"}
    assert outlines.read("valid/patient2/study1/view1_frontal.jpg", 20, (40, 20)) == {}
    assert outlines.read("valid/patient3/study1/view1_frontal.jpg", 20, (40, 20)) == {}


def test_contours_do_too_and_segmentations_come_first(tmp_path):
    square = [[[0, 0], [49, 0], [49, 49], [0, 49]]]
    content = {"patient1_study1_view1_frontal": {"img_size": [100, 100], "Edema": square}}
    write(tmp_path, "gt_annotations_test.json", content)
    outlines = Outlines.find(tmp_path)
    found = outlines.read("test/patient1/study1/view1_frontal.jpg", 10, (100, 100))["Edema"]
    assert outlines.names == ("Edema",) and found[:5, :5].all() and found.sum() == 25
    write(tmp_path, "gt_segmentations_test.json", {"patient1_study1_view1_frontal": {}})
    assert Outlines.find(tmp_path).names == ()
    assert Outlines.find(tmp_path / "nowhere" / "deep") is None


def test_files_that_hold_no_outlines(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        Outlines.of([tmp_path / "none.json"])
    for content in ([1], {"a": 3}):
        with pytest.raises(DataError, match="holds no outlines"):
            Outlines.of([write(tmp_path, f"{type(content).__name__}.json", content)])
    (tmp_path / "cut.json").write_text('{"a": {')
    with pytest.raises(DataError, match="holds no outlines"):
        Outlines.of([tmp_path / "cut.json"])
    spoilt = write(tmp_path, "spoilt.json", {"p_s_v": {"Edema": {"size": [4, 4], "counts": "zz"}}})
    with pytest.raises(DecodeError, match="outline of Edema"):
        Outlines.of([spoilt]).read("p/s/v.jpg", 4, (4, 4))
