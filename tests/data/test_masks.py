import json

import cv2
import numpy as np
import pytest

from kontrast.data.decode import DecodeError
from kontrast.data.masks import MaskSource
from kontrast.errors import DataError


def place(folder, planes, image="train/p/v.jpg", names=("Lungs", "Heart", "Edema")):
    bits = sum(plane.astype(np.uint16) << i for i, plane in enumerate(planes))
    path = folder / "masks" / image.rsplit(".", 1)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(f"{path}.png", bits.astype(np.uint16))
    (folder / "masks" / "legend.json").write_text(json.dumps(names))


@pytest.fixture
def planes():
    planes = np.zeros((3, 20, 40), bool)
    planes[0, 2:10, 4:20] = True
    planes[2, 10:20, 30:40] = True
    return planes


@pytest.mark.parametrize("base", ["", "CheXpert-v1.0-small"])
def test_each_bit_becomes_a_mask_placed_as_its_image(tmp_path, planes, base):
    place(tmp_path / base, planes)
    source = MaskSource.find(tmp_path)
    assert source.names == ("Lungs", "Heart", "Edema") and source.base == base
    masks = source.read(f"{base}/train/p/v.jpg".lstrip("/"), 20, (20, 40))
    assert sorted(masks) == ["Edema", "Lungs"], "the empty one is left out"
    expected = np.zeros((20, 20), bool)
    expected[5 + 1 : 5 + 5, 2:10] = True  # halved, in rows 5 to 15 of the square
    np.testing.assert_array_equal(masks["Lungs"], expected)
    assert masks["Edema"][10:15, 15:20].all() and masks["Edema"].sum() == 25


def test_sixteen_bits_are_read(tmp_path):
    planes = np.zeros((16, 8, 8), bool)
    planes[15] = True
    place(tmp_path, planes, names=[f"F{i}" for i in range(16)])
    assert list(MaskSource.find(tmp_path).read("train/p/v.jpg", 8, (8, 8))) == ["F15"]


def test_images_without_a_mask(tmp_path, planes):
    assert MaskSource.find(tmp_path) is None
    place(tmp_path / "CheXpert-v1.0-small", planes)
    source = MaskSource.find(tmp_path)
    assert source.read("CheXpert-v1.0-small/train/p/other.jpg", 8, (8, 8)) == {}
    assert source.read("train/p/v.jpg", 8, (8, 8)) == {}


def test_a_mask_of_another_shape_is_stretched_to_its_image(tmp_path):
    planes = np.zeros((3, 10, 10), bool)
    planes[0, :, 5:] = True
    place(tmp_path, planes)
    mask = MaskSource.find(tmp_path).read("train/p/v.jpg", 20, (20, 40))["Lungs"]
    assert mask[5:15, 10:].all() and mask.sum() == 100


@pytest.mark.parametrize("legend", ["{", "[]", '{"a": 1}', "[1]", json.dumps(["x"] * 17)])
def test_a_wrong_legend_is_refused(tmp_path, planes, legend):
    place(tmp_path, planes)
    (tmp_path / "masks" / "legend.json").write_text(legend)
    with pytest.raises(DataError, match="lowest bit first"):
        MaskSource.find(tmp_path)


def test_a_damaged_mask_has_a_reason(tmp_path, planes):
    place(tmp_path, planes)
    (tmp_path / "masks" / "train" / "p" / "v.png").write_bytes(b"\x89PNG half")
    with pytest.raises(DecodeError, match="mask cannot be read"):
        MaskSource.find(tmp_path).read("train/p/v.jpg", 8, (8, 8))
