from kontrast.data.boxes import find_boxes, place_boxes

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def test_boxes_come_in_the_pixels_of_the_pack(tmp_path):
    (tmp_path / "BBox_List_2017.csv").write_text(
        HEADER + "00000001_000.png,Atelectasis,512,256,100.5,50,,,\n00000002_000.png,Infiltrate,0,0,1024,1024,,,\n"
        "00000003_000.png,Mass,1,2,3,4,,,\n"
    )
    boxes = find_boxes(tmp_path)
    images = {"images/00000001_000.png": ("a", 1024, 1024), "00000002_000.png": ("b", 256, 256)}
    placed = list(place_boxes(boxes, images, ("Atelectasis", "Infiltration", "Mass"), 128))
    assert placed == [("a", "Atelectasis", 64.0, 32.0, 12.56, 6.25), ("b", "Infiltration", 0.0, 0.0, 128.0, 128.0)]


def test_there_need_not_be_any(tmp_path):
    assert find_boxes(tmp_path) is None
