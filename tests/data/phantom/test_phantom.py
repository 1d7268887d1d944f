"""What the pictures must show: the truth, where the masks say it is."""

import numpy as np
import pytest

from kontrast.data.phantom import MASKS, film, findings, frontal, generate, lateral, render
from kontrast.data.phantom.anatomy import Changes, draw_anatomy, draw_pose
from kontrast.data.phantom.canvas import FIELD, Canvas
from kontrast.data.phantom.findings import PAINTED, Finding
from kontrast.types import FINDINGS

SIZE = 128
BRIGHTER = ("Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pleural Effusion",
            "Pleural Other", "Support Devices")  # fmt: skip


def _patient(number, view="PA"):
    rng = np.random.default_rng(number)
    return draw_anatomy(rng), draw_pose(rng, view, 0.3)


def _one(name, number, severity=0.7):
    return {name: Finding(severity, np.random.default_rng(number + 99).random(16), number)}


def _with_and_without(name, number, severity=0.7, view="PA"):
    """Attenuation without and with the finding, and its mask, on the same board."""
    anatomy, pose = _patient(number, view)
    build = lateral.build if view == "lateral" else frontal.build
    out = []
    for shown in ({}, _one(name, number, severity)):
        canvas, changes = Canvas(144), findings.reshape(shown)
        # The shape stays as it was, so that only the paint differs.
        layers = build(canvas, anatomy, pose, Changes() if name != "Fracture" else changes)
        masks = findings.paint(layers, shown, changes, anatomy, pose)
        out.append(film.attenuation(layers, anatomy, pose))
    return out[0], out[1], masks[name]


def test_same_seed_same_bytes_whatever_came_before():
    first = generate(3, 7, 48)
    generate(1, 7, 48), generate(2, 0, 64)
    again = generate(3, 7, 48)
    assert len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        assert a.truth == b.truth
        for x, y in zip(a.images, b.images, strict=True):
            assert np.array_equal(x.film, y.film)
            assert np.array_equal(x.masks, y.masks)
    other = generate(3, 8, 48)
    assert not np.array_equal(first[0].images[0].film, other[0].images[0].film)


@pytest.mark.parametrize("size", [16, 64, 150])
def test_images_and_masks_have_the_size_asked_for(size):
    for study in generate(2, 0, size):
        for image in study.images:
            assert image.pixels.shape == image.masks.shape == (size, size)
            assert image.pixels.dtype == np.uint8
            assert image.film.dtype == np.float32
            assert 0 <= image.film.min() <= image.film.max() <= 1
            assert image.pixels.std() > 20


def test_masks_show_what_the_truth_says_and_nothing_else():
    shown, expected = 0, 0
    for number in range(1, 26):
        for study in generate(number, 5, SIZE):
            for image in study.images:
                assert image.mask("lungs").mean() > 0.03
                assert image.mask("heart").mean() > 0.01
                for name in PAINTED:
                    if not study.truth[name]:
                        assert not image.mask(name).any(), name
                    elif image.view != "lateral":
                        expected += 1
                        shown += bool(image.mask(name).any())
    assert expected > 40
    assert shown > 0.95 * expected


def test_lung_opacity_covers_its_children():
    children = ("Edema", "Consolidation", "Lung Lesion")
    anatomy, pose = _patient(4)
    _, bits = render(anatomy, pose, {n: _one(n, i)[n] for i, n in enumerate(children)}, SIZE)
    opacity = bits >> MASKS.index("Lung Opacity") & 1
    for name in children:
        assert np.all(opacity[(bits >> MASKS.index(name) & 1) == 1])


@pytest.mark.parametrize("name", BRIGHTER)
def test_opacities_fluid_and_metal_attenuate_where_the_mask_is(name):
    for number in (1, 2, 3):
        before, after, mask = _with_and_without(name, number)
        assert mask.any()
        change = after - before
        assert change[mask].mean() > 0.05
        assert abs(change[~mask]).mean() < 0.25 * change[mask].mean()


