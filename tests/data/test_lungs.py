"""Lungs: the network against torch, boxes and masks against what was drawn, doubt where there is nothing to find."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import kontrast
from kontrast.artifacts.pack import Pack, damages
from kontrast.data.lungs import Lungs, find_lungs
from kontrast.data.lungs.classical import dark_fields
from kontrast.data.lungs.crop import FULL, MARGIN, _even, _widened
from kontrast.data.lungs.network import SIDE, WEIGHTS, forward, weights
from kontrast.data.phantom import generate
from kontrast.data.resize import fit_mask

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "hannover_320"


@pytest.fixture(scope="module")
def films():
    """(pixels, lungs, view) of generated patients that the network was not trained on."""
    images = [i for patient in range(1, 9) for s in generate(patient, seed=907, size=192) for i in s.images]
    return [(i.pixels, i.mask("lungs"), i.view) for i in images]


def by_torch(picture, w):
    """The network from its weights, in torch's own operations."""
    w = {name: torch.from_numpy(value) for name, value in w.items()}

    def conv(x, name):
        return F.relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1))

    x, levels = F.pixel_unshuffle(torch.from_numpy(picture)[None, None], 2), []
    for level in range(4):
        x = x if level == 0 else F.max_pool2d(x, 2)
        x = conv(conv(x, f"down.{level}.0"), f"down.{level}.1")
        levels.append(x)
    for level in range(3):
        x = conv(torch.cat([F.interpolate(x, scale_factor=2), levels[2 - level]], 1), f"up.{level}.0")
    return F.pixel_shuffle(F.conv2d(x, w["head.weight"], w["head.bias"]), 2)[0].numpy()


def test_the_network_is_what_torch_computes():
    rng = np.random.default_rng(0)
    picture = rng.random((SIDE, SIDE), dtype=np.float32)
    other = {name: rng.normal(0, 0.2, value.shape).astype(np.float32) for name, value in weights().items()}
    for w in (weights(), other):
        np.testing.assert_allclose(forward(picture, w), by_torch(picture, w), rtol=1e-3, atol=1e-3)


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 1_000_000


def test_generated_lungs_are_found_and_the_box_holds_them(films):
    frontal = [(pixels, lungs) for pixels, lungs, view in films if view != "lateral"]
    found = [(find_lungs(pixels), lungs) for pixels, lungs in frontal]
    sure = [(f, lungs) for f, lungs in found if f is not None]
    assert len(sure) >= 0.8 * len(frontal) > 5
    for f, lungs in sure:
        first, end, left, right = f.box
        assert lungs[first:end, left:right].sum() >= 0.99 * lungs.sum()
        whole = Lungs((0, 192, 0, 192), f.share, f.confidence).mask(192, 192, (192, 192))
        assert 2 * (whole & lungs).sum() / (whole.sum() + lungs.sum()) > 0.85


def test_lungs_that_fill_the_image_are_not_cut_out_and_small_ones_are(films):
    pixels, lungs = next((p, m) for p, m, view in films if view != "lateral" and find_lungs(p) is not None)
    edge = ((50, 50, 70, 70), cv2.BORDER_REPLICATE)
    wide = cv2.copyMakeBorder(pixels, *edge[0], edge[1])
    first, end, left, right = find_lungs(wide).box
    assert (end - first) * (right - left) < FULL * wide.size
    assert lungs[max(0, first - 50) : end - 50, max(0, left - 70) : right - 70].sum() >= 0.99 * lungs.sum()
    rows, columns = np.flatnonzero(lungs.any(axis=1)), np.flatnonzero(lungs.any(axis=0))
    tight = np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    found = find_lungs(tight)
    assert found is None or found.box == (0, tight.shape[0], 0, tight.shape[1])


def test_a_half_that_is_not_seen_is_given_the_other_s_breadth():
    lungs = np.zeros((40, 64), bool)
    lungs[10:30, 10:26] = lungs[10:30, 30:40] = True
    assert _even(lungs, 640) == (100.0, 460.0)  # midline at 28 of 64: 18 columns on either side
    assert _even(lungs[:, ::-1], 640) == (180.0, 540.0)


def test_other_grey_scales_find_the_same(films):
    pixels = next(p for p, _, view in films if view != "lateral" and find_lungs(p) is not None)
    one, other = find_lungs(pixels), find_lungs((pixels.astype(np.uint16) * 100) + 1000)
    assert one.box == other.box


def test_mirrored_the_box_is_mirrored(films):
    for pixels, _, view in films:
        one, other = find_lungs(pixels), find_lungs(np.ascontiguousarray(pixels[:, ::-1]))
        assert (one is None) == (other is None)
        if one is not None:
            first, end, left, right = one.box
            assert np.abs(np.subtract(other.box, (first, end, 192 - right, 192 - left))).max() <= 6, view


def test_where_there_are_no_two_lungs_there_is_doubt(films):
    rng = np.random.default_rng(0)
    nothing = [np.zeros((80, 60), np.uint8), np.full((64, 64), 128, np.uint8), np.zeros((5, 3), np.uint16)]
    noise = [rng.integers(0, 256, (90, 90), dtype=np.uint8), cv2.GaussianBlur(rng.random((90, 90)), (0, 0), 9)]
    noise[1] = (255 * (noise[1] - noise[1].min()) / np.ptp(noise[1])).astype(np.uint8)
    assert [find_lungs(image) for image in (*nothing, *noise)] == [None] * 5
    lateral = [pixels for pixels, _, view in films if view == "lateral"]
    assert lateral and sum(find_lungs(pixels) is None for pixels in lateral) >= 0.8 * len(lateral)


