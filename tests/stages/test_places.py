"""Outlines and boxes come into a Pack with the images that they belong to."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.errors import DataError


def make_source(folder, people=12):
    """Pictures of 64 × 48 with a bright corner where there is Edema, its outlines drawn at ten times their size."""
    rng = np.random.default_rng(0)
    lines, outlines, boxes = ["path,patient_id,split,Edema,Fracture"], {}, ["image,finding,x,y,width,height"]
    for i in range(people):
        path = f"valid/patient{i}/study1/view1_frontal.png"
        image, outline = rng.integers(40, 90, (64, 48)).astype(np.uint8), np.zeros((640, 480), np.uint8, order="F")
        if i % 2:
            image[8:24, 12:24] += 100
            outline[80:240, 120:240] = 1
        if i % 3 == 0:
            boxes.append(f"{path},Fracture,6,40,30,16")
        (folder / path).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / path), image)
        found = coco.encode(outline)
        edema = {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}
        outlines[f"patient{i}_study1_view1_frontal"] = {"Edema": edema}
        lines.append(f"{path},p{i},{('train', 'val', 'test')[i % 3]},{i % 2},{int(i % 3 == 0)}")
    (folder / "labels.csv").write_text("\n".join(lines))
    (folder / "CheXlocalize").mkdir()
    (folder / "CheXlocalize" / "gt_segmentations_val.json").write_text(json.dumps(outlines))
    (folder.parent / "mine.csv").write_text("\n".join(boxes))
    return folder


def test_outlines_are_found_and_boxes_are_named(tmp_path, key):
    source = make_source(tmp_path / "src")
    made = kontrast.prepare(source, out=tmp_path / "pack", size=32, workers=1, places=(tmp_path / "mine.csv",))
    pack = Pack.open(made.out)
    rows = np.arange(len(pack))
    edema, fracture = pack.labels(rows).T
    masks = pack.mask("Edema", rows)
    expected = np.zeros((32, 32), bool)
    expected[4:12, 10:16] = True  # half the size of the picture, which lies four columns in
    assert pack.mask_names == ("Edema",) and (masks[edema == 1] == expected).all() and not masks[edema == 0].any()
    images = pack.images(rows).astype(float)
    assert all(
        image[mask].mean() > image[~mask].mean() + 50 for image, mask in zip(images, masks, strict=True) if mask.any()
    )
    ids = pack.table["image_id"].to_numpy()
    assert sorted(pack.boxes["image_id"]) == sorted(ids[fracture == 1])
    assert set(map(tuple, pack.boxes[["x", "y", "width", "height"]].to_numpy())) == {(7.0, 20.0, 15.0, 8.0)}
    assert pack.card.content["flow"] == [{"step": "listed", "images": 12, "patients": 12}]
    assert pack.card.config["places"] == ["mine.csv"]


def test_files_that_are_no_places_are_refused(tmp_path, key):
    source = make_source(tmp_path / "src")
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(DataError, match="holds no outlines"):
        kontrast.prepare(source, out=tmp_path / "pack", size=32, workers=1, places=(tmp_path / "other.json",))
