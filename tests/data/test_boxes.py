"""Boxes of NIH and of your own, in the pixels of the Pack."""

import pytest

from kontrast.data.boxes import find_boxes, place_boxes
from kontrast.errors import DataError

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def test_boxes_come_in_the_pixels_of_the_pack(tmp_path):
    (tmp_path / "BBox_List_2017.csv").write_text(
        HEADER + "00000001_000.png,Atelectasis,512,256,100.5,50,,,\n00000002_000.png,Infiltrate,0,0,1024,1024,,,\n"
        "00000003_000.png,Mass,1,2,3,4,,,\n"
    )
    boxes = find_boxes(tmp_path)
    images = {"images/00000001_000.png": ("a", 1024, 1024, ""), "00000002_000.png": ("b", 256, 256, "")}
    placed = list(place_boxes(boxes, images, ("Atelectasis", "Infiltration", "Mass"), 128))
    assert placed == [("a", "Atelectasis", 64.0, 32.0, 12.56, 6.25), ("b", "Infiltration", 0.0, 0.0, 128.0, 128.0)]


def test_boxes_follow_a_crop_and_end_at_its_edge(tmp_path):
    (tmp_path / "BBox_List_2017.csv").write_text(
        HEADER + "a.png,Mass,512,256,128,64,,,\na.png,Mass,0,0,300,300,,,\na.png,Mass,0,0,64,64,,,\n"
    )
    # 1024 to 512 px; rows 64 to 320 and columns 128 to 384 of those are shown at 128: half of their size again.
    images = {"a.png": ("a", 512, 512, "64:320,128:384")}
    placed = list(place_boxes(find_boxes(tmp_path), images, ("Mass",), 128))
    assert placed == [("a", "Mass", 64.0, 32.0, 32.0, 16.0), ("a", "Mass", 0, 0, 11.0, 43.0)]


def test_there_need_not_be_any(tmp_path):
    assert find_boxes(tmp_path) is None


def test_boxes_of_your_own_are_in_the_pixels_of_the_image(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "finding,image,x,y,width,height,reader\nMass,a/1.png,50,20,100,40,x\nMass,2.png,1,1,1,1,y\n"
    )
    boxes = find_boxes(tmp_path, [tmp_path / "mine.csv"])
    images = {"a/1.png": ("one", 100, 200, ""), "b/1.png": ("other", 100, 200, "")}
    # 200 × 100 pixels become 50 × 25 in a square of 50, 12 pixels below its upper edge.
    assert list(place_boxes(boxes, images, ("Mass",), 50)) == [("one", "Mass", 12.5, 17.0, 25.0, 10.0)]


def test_what_is_no_table_of_boxes_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        find_boxes(tmp_path, [tmp_path / "none.csv"])
    (tmp_path / "labels.csv").write_text("path,Edema\na.png,1\n")
    with pytest.raises(DataError, match="no table of boxes: it has the columns path, Edema"):
        find_boxes(tmp_path, [tmp_path / "labels.csv"])