def test_the_margin_is_a_share_of_the_box_and_ends_at_the_edge():
    assert _widened(np.array([[100, 200, 50, 250]]), (400, 400)) == (90, 210, 30, 270) and MARGIN == 0.1
    assert _widened(np.array([[2, 50, 5, 60], [0, 40, 20, 99]]), (60, 100)) == (0, 55, 0, 100)


def test_masks_are_cut_where_the_image_is():
    share = np.zeros((40, 20), np.float32)
    share[10:30, 5:15] = 1
    found = Lungs((100, 300, 20, 180), share, 1.0)  # of an image of 400 × 200: ten pixels to one of the map
    shown = found.mask(100, 80, (400, 200))
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (0, 100, 15, 65)
    whole = Lungs((0, 400, 0, 200), share, 1.0).mask(40, 20, (400, 200))
    np.testing.assert_array_equal(whole, share > 0.5)


def test_given_masks_are_cut_where_the_image_is():
    mask = np.random.default_rng(0).random((40, 30)) > 0.5
    np.testing.assert_array_equal(fit_mask(mask, 20, (40, 30), (4, 24, 6, 26)), mask[4:24, 6:26])


def test_dark_fields_are_two_side_by_side_within_the_body():
    body = np.full((240, 300), 20, np.uint8)
    cv2.rectangle(body, (20, 0), (280, 239), 190, -1)
    assert dark_fields(body) is None
    truth = np.zeros_like(body)
    for x in (95, 205):
        cv2.ellipse(truth, (x, 120), (35, 80), 0, 0, 360, 1, -1)
    body[truth > 0] = 60
    found = cv2.resize(dark_fields(body).astype(np.uint8), (300, 240), interpolation=cv2.INTER_NEAREST)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93
    one_above = np.ascontiguousarray(np.rot90(body))
    assert dark_fields(one_above) is None


def test_prepare_crops_keeps_the_mask_and_counts_what_stays_whole(films, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "key"))
    (tmp_path / "key").write_text("5a" * 32)
    src = tmp_path / "src"
    src.mkdir()
    for i, (pixels, _, _) in enumerate(films[:6]):
        cv2.imwrite(str(src / f"{i}.png"), pixels)
    cv2.imwrite(str(src / "noise.png"), np.random.default_rng(0).integers(0, 255, (90, 60), dtype=np.uint8))
    made = kontrast.prepare(src, out=tmp_path / "p", size=96, crop="lungs", layout="plain", workers=1)
    pack = Pack.open(made)
    said = capsys.readouterr().out
    table = pack.table.set_index("source")
    assert table.loc["noise.png", "crop"] == "" and made.summary["whole"] == (table["crop"] == "").sum() < 4
    assert f"Lungs found on {7 - made.summary['whole']} of 7 images" in said and "lungs" in pack.mask_names
    assert damages(made.out) == [] and (made.out / "masks-lungs-00000.npy").is_file()
    masks = np.load(made.out / "masks-lungs-00000.npy")
    for row, (source, crop) in enumerate(zip(pack.table["source"], pack.table["crop"], strict=True)):
        assert masks[row].any() == bool(crop)
        if crop:
            pixels, lungs, _ = films[int(source[0])]
            first, end, left, right = find_lungs(pixels).box
            assert crop == f"{first}:{end},{left}:{right}"
            truth = fit_mask(lungs, 96, (192, 192), (first, end, left, right))
            assert 2 * (truth & (masks[row] > 0)).sum() / (truth.sum() + masks[row].sum()) > 0.85
            assert (int(pack.table["height"][row]), int(pack.table["width"][row])) == (192, 192)


def test_a_source_s_own_lungs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "key"))
    (tmp_path / "key").write_text("5a" * 32)
    phantom = kontrast.phantom(tmp_path / "phantom", patients=2, size=128)
    pack = Pack.open(kontrast.prepare(phantom, out=tmp_path / "p", size=128, crop="lungs", workers=1))
    place = next(i for i, crop in enumerate(pack.table["crop"]) if crop)
    first, end, left, right = (int(n) for n in pack.table["crop"][place].replace(",", ":").split(":"))
    source = next(Path(phantom).rglob("masks")) / Path(*Path(pack.table["source"][place]).parts[1:])
    bits = cv2.imread(str(source.with_suffix(".png")), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(
        np.load(pack.path / "masks-lungs-00000.npy")[place] > 0,
        fit_mask(bits & 1, 128, None, (first, end, left, right)),
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/hannover_320")
def test_real_lungs_lie_within_the_crop():
    lost, whole = [], 0
    for path in sorted((SHARED / "lung_masks").iterdir()):
        image = cv2.imread(str(SHARED / "images" / path.name), cv2.IMREAD_GRAYSCALE)
        truth = cv2.resize(cv2.imread(str(path), 0), image.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        found = find_lungs(image)
        whole += found is None
        first, end, left, right = found.box if found else (0, image.shape[0], 0, image.shape[1])
        lost.append(1 - truth[first:end, left:right].sum() / truth.sum())
    assert len(lost) == 59 and max(lost) <= 0.01
    assert whole <= 15, pd.Series(lost).describe()