def test_pneumothorax_is_darker_and_holds_no_vessels():
    for number in (1, 2, 3):
        before, after, mask = _with_and_without("Pneumothorax", number, 0.8)
        inside = mask & (np.hypot(*np.gradient(mask.astype(float))) == 0)
        assert (after - before)[inside].mean() < -0.05
        anatomy, pose = _patient(number)
        layers = frontal.build(Canvas(144), anatomy, pose, Changes())
        findings.paint(layers, _one("Pneumothorax", number, 0.8), Changes(), anatomy, pose)
        film.attenuation(layers, anatomy, pose)
        assert layers.vessels[inside].max() < 0.02


def test_effusion_lies_low_and_rises_with_severity():
    heights = []
    for severity in (0.1, 0.5, 0.95):
        _, _, mask = _with_and_without("Pleural Effusion", 5, severity)
        rows = np.nonzero(mask.any(1))[0]
        heights.append(rows.min())
        assert rows.mean() > 72
    assert heights[0] > heights[1] > heights[2]


def _ratio(bits):
    """Cardiothoracic ratio: breadth of the heart over that between the outer edges of the lungs."""
    heart, lungs = (np.nonzero((bits >> MASKS.index(n) & 1).any(0))[0] for n in ("heart", "lungs"))
    return (heart[-1] - heart[0]) / (lungs[-1] - lungs[0])


def test_cardiomegaly_means_more_than_half_of_the_chest():
    healthy, large = [], []
    for number in range(12):
        anatomy, pose = _patient(number)
        healthy.append(_ratio(render(anatomy, pose, {}, SIZE)[1]))
        large.append(_ratio(render(anatomy, pose, _one("Cardiomegaly", number, 0.3), SIZE)[1]))
    assert np.mean(np.array(healthy) < 0.5) > 0.9
    assert min(large) > 0.5


def test_ap_projection_magnifies_the_heart():
    ratios = {view: [] for view in ("PA", "AP")}
    for number in range(10):
        for view, found in ratios.items():
            anatomy, pose = _patient(number, view)
            found.append(_ratio(render(anatomy, pose, {}, SIZE)[1]))
    assert np.mean(ratios["AP"]) > 1.03 * np.mean(ratios["PA"])


def test_wide_mediastinum_is_wider():
    anatomy, pose = _patient(6)
    bits = [render(anatomy, pose, shown, SIZE)[1] for shown in ({}, _one("Enlarged Cardiomediastinum", 6))]
    lungs = [(b >> MASKS.index("lungs") & 1).sum() for b in bits]
    assert (bits[1] >> MASKS.index("Enlarged Cardiomediastinum") & 1).any()
    assert lungs[1] < 0.97 * lungs[0]


def test_fracture_changes_the_picture_only_around_its_rib():
    before, after, mask = _with_and_without("Fracture", 3, 0.8)
    change = abs(after - before)
    # The rib goes on displaced beyond the mask of the break itself.
    assert change[mask].mean() > 5 * change[~mask].mean()
    assert np.mean(change > 0.02) < 0.06


@pytest.mark.parametrize("name", ["Edema", "Consolidation", "Pleural Effusion", "Support Devices", "Lung Lesion"])
def test_findings_also_show_from_the_side(name):
    _, _, mask = _with_and_without(name, 2, 0.8, view="lateral")
    assert mask.any()


def test_leaving_a_finding_out_leaves_the_rest():
    number = next(k for k in range(1, 60) if any(s.truth["Support Devices"] for s in generate(k, 1, 16)))
    for full, bare in zip(generate(number, 1, 64), generate(number, 1, 64, without=["Support Devices"]), strict=True):
        assert full.truth == bare.truth
        for a, b in zip(full.images, bare.images, strict=True):
            assert not b.mask("Support Devices").any()
            assert np.array_equal(a.mask("heart"), b.mask("heart"))


def test_names_of_the_masks_follow_the_findings():
    assert list(MASKS) == ["lungs", "heart", *FINDINGS[1:]]
    assert len(MASKS) <= 16


def test_board_is_wider_than_the_view():
    assert FIELD > 18.6
