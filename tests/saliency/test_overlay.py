import cv2
import numpy as np
import pytest

from kontrast.saliency.overlay import CONTOUR, overlay, png


@pytest.mark.parametrize(("size", "side"), [(64, 256), (100, 300), (224, 224), (256, 256)])
def test_image_beside_itself_under_the_heat(size, side):
    image = np.full((size, size), 90, np.uint8)
    heat = np.zeros((size, size), np.float32)
    heat[: size // 4] = 1
    picture = overlay(image, heat)
    assert picture.shape == (side, 2 * side, 3) and picture.dtype == np.uint8
    assert (picture[:, :side] == 90).all()  # the image itself
    assert (picture[side // 2 :, side:] == 90).all()  # no heat, no colour
    assert picture[0, side:, 2].min() > picture[0, side:, 0].max() - 60 and (picture[0, side:] != 90).any()


def test_the_true_place_is_outlined_in_both():
    mask = np.zeros((224, 224), bool)
    mask[50:80, 100:120] = True
    picture = overlay(np.zeros((224, 224), np.uint8), np.zeros((224, 224)), mask)
    outlined = (picture == CONTOUR).all(axis=2)
    for half in (outlined[:, :224], outlined[:, 224:]):
        assert half[50, 105] and half[79, 105] and half[60, 100] and half[60, 119] and not half[60, 110]
        assert half.sum() == 2 * 30 + 2 * 20 - 4


def test_an_empty_mask_draws_nothing():
    image, heat = (
        np.arange(256, dtype=np.uint8).repeat(256).reshape(256, 256),
        np.random.default_rng(0).random((256, 256)),
    )
    assert (overlay(image, heat, np.zeros((256, 256), bool)) == overlay(image, heat)).all()


def test_png_reads_back():
    picture = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    assert (cv2.imdecode(np.frombuffer(png(picture), np.uint8), cv2.IMREAD_COLOR) == picture).all()
