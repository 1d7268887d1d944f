"""What holds for the views of every recipe and method."""

import pytest
import torch

from kontrast.views.params import ViewSpec
from kontrast.views.recipes import METHODS, RECIPES, make_views, recipe

EVERY = [(name, method) for name in RECIPES for method in METHODS]


def spec_of(method):
    return ViewSpec(1 if method in ("finetune", "eval") else 2, 3 if method == "swav" else 0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def pictures(n, side=24):
    return torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=seeded(9))


@pytest.mark.parametrize(("name", "method"), EVERY)
@pytest.mark.parametrize("n", [1, 7])
def test_shape_type_and_range(name, method, n):
    made, spec = recipe(name, method, 32), spec_of(method)
    views = make_views(pictures(n), made, spec, seeded(0))
    sizes = [made.global_views[0].size] * spec.globals + [16] * spec.locals
    assert [tuple(v.shape) for v in views] == [(n, 1, size, size) for size in sizes]
    for view in views:
        assert view.dtype == torch.float32 and view.min() >= 0 and view.max() <= 1 and not view.requires_grad


@pytest.mark.parametrize(("name", "method"), EVERY)
def test_the_seed_decides(name, method):
    images, made, spec = pictures(5), recipe(name, method, 32), spec_of(method)
    one, two, other = (make_views(images, made, spec, seeded(s)) for s in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) == (method == "eval")


@pytest.mark.parametrize(("name", "method"), EVERY)
def test_two_processes_make_the_views_of_one(name, method):
    images, made, spec = pictures(6), recipe(name, method, 32), spec_of(method)
    whole = make_views(images, made, spec, seeded(0))
    halves = [make_views(images[a : a + 3], made, spec, seeded(0), first=a, total=6) for a in (0, 3)]
    for one, *two in zip(whole, *halves, strict=True):
        # Not every pixel: where solarize stands on its threshold, a rounding decides.
        assert ((torch.cat(two) - one).abs() > 1e-5).float().mean() < 0.01


@pytest.mark.parametrize(("name", "method"), EVERY)
def test_a_sample_does_not_see_its_neighbours(name, method):
    images, made, spec = pictures(4), recipe(name, method, 32), spec_of(method)
    before = make_views(images, made, spec, seeded(0))
    images[2] = 255 - images[2]
    for one, two in zip(before, make_views(images, made, spec, seeded(0)), strict=True):
        changed = (one - two).abs().amax((1, 2, 3)) > 0
        assert changed.tolist() == [False, False, True, False]
