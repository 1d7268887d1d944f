"""What each recipe promises, and views of a part of a batch."""

import pytest
import torch

from kontrast.views.params import View, ViewSpec
from kontrast.views.recipes import FINETUNE, XRAY, Recipe, local_size, make_views


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, side=32):
    return torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=seeded(1))


@pytest.mark.parametrize(
    ("size", "local"), [(224, 96), (320, 144), (256, 112), (128, 48), (96, 40), (64, 24), (32, 16), (16, 8)]
)
def test_locals_are_whole_patches(size, local):
    assert local_size(size) == local and local % (16 if size >= 128 else 8) == 0


def test_xray_views_keep_the_finding_in_the_picture():
    made = XRAY.at(64)
    for view in made.global_views:
        assert view.scale == (0.5, 1.0) and view.rotate == 10 and view.brightness == view.contrast == 0.4
        assert view.blur <= 0.1 and view.solarize == view.erase == 0
    assert made.local_view.scale[0] >= 0.15 and made.local_view.size < 64


def test_fine_tuning_is_mild_and_does_not_mirror():
    (view,) = FINETUNE["xray"].at(64).global_views
    assert view.flip == 0 and view.rotate == 5 and view.scale == (0.8, 1.0)


def test_eval_changes_nothing():
    images = pictures(3)
    (views,) = make_views(images, FINETUNE["none"].at(32), ViewSpec(1), seeded())
    torch.testing.assert_close(views, images.float() / 255, atol=1e-6, rtol=0)


def test_multi_crop_gives_globals_then_locals():
    views = make_views(pictures(3), XRAY.at(32), ViewSpec(2, 6), seeded())
    assert [v.shape[-1] for v in views] == [32, 32] + [16] * 6
    for i, one in enumerate(views):
        for two in views[i + 1 :]:
            assert one.shape != two.shape or not torch.equal(one, two)


def test_each_global_view_has_its_own_ranges():
    made = Recipe((View(size=16), View(size=24)))
    assert [v.shape[-1] for v in make_views(pictures(1), made, ViewSpec(3), seeded())] == [16, 24, 16]


def test_every_second_view_is_the_partner_s_with_the_draws_of_its_place():
    images, made, spec = pictures(4), XRAY.at(32), ViewSpec(3, 3)
    partners = images[[1, 0, 2, 3]]
    mixed = make_views(images, made, spec, seeded(4), partners=partners)
    own, others = (make_views(of, made, spec, seeded(4)) for of in (images, partners))
    for i, view in enumerate(mixed):
        assert torch.equal(view, (own, others)[i % 2][i])
    assert not torch.equal(mixed[1][:2], own[1][:2]) and torch.equal(mixed[1][2:], own[1][2:])


def test_a_part_of_the_batch_gets_what_the_whole_would_give_it():
    images, made, spec = pictures(10), XRAY.at(32), ViewSpec(2, 2)
    whole = make_views(images, made, spec, seeded(4))
    for first, stop in [(0, 5), (5, 10), (3, 4)]:
        part = make_views(images[first:stop], made, spec, seeded(4), first=first, total=10)
        for one, two in zip(part, whole, strict=True):
            torch.testing.assert_close(one, two[first:stop], atol=1e-5, rtol=0)


def test_every_part_leaves_the_generator_where_the_whole_does():
    images, made, one, two = pictures(6), XRAY.at(32), seeded(), seeded()
    make_views(images, made, ViewSpec(), one)
    make_views(images[:2], made, ViewSpec(), two, first=4, total=6)
    assert torch.equal(one.get_state(), two.get_state())


def test_a_part_outside_the_whole_is_refused():
    with pytest.raises(ValueError, match="not within a batch of 4"):
        make_views(pictures(3), XRAY.at(32), ViewSpec(), seeded(), first=2, total=4)


def test_locals_without_a_recipe_are_refused():
    with pytest.raises(ValueError, match="2 local views"):
        make_views(pictures(3), FINETUNE["none"].at(32), ViewSpec(2, 2), seeded())
